"""Work in a unit of its own is waited for, across lost connections, and its end is told."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingot.operations import detached
from ingot.operations.detached import RECONNECT_S, SLICE_S, Answer, parse

UNIT = "ingot-models"


class Clock:
    """Time that goes on only where somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Remote:
    """A host whose unit gives these answers in turn, the last one for ever; an exception is a connection that broke."""

    name, print_prefix, current_op_global_arguments = "gpu-01", "", {"_sudo": True, "_if": None}

    def __init__(self, clock: Clock, *answers: str | Exception) -> None:
        self.clock, self.answers = clock, list(answers)
        self.connector_data: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []
        self.reconnected = 0
        #: How often in a row a new connection is not made.
        self.refuses = 0

    def run_shell_command(self, command: Any, **arguments: Any) -> tuple[bool, Any]:
        self.asked.append(arguments)
        self.clock.now += detached.SLICE_S
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return True, SimpleNamespace(stdout=answer)


@pytest.fixture
def attend(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Any]]:
    caplog.set_level(logging.INFO, "pyinfra")
    clock = Clock()
    monkeypatch.setattr(detached, "time", clock)

    def reconnect(host: Remote) -> bool:
        host.reconnected += 1
        clock.now += 5
        host.refuses -= 1
        return host.refuses < 0

    monkeypatch.setattr(detached, "reconnect", reconnect)

    def run(*answers: str | Exception, limit_s: int = 3600, refuses: int = 0) -> tuple[bool, Remote]:
        host = Remote(clock, *answers)
        host.refuses = refuses
        return detached.attend(SimpleNamespace(print_output=False), host, UNIT, limit_s), host  # type: ignore[arg-type]

    yield run


def test_it_waits_until_the_work_has_ended(attend: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    succeeded, host = attend("running\n1 of 3 GB", "running\n2 of 3 GB", "ended 0")
    assert succeeded and len(host.asked) == 3 and host.reconnected == 0
    assert host.asked[0] == {"_sudo": True, "_timeout": detached.SLICE_S + 30}


@pytest.mark.parametrize("broken", [OSError("reset"), EOFError(), detached.SSHException("gone"), "", "run"])
def test_a_lost_connection_is_made_again_and_the_wait_goes_on(attend: Callable[..., Any], broken: Any) -> None:
    """Also where an answer is cut off: it is no answer."""
    succeeded, host = attend("running", broken, broken, broken, "running", "ended 0")
    assert succeeded and host.reconnected == 3 and len(host.asked) == 6


def test_nobody_is_asked_while_there_is_no_connection(attend: Callable[..., Any]) -> None:
    """pyinfra's client has no transport then, and fails with another error than a connection that breaks."""
    succeeded, host = attend("running", OSError("reset"), "ended 0", refuses=4)
    assert succeeded and (host.reconnected, len(host.asked)) == (5, 3)
    succeeded, host = attend("running", OSError("reset"), "ended 0", refuses=1000)
    assert not succeeded and len(host.asked) == 2


def test_time_without_a_connection_is_counted_from_the_last_answer(attend: Callable[..., Any]) -> None:
    lost = [OSError("reset")] * (RECONNECT_S // (detached.SLICE_S + 5) - 1)
    succeeded, host = attend("running", *lost, "running", *lost, "running", *lost, "ended 0")
    assert succeeded and host.reconnected == 3 * len(lost)


def test_a_connection_that_is_not_found_again_leaves_the_work_alone(
    attend: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    succeeded, host = attend("running", OSError("reset"))
    assert not succeeded and host.reconnected > 3
    assert caplog.messages[-1] == (
        f"gpu-01: the connection was lost and not found again within {RECONNECT_S} s; {UNIT}.service goes on there, "
        "run again to wait for it"
    )


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("ended 1\ngpu-01: no space; see the log there", "gpu-01: no space; see the log there"),
        ("ended 7", f"gpu-01: {UNIT} ended with status 7"),
        ("gone", f"gpu-01: {UNIT}.service was killed before it ended; see `journalctl -u {UNIT}` there"),
    ],
)
def test_an_end_that_is_no_success_is_one_sentence(
    attend: Callable[..., Any], caplog: pytest.LogCaptureFixture, answer: str, sentence: str
) -> None:
    succeeded, _ = attend("running", answer)
    assert not succeeded and caplog.messages[-1] == sentence


def test_it_is_not_waited_for_without_end(attend: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    succeeded, host = attend("running", limit_s=100)
    assert not succeeded and len(host.asked) == 10
    assert caplog.messages[-1] == (
        f"gpu-01: {UNIT}.service is still at work after 100 s and goes on; run again to wait for it"
    )


def test_who_waits_is_told_every_ten_seconds_how_far_it_is(
    attend: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    attend(*(f"running\n{n} of 3 GB" for n in range(1, 4)), "ended 0")
    assert SLICE_S == 10 and caplog.messages == ["1 of 3 GB", "2 of 3 GB", "3 of 3 GB"]


def test_what_a_success_has_to_say_is_a_warning(attend: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    succeeded, _ = attend("running", "ended 0\ngpu-01: one source had other bytes")
    assert succeeded and caplog.messages == ["gpu-01: one source had other bytes"]


def test_lines_of_the_log_are_told_where_they_were_asked_for() -> None:
    answer = parse("log fetched: a\nlog \n\nrunning\n2 of 3 GB\n")
    assert answer == Answer("running", 0, "2 of 3 GB", ("fetched: a", ""))
    assert parse("log only") is None and parse("") is None and parse("sh: not found") is None


@pytest.mark.speed
def test_a_line_of_progress_has_all_that_is_at_work_on_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detached, "WORK", str(tmp_path / "work"))
    monkeypatch.setattr(detached, "SLICE_S", 0)
    systemctl = tmp_path / "systemctl"
    systemctl.write_text('#!/bin/sh\ncase "$*" in *ingot-dead*) exit 3;; *show*) echo active;; esac\n')
    systemctl.chmod(0o755)
    for unit, status in (("driver", ""), ("transfers", ""), ("image", "0"), ("dead", "")):
        work = tmp_path / "work" / f"ingot-{unit}"
        work.mkdir(parents=True)
        (work / "progress").write_text(f"echo {unit}, 1 of 2 GB")
        if status:
            (work / "status").write_text(status)
    done = subprocess.run(
        ["sh", "-c", detached.question("ingot-driver", verbose=False)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    assert parse(done.stdout) == Answer("running", 0, "driver, 1 of 2 GB; transfers, 1 of 2 GB")


@pytest.mark.speed
def test_who_joins_has_no_boot_begin_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached, "AGAIN", str(tmp_path / "again"))
    monkeypatch.setattr(detached, "WORK", str(tmp_path / "work"))
    kept = tmp_path / "again" / UNIT
    kept.mkdir(parents=True)
    (kept / "end.sh").write_text(f"rm -r {kept}")
    for joins in (False, True):
        asked = detached.question(UNIT, verbose=False, joins=joins)
        done = subprocess.run(["sh", "-c", asked], capture_output=True, text=True, check=True)
        assert parse(done.stdout) == Answer("gone") and kept.exists() is not joins
