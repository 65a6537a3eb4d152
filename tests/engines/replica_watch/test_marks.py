"""A mark by which a run takes a replica out of the pool goes when the run is gone, and not before."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.engines.replica_watch.conftest import WatchedHost

pytestmark = pytest.mark.rollout


@pytest.fixture
def marked(host: WatchedHost) -> WatchedHost:
    """A host whose replica is marked, and which no run has changed for long."""
    settings = json.loads((host.directory / "settings").read_text())
    audit = host.directory / "changes.jsonl"
    audit.write_text("{}\n")
    os.utime(audit, (0, 0))
    settings |= {"runs": str(host.directory), "audit": str(audit), "marks_s": 0.0}
    (host.directory / "settings").write_text(json.dumps(settings))
    upstreams = json.loads((host.directory / "upstreams").read_text())
    (host.directory / "upstreams").write_text(json.dumps([{**one, "draining": one["replicas"]} for one in upstreams]))
    return host


def marks(host: WatchedHost) -> list[str]:
    return [
        address for one in json.loads((host.directory / "upstreams").read_text()) for address in one.get("draining", ())
    ]


def test_a_mark_of_a_run_that_is_gone_goes(marked: WatchedHost) -> None:
    said = marked.look().stdout
    assert marks(marked) == [] and " down;" not in marked.pool()
    assert "the run that took it out of the pool is gone" in said


def test_a_replica_that_is_not_well_by_then_is_held_out(marked: WatchedHost) -> None:
    marked.container = None
    marked.look()
    assert marks(marked) == [] and marked.holds()[marked.address]["why"] == "it has no container"
    assert " down;" in marked.pool()


def test_a_run_that_holds_the_host_keeps_its_marks(marked: WatchedHost) -> None:
    lock = marked.directory / "lock"
    with subprocess.Popen(["bash", "-c", f"exec 9>{lock}; echo held; read"], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout and holder.stdin and holder.stdout.readline() == "held\n"
        (marked.directory / "lock.pid").write_text(f"{holder.pid}\n")
        marked.look()
        assert marks(marked) == [marked.address]
        holder.stdin.close()
    marked.look()
    assert marks(marked) == [], "what its process left behind holds nothing"


def test_a_run_may_find_its_host_again(marked: WatchedHost) -> None:
    path = marked.directory / "settings"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"marks_s": 1e12}))
    marked.look()
    assert marks(marked) == [marked.address]


def test_work_that_goes_on_without_its_run_keeps_the_marks(marked: WatchedHost) -> None:
    # The tests' systemctl says of every unit that it is active.
    unit: Path = marked.directory / "ingot-accept"
    unit.mkdir()
    (unit / "run.sh").touch()
    marked.look()
    assert marks(marked) == [marked.address]
    (unit / "status").write_text("0")
    marked.look()
    assert marks(marked) == []
