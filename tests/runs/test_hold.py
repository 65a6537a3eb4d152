"""The process that holds a host: one run at a time, an end in the audit whatever happens, and its words to the run."""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from paramiko import Channel

from ingot.runs.hold import SCRIPT, Hold
from ingot.runs.run import Run

pytestmark = pytest.mark.rollout

LIMIT_S = 60


def run_of(number: int) -> Run:
    return Run(f"0000000{number}", "anna", "desk", 4711, "deploy", "2026-01-01T00:00:00+00:00", "c" * 40, dirty=True)


@dataclass
class Holding:
    """A holder that was started, and what goes to its input."""

    process: subprocess.Popen[str]

    def say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self, word: str) -> str:
        """Its lines up to the one that begins with a word; that one's rest."""
        assert self.process.stdout
        for line in self.process.stdout:
            first, _, rest = line.strip().partition(" ")
            if first == word:
                return rest
        raise AssertionError(f"it ended without {word!r}")

    def hang_up(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.stdin = None
        self.process.wait(LIMIT_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Holding]]:
    begun: list[Holding] = []

    def begin(run: Run, wait_s: int = 0, **environment: str) -> Holding:
        places = {"INGOT_RUN": tmp_path / "run", "INGOT_LOG": tmp_path / "log", "INGOT_STATE": tmp_path / "state"}
        process = subprocess.Popen(
            ["bash", "-c", SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **{name: str(path) for name, path in places.items()}, **environment},
        )
        holding = Holding(process)
        begun.append(holding)
        holding.say(str(wait_s))
        holding.say(json.dumps(run.to_dict()))
        return holding

    yield begin
    for one in begun:
        one.process.kill()
        one.process.communicate()


def audit(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "log" / "changes.jsonl").read_text().splitlines()]


def test_a_run_that_ends_leaves_its_record_and_no_lock(tmp_path: Path, start: Callable[..., Holding]) -> None:
    first = start(run_of(1))
    first.hear("ready")
    assert json.loads((tmp_path / "run" / "lock.json").read_text()) == run_of(1).to_dict()
    first.say('end {"event": "end", "run": "00000001", "result": "done"}')
    assert first.process.wait(LIMIT_S) == 0
    begin, end = audit(tmp_path)
    assert (begin["event"], begin["run"], end["result"]) == ("begin", run_of(1).to_dict(), "done")
    assert not (tmp_path / "run" / "lock.json").exists()
    assert json.loads(start(run_of(2)).hear("last"))["result"] == "done"


def test_a_second_run_is_refused_by_name(start: Callable[..., Holding]) -> None:
    start(run_of(1)).hear("ready")
    age, _, by = start(run_of(2)).hear("refused").partition(" ")
    assert int(age) < LIMIT_S and Run.from_dict(json.loads(by)) == run_of(1)


def test_a_second_run_waits_its_turn(start: Callable[..., Holding]) -> None:
    first = start(run_of(1))
    first.hear("ready")
    second = start(run_of(2), wait_s=LIMIT_S)
    assert "00000001" in second.hear("held")
    first.say('end {"event": "end", "run": "00000001", "result": "done"}')
    second.hear("ready")


def test_a_connection_that_ends_frees_the_host_and_is_noted(tmp_path: Path, start: Callable[..., Holding]) -> None:
    first = start(run_of(1))
    first.hear("ready")
    first.hang_up()
    assert json.loads(start(run_of(2)).hear("last"))["why"] == "its connection ended"
    assert [one["event"] for one in audit(tmp_path)][:2] == ["begin", "end"]


def test_a_run_that_says_nothing_any_more_loses_the_host(tmp_path: Path, start: Callable[..., Holding]) -> None:
    first = start(run_of(1), INGOT_SILENCE="1")
    first.hear("ready")
    start(run_of(2), wait_s=LIMIT_S).hear("ready")
    first.hear("silent")
    assert audit(tmp_path)[1]["why"] == "nothing was heard of it for 1 s"


@pytest.mark.parametrize(
    ("boot", "why"),
    [("another", "the host was booted again"), (None, "its connection and its lock ended without a word")],
)
def test_a_lock_whose_owner_is_gone_is_taken_over(
    tmp_path: Path, start: Callable[..., Holding], boot: str | None, why: str
) -> None:
    boot = boot or Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (tmp_path / "log").mkdir()
    line = f'{{"event": "begin", "boot": "{boot}", "run": {json.dumps(run_of(1).to_dict())}}}\n'
    (tmp_path / "log" / "changes.jsonl").write_text(line)
    last = json.loads(start(run_of(2)).hear("last"))
    assert (last["run"], last["result"], last["why"]) == ("00000001", "cut off", why)
    assert [one["event"] for one in audit(tmp_path)] == ["begin", "end", "begin"]


def test_a_broken_lock_says_who_broke_it(tmp_path: Path, start: Callable[..., Holding]) -> None:
    first = start(run_of(1))
    first.hear("ready")
    (tmp_path / "run" / "lock.broken").write_text("bert@laptop\n")
    os.kill(int((tmp_path / "run" / "lock.pid").read_text()), signal.SIGTERM)
    assert first.hear("broken") == "bert@laptop"
    start(run_of(2)).hear("ready")
    assert audit(tmp_path)[1]["why"] == "its lock was broken by bert@laptop"


@pytest.mark.parametrize(("purpose", "joins"), [("deploy", False), ("accept", True)])
def test_work_that_outlives_its_run_is_joined_by_its_like_alone(
    tmp_path: Path, start: Callable[..., Holding], purpose: str, joins: bool
) -> None:
    unit = tmp_path / "run" / "ingot-accept"
    unit.mkdir(parents=True)
    (unit / "run.sh").touch()
    (tmp_path / "systemctl").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "systemctl").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    if joins:
        start(replace(run_of(1), purpose=purpose), INGOT_PATH=path).hear("ready")
        return
    assert start(replace(run_of(1), purpose=purpose), INGOT_PATH=path).hear("working") == "ingot-accept"
    waiting = start(replace(run_of(2), purpose=purpose), wait_s=LIMIT_S, INGOT_PATH=path)
    assert waiting.hear("work") == "ingot-accept"
    (unit / "status").write_text("0")
    waiting.hear("ready")


def test_an_audit_that_has_grown_makes_way(tmp_path: Path, start: Callable[..., Holding]) -> None:
    (tmp_path / "log").mkdir()
    log = tmp_path / "log" / "changes.jsonl"
    log.write_text(json.dumps({"event": "end", "why": "x" * (1 << 20)}) + "\n")
    start(run_of(1)).hear("ready")
    assert [one["event"] for one in audit(tmp_path)] == ["begin"]
    assert (tmp_path / "log" / "changes.jsonl.1").exists()


def test_the_host_tells_the_schema_of_its_state(tmp_path: Path, start: Callable[..., Holding]) -> None:
    assert start(run_of(1)).hear("schema") == ""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "schema.json").write_text('{"schema": 7}\n')
    assert json.loads(start(run_of(2), wait_s=0, INGOT_RUN=str(tmp_path / "other")).hear("schema")) == {"schema": 7}


@pytest.mark.speed
def test_the_questions_of_a_run_are_kept_for_the_next_one_whole_or_not_at_all(
    tmp_path: Path, start: Callable[..., Holding]
) -> None:
    kept = tmp_path / "state" / "look.sh"
    kept.parent.mkdir()
    questions = "echo 'a question'\n" * 5000
    sent = base64.b64encode(gzip.compress(questions.encode())).decode()
    for number, line, there in ((1, sent, questions), (2, sent[: len(sent) // 2], questions)):
        holding = start(run_of(number))
        holding.hear("ready")
        holding.say(f"look {line}")
        holding.say(f'end {{"event": "end", "run": "0000000{number}", "result": "done"}}')
        assert holding.process.wait(LIMIT_S) == 0
        assert kept.read_text() == there
        assert kept.stat().st_mode & 0o777 == 0o600
        assert list(kept.parent.iterdir()) == [kept]


class Wire:
    """What paramiko's channel takes for its connection: whatever is sent goes nowhere."""

    def get_log_channel(self) -> str:
        return "paramiko.test"

    def _sanitize_packet_size(self, size: int) -> int:
        return size

    def _send_user_message(self, message: Any) -> None:
        """A host that hears everything."""


def test_a_sign_of_life_that_comes_after_the_end_ends_the_beat() -> None:
    """The run's last word and a beat that has waited long enough may come at the same moment."""
    channel = Channel(1)
    channel._set_transport(Wire())  # type: ignore[arg-type]
    channel._set_remote_channel(1, 1 << 20, 1 << 15)
    hold = Hold(channel, "gpu-01", run_of(1))
    hold._send("end {}\n")
    channel.shutdown_write()
    beating = threading.Thread(target=hold._beat, daemon=True)
    hold._over = Waited()  # type: ignore[assignment]
    beating.start()
    beating.join(LIMIT_S)
    assert not beating.is_alive()


class Waited:
    """An event whose wait has just ended without it."""

    def wait(self, timeout_s: float) -> bool:
        return False
