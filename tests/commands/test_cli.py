"""The command line is quick to help, and says a user's mistake in one sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

from ingot.commands.cli import COMMANDS
from ingot.secrets import files

BIN = Path(sys.executable).parent
#: What commands load when they run, and never for their help.
HEAVY = {"cryptography", "gevent", "jinja2", "paramiko", "pydantic", "pyinfra", "rich", "yaml"}


def said(*arguments: object) -> str:
    """What `ingot` says on stderr when it fails."""
    done = subprocess.run(
        [BIN / "ingot", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("ingot: ") and done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("words", [("--help",), *((name, "--help") for name in COMMANDS)], ids=" ".join)
def test_no_help_loads_what_only_work_needs(words: tuple[str, ...]) -> None:
    code = (
        "import sys; from ingot.commands.cli import cli; "
        f"cli({list(words)!r}, standalone_mode=False); "
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=True)
    assert done.stdout.startswith("Usage: ")
    assert not HEAVY & set(done.stderr.split())


def test_a_command_line_that_cannot_be_read_ends_with_two() -> None:
    done = subprocess.run([BIN / "ingot", "verfiy"], capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ingot: No such command 'verfiy'") and done.stderr.endswith("See `ingot --help`.\n")
    assert done.stderr.count("\n") == 1


def test_an_inventory_that_raises_is_named(tmp_path: Path) -> None:
    inventory = tmp_path / "lab.py"
    inventory.write_text("gpu = [undefined]\n")
    assert f"{inventory}: cannot be loaded (NameError: name 'undefined' is not defined); correct it." in said(
        "keys", "list", "--inventory", inventory
    )


def test_an_inventory_that_says_what_is_wrong_is_quoted(tmp_path: Path) -> None:
    inventory = tmp_path / "lab.py"
    inventory.write_text(
        f"from ingot.inventory.host_files import load\ngpu = load({str(tmp_path / 'absent')!r}).group('gpu')\n"
    )
    assert said("keys", "list", "--inventory", inventory).startswith(
        f"ingot: inventory {tmp_path / 'absent'}: no such directory"
    )


def test_what_this_machine_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file where the directory of secrets should be")
    inventory = tmp_path / "lab.py"
    inventory.write_text(f"gpu = [('a', {{'secrets_dir': {str(tmp_path / 'occupied')!r}}})]\n")
    sentence = said("keys", "create", "research", "--inventory", inventory)
    assert str(tmp_path / "occupied") in sentence and "mend that and run it again" in sentence


def test_a_full_disk_leaves_no_part_of_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.replace(tmp_path / "keys.yaml", "secret", mode=0o600)
    assert list(tmp_path.iterdir()) == []
