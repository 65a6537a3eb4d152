"""sshd's settings are kept only where sshd takes them; until they are proven a timer and the next boot undo them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingot.errors import IngotError
from ingot.onboarding import hardening
from ingot.onboarding.connection import Done

pytestmark = pytest.mark.onboarding

#: What `sshd -T` says where it takes every setting.
TAKEN = "".join(f"{key.lower()} {value}\n" for key, value in hardening.SETTINGS.items())


class Here:
    """A connection that runs scripts on this machine, below a directory, with stand-ins for sshd and systemd."""

    name = "gpu-01"

    def __init__(self, root: Path) -> None:
        self.root = root
        for directory in ("bin", "etc/ssh/sshd_config.d", "etc/systemd/system"):
            (root / directory).mkdir(parents=True)
        (root / "etc/ssh/sshd_config").write_text(f"Include {root}/etc/ssh/sshd_config.d/*.conf\n")
        (root / "run/sshd").mkdir(parents=True)
        self.sshd(TAKEN)
        for name in ("systemctl", "systemd-run"):
            self._stand_in(name, f'echo "{name} $*" >>{root}/told')

    def sshd(self, effective: str) -> None:
        """Have sshd say that these settings are in effect."""
        (self.root / "effective").write_text(effective)
        self._stand_in("sshd", f'[ "$1" = -t ] || cat {self.root}/effective')

    def _stand_in(self, name: str, text: str) -> None:
        (self.root / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.root / "bin" / name).chmod(0o755)

    def as_root(self, script: str, *, stdin: str = "") -> Done:
        for directory in ("/etc/ssh", "/etc/systemd", "/run/sshd"):
            script = script.replace(directory, f"{self.root}{directory}")
        done = subprocess.run(
            ["sh", "-c", script],
            check=False,
            input=stdin,
            env={"PATH": f"{self.root}/bin:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=180,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def told(self) -> list[str]:
        """What systemd was told, in order."""
        return (self.root / "told").read_text().splitlines()

    def files(self) -> dict[str, str]:
        """What is below /etc, but for sshd's own configuration; a link as its target."""
        return {
            str(path.relative_to(self.root)): str(path.readlink()) if path.is_symlink() else path.read_text()
            for path in self.root.glob("etc/**/*")
            if (path.is_symlink() or path.is_file()) and path.name != "sshd_config"
        }


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    yield Here(tmp_path)


DROP_IN = hardening.DROP_IN.lstrip("/")


def test_settings_that_sshd_takes_are_kept_and_read(here: Here) -> None:
    hardening.apply(here)  # type: ignore[arg-type]
    assert here.files()[DROP_IN].strip() == hardening.CONTENT.strip()
    assert here.told[-1] == "systemctl reload ssh.service", "sessions go on"
    hardening.confirm(here)  # type: ignore[arg-type]
    assert list(here.files()) == [DROP_IN]
    assert hardening.is_hard(here)  # type: ignore[arg-type]


@pytest.mark.parametrize("setting", hardening.SETTINGS)
@pytest.mark.parametrize("instead", ["", "{} other\n", "{} {}more\n", "x{} {}\n"], ids=["gone", "other", "longer", "x"])
def test_a_setting_that_sshd_does_not_take_undoes_all(here: Here, setting: str, instead: str) -> None:
    key, value = setting.lower(), hardening.SETTINGS[setting]
    here.sshd(TAKEN.replace(f"{key} {value}\n", instead.format(key, value)))
    (here.root / DROP_IN).write_text("MaxAuthTries 6\n")
    with pytest.raises(IngotError, match=f"sshd does not take '{key} {value}' from it; the old settings are back"):
        hardening.apply(here)  # type: ignore[arg-type]
    assert here.files() == {DROP_IN: "MaxAuthTries 6\n"}
    assert not any(told.startswith("systemctl reload") for told in here.told), "sshd never came to see it"


def test_what_sshd_refuses_never_lies_where_it_would_read_it(here: Here) -> None:
    """sshd sees it in a file of its own first, as it would be read: before what is there."""
    here._stand_in(
        "sshd",
        f'[ "$1 $2" = "-t -f" ] || exit 0; cp "$3" {here.root}/seen; '
        f"ls {here.root}/{DROP_IN} >>{here.root}/there 2>&1; echo line 2: Bad configuration option; exit 255",
    )
    with pytest.raises(IngotError, match="sshd -t refuses it: line 2: Bad configuration option; the old settings"):
        hardening.apply(here)  # type: ignore[arg-type]
    assert here.files() == {} and "No such file" in (here.root / "there").read_text()
    assert (here.root / "seen").read_text().strip().startswith(hardening.CONTENT.strip())
    assert not list((here.root / "run/sshd").iterdir())


def test_unproven_settings_are_undone_by_a_timer_and_by_the_next_boot(here: Here) -> None:
    hardening.apply(here)  # type: ignore[arg-type]
    timer = "systemd-run --quiet --collect --unit ingot-sshd-revert --on-active=120 sh -c "
    (undo,) = [told.removeprefix(timer) for told in here.told if told.startswith(timer)]
    wanted = "etc/systemd/system/multi-user.target.wants/ingot-sshd-revert-at-boot.service"
    service = Path(here.files()[wanted])
    text = service.read_text()
    assert "Before=ssh.service ssh.socket\n" in text, "sshd must not start with what was never proven"
    at_boot = text.partition("ExecStart=/bin/sh -c '")[2].partition("'\n")[0]
    assert "systemctl" not in at_boot, "sshd's own job would wait for the end of this one, and this one for it"
    for command in (undo, at_boot):
        environment = {"PATH": f"{here.root}/bin:{os.environ['PATH']}"}
        subprocess.run(["sh", "-c", command], check=True, timeout=180, env=environment)
        assert here.files() == {}
        hardening.apply(here)  # type: ignore[arg-type]


def test_before_anything_can_lock_out_the_way_back_is_on_disk(here: Here) -> None:
    """Cut off before the drop-in is there, everything that undoes it is."""
    script = hardening._APPLY
    cut = script.replace(f"mv -f {hardening.DROP_IN}.new", f"exit 9; mv -f {hardening.DROP_IN}.new")
    assert cut != script and script.index("\nsync ") < script.index(f"mv -f {hardening.DROP_IN}.new")
    assert here.as_root(cut, stdin=hardening.CONTENT).status == 9
    assert DROP_IN not in here.files()
    assert {"etc/ssh/.ingot-before", "etc/systemd/system/ingot-sshd-revert-at-boot.service"} <= set(here.files())


def test_what_was_there_before_comes_back(here: Here) -> None:
    (here.root / DROP_IN).write_text("MaxAuthTries 6\n")
    hardening.apply(here)  # type: ignore[arg-type]
    hardening.put_back(here)  # type: ignore[arg-type]
    assert here.files() == {DROP_IN: "MaxAuthTries 6\n"}
