"""How callers fared is read from the gateway's log as it is, rotated or not, and without those who hold no key."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ingot.facts.access_log import AccessLogMark, AccessLogSince, LogMark, Served

pytestmark = pytest.mark.rollout


def line(status: int, team: str = "research", path: str = "/v1/chat/completions") -> str:
    return f'{{"time":"2026-11-29T00:00:00+00:00","team":"{team}","path":"{path}","status":{status},"bytes_in":1}}\n'


def run(command: str) -> list[str]:
    return subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True).stdout.splitlines()


def mark(log: Path) -> LogMark:
    found = AccessLogMark().process(run(AccessLogMark().command(str(log))))
    assert found is not None
    return found


def since(log: Path, at: LogMark) -> Served | None:
    return AccessLogSince().process(run(AccessLogSince().command(str(log), at)))


def test_only_what_came_after_the_mark_counts(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    log.write_text(line(500) * 3)
    at = mark(log)
    with log.open("a") as file:
        file.write(line(200) * 5 + line(503) + line(429) + line(502, team="") + line(200, path='\\"status\\":500,'))
    assert since(log, at) == Served(8, 1) and Served(8, 1).share == 0.125


def test_a_log_that_is_rotated_meanwhile_is_read_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    log.write_text(line(200))
    at = mark(log)
    with log.open("a") as file:
        file.write(line(500))
    log.rename(tmp_path / "access.jsonl-20261129-1")
    log.write_text(line(200))
    assert since(log, at) == Served(2, 1)


def test_without_a_log_nobody_asked(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    at = mark(log)
    assert (at, since(log, at)) == (LogMark(), Served())
    assert Served().share == 0
    log.write_text(line(500))
    assert since(log, at) == Served(1, 1)
