"""The audit of a host, read back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingot.runs.audit import past_runs
from ingot.runs.run import Run, ago, commit_of, this_run

pytestmark = pytest.mark.rollout

RUN = Run("5f0c2a11", "anna", "desk", 4711, "deploy", "2026-01-01T00:00:00+00:00", "c" * 40, dirty=True)
BEGIN = json.dumps({"event": "begin", "boot": "b", "run": RUN.to_dict()})


def end(result: str, **more: object) -> str:
    return json.dumps({"event": "end", "run": RUN.id, "at": "2026-01-01T00:05:00+00:00", "result": result, **more})


def test_a_run_is_its_begin_and_its_end() -> None:
    (found,) = past_runs([BEGIN, end("done", operations=["Serve the plan"], changes=["start small-0: new"])])
    assert (found.run, found.result, found.operations) == (RUN, "done", ("Serve the plan",))
    assert found.to_dict()["changes"] == ["start small-0: new"] and found.to_dict()["commit"] == "c" * 40


def test_a_run_without_an_end_goes_on() -> None:
    (found,) = past_runs([BEGIN])
    assert found.result is None


def test_a_run_that_found_its_host_again_has_one_end() -> None:
    (found,) = past_runs([BEGIN, end("cut off", why="its connection ended"), BEGIN, end("done")])
    assert (found.result, found.why) == ("done", "")


def test_a_torn_line_hides_no_other() -> None:
    lines = ["{", "[]", '{"event": "end", "run": "unknown", "at": "", "result": "done"}', BEGIN[:40], BEGIN]
    assert [one.run.id for one in past_runs(lines)] == [RUN.id]


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (3900, "1 h 5 min")])
def test_durations_are_said_as_people_do(seconds: int, words: str) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert ago(at.isoformat(), datetime.fromtimestamp(at.timestamp() + seconds, UTC)) == words


def test_a_checkout_that_git_does_not_know_has_no_commit(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == (None, False)


def test_one_process_is_one_run(tmp_path: Path) -> None:
    first = this_run("deploy", tmp_path)
    assert first is this_run("deploy", tmp_path) and Run.from_dict(first.to_dict()) == first


def test_hosts_that_are_held_at_the_same_time_are_held_by_one_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    others: list[Run] = []

    def lets_another_host_go_first(checkout: Path) -> tuple[None, bool]:
        if not others:
            others.append(RUN)
            others.append(this_run("deploy", checkout))
        return None, False

    monkeypatch.setattr("ingot.runs.run.commit_of", lets_another_host_go_first)
    assert this_run("deploy", tmp_path) is others[1]
