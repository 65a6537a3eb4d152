"""The scrub: what has rotted is found and written down, slowly, oldest first, and never what a deploy changed."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ingot.facts.models import parse_damage
from ingot.operations import tree
from ingot.operations.weights import scrub
from ingot.operations.weights.scrub_on_host import scrub as run_scrub
from tests.settings.values import settings

pytestmark = pytest.mark.cache


@dataclass
class Host:
    """A cache with two models of two files each; its clock goes on only while the scrub sleeps."""

    at: Path
    now_s: float = 0.0
    slept: list[float] = field(default_factory=list)

    @property
    def damage(self) -> Path:
        return self.at / "damage.tsv"

    def file(self, model: str, name: str) -> Path:
        return self.at / "models" / model / "bf16" / ("0" * 40) / name

    def publish(self, model: str, **contents: bytes) -> None:
        listed = []
        for name, data in contents.items():
            path = self.file(model, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            whole, rest = divmod(path.stat().st_mtime_ns, 10**9)
            listed.append(
                {
                    "path": name,
                    "bytes": len(data),
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "mtime": f"{whole}.{rest:09d}0",
                }
            )
        self.file(model, ".ingot-verified.json").write_text(json.dumps({"files": listed}))

    def rot(self, model: str, name: str) -> None:
        path, before = self.file(model, name), self.file(model, name).stat()
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def scrub(self, mb_per_s: float = 1e6, limit_s: float = 100) -> int:
        def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.now_s += seconds

        checked = self.at / "checked.json"
        return run_scrub(
            self.at / "models", checked, self.damage, mb_per_s, limit_s, clock=lambda: self.now_s, sleep=sleep
        )

    def marks(self) -> list[str]:
        return [one.path for one in parse_damage(self.damage.read_text())] if self.damage.exists() else []


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    made.publish("a", x=b"x" * 1000, y=b"y" * 1000)
    made.publish("b", z=b"z" * 1000)
    return made


def test_what_is_as_it_was_verified_leaves_no_mark(host: Host) -> None:
    assert host.scrub() == 0 and host.marks() == []


def test_a_bit_that_rotted_is_written_down_once_with_both_digests(host: Host, capsys: pytest.CaptureFixture) -> None:
    host.rot("a", "y")
    assert host.scrub() == 1 and host.scrub() == 1
    (found,) = parse_damage(host.damage.read_text())
    now, was = (hashlib.sha256(data).hexdigest() for data in (b"x" + b"y" * 999, b"y" * 1000))
    assert found.path == str(host.file("a", "y")) and found.why == f"has sha256 {now}, expected {was}"
    assert f"{found.path} {found.why}: run the deploy again" in capsys.readouterr().out


def test_a_file_that_is_as_verified_again_loses_its_mark(host: Host) -> None:
    host.rot("a", "y")
    host.scrub()
    host.rot("a", "y")
    assert host.scrub() == 0 and host.marks() == []


def test_marks_of_models_that_are_gone_go(host: Host) -> None:
    host.rot("b", "z")
    host.scrub()
    host.file("b", ".ingot-verified.json").unlink()
    assert host.scrub() == 0 and host.marks() == []


def test_what_changed_since_it_was_verified_is_left_to_the_deploy(host: Host) -> None:
    host.file("a", "x").write_bytes(b"changed")
    host.file("a", "y").unlink()
    assert host.scrub() == 0 and host.marks() == []


@pytest.mark.parametrize("suffix", ["incomplete", "incoming"])
def test_transfers_are_not_read(host: Host, suffix: str) -> None:
    host.rot("b", "z")
    published = host.file("b", "z").parent
    published.rename(published.with_name(f"{published.name}.{suffix}"))
    assert host.scrub() == 0 and host.marks() == []


def test_it_is_slow_and_the_next_run_goes_on_where_time_was_over(host: Host, capsys: pytest.CaptureFixture) -> None:
    """1000 bytes at 0.001 MB/s are a second each."""
    for name in ("x", "y"):
        host.rot("a", name)
    host.rot("b", "z")
    assert host.scrub(mb_per_s=0.001, limit_s=1.5) == 1
    assert host.marks() == [str(host.file("a", "x"))] and host.slept == [1.0, 1.0]
    assert f"{host.file('a', 'y')} waits for the next run" in capsys.readouterr().out
    assert host.scrub(mb_per_s=0.001, limit_s=2.5) == 2
    assert len(host.marks()) == 3


def test_a_marker_that_cannot_be_read_stops_nothing(host: Host) -> None:
    host.file("a", ".ingot-verified.json").write_text('{"files": [{"pa')
    host.rot("b", "z")
    assert host.scrub() == 1


@pytest.mark.parametrize(("calendar", "written"), [("Sun 01:00", "Sun 01:00"), (None, scrub.NEVER_USED)])
def test_the_timer_has_the_hosts_calendar(calendar: str | None, written: str) -> None:
    values = settings(cache_root="/srv/models", cache_scrub=calendar)
    files = {entry.path: str(entry.content) for entry in scrub.entries(values) if isinstance(entry, tree.File)}
    assert f"OnCalendar={written}\n" in files[scrub.TIMER]
    command = f"{scrub.PROGRAM} /srv/models {scrub.DIRECTORY}/checked.json {scrub.DAMAGE} 200 14400\n"
    assert f"ExecStart=/usr/bin/python3 -I {command}" in files[scrub.SERVICE]
