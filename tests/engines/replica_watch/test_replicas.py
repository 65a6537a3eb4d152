"""Replicas that crash or hang: when they leave the pool, are started again or stopped, and how they return."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ingot.engines.replica_watch import replicas
from ingot.engines.replica_watch.replicas import LOOP, STALL_S, Memory, Seen, Verdict, judge, wants_an_answer
from ingot.engines.replica_watch.settings import Replica
from ingot.facts.probe import KINDS, path_of
from ingot.operations.serving.replica_watch import settings
from tests.engines.replica_watch.conftest import WatchedHost

pytestmark = [pytest.mark.rollout]

REPLICA = Replica("chat-0", "10.0.0.2:8000", (), "/health", 100.0, model="chat", start_deadline_s=600)
WELL = Seen("c1", "t1", "running", health=200, age_s=1200, requests=0, progress=5.0, answer=200)
SILENT = replace(WELL, answer=0)
NOW = 1_000_000.0
EVERY_S = 30


def looks(*seen: Seen, memory: Memory | None = None, held: bool = False) -> list[Verdict]:
    """The verdicts of looks one after the other, the first on a replica that was well before."""
    said = []
    memory = memory or judge(REPLICA, WELL, Memory(), False, NOW).memory
    for place, one in enumerate(seen, 1):
        said.append(judge(REPLICA, one, memory, held, NOW + place * EVERY_S))
        memory, held = said[-1].memory, said[-1].why is not None
    return said


def test_one_that_answers_is_well() -> None:
    assert [one.why for one in looks(WELL, replace(WELL, answer=None), WELL)] == [None] * 3


def test_one_that_says_it_is_well_and_does_not_answer_leaves_at_once_and_is_then_started_again() -> None:
    first, second = looks(SILENT, SILENT)
    assert (first.why, first.action) == ("it says that it is well, and a short question had no answer in 30 s", "")
    assert second.action == "restart" and str(second.why).endswith("; it is started again")


def test_it_returns_by_an_answer_and_by_nothing_less() -> None:
    starting = replace(WELL, started="t2", health=0, age_s=12, requests=None, answer=None)
    *_, begins, listens, answers = looks(SILENT, SILENT, starting, replace(starting, health=200, requests=0), WELL)
    assert (begins.why, begins.action) == ("it is starting (12 s), its health route says nothing", "")
    assert listens.why == "it has not answered since"
    assert answers.why is None and answers.memory.misses == 0


def test_a_question_that_hangs_counts_as_work_that_does_not_move() -> None:
    """The watch's own question runs in the engine: it is busy now, and still nothing moves."""
    hangs = replace(SILENT, requests=1, answer=None)
    _, busy, still = looks(SILENT, hangs, hangs)
    assert (busy.why, busy.action) == ("it has not answered since", "")
    assert still.action == "restart"
    moves = looks(SILENT, replace(SILENT, requests=1, answer=None, progress=9.0))[-1]
    assert moves.why is None


def test_a_slow_health_route_is_forgiven_once() -> None:
    slow = replace(WELL, health=0, answer=None)
    verdicts = looks(*[slow] * 8)
    assert [one.why is None for one in verdicts] == [True, *[False] * 7]
    assert [one.action for one in verdicts] == [*[""] * 7, "restart"]


def test_one_with_requests_that_does_nothing_for_long_stands_still() -> None:
    busy = replace(WELL, requests=3, answer=None)
    count = STALL_S // EVERY_S
    verdicts = looks(*[busy] * (count + 2))
    assert [one.why for one in verdicts[: count - 1]] == [None] * (count - 1)
    assert verdicts[count - 1].why == f"3 requests are with it, and it does nothing for {STALL_S} s"
    assert verdicts[count].action == "restart"
    moving = [replace(busy, progress=5.0 + place) for place in range(count + 2)]
    assert [one.why for one in looks(*moving)] == [None] * (count + 2)


def test_a_start_takes_what_it_takes_and_not_more() -> None:
    starting = replace(WELL, container="c2", started="t2", health=0, requests=None, answer=None)
    verdicts = looks(*(replace(starting, age_s=age) for age in (30, 60, 90, 599, 630)))
    assert [one.action for one in verdicts] == ["", "", "", "", "restart"]
    assert all(one.why for one in verdicts)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("missing", "it has no container"),
        ("exited", "its container is exited (exit status 137)"),
        ("restarting", "its container is restarting (exit status 137)"),
    ],
)
def test_one_that_does_not_run_leaves_at_once(status: str, why: str) -> None:
    [verdict] = looks(Seen("c1", "t1", status, exit_status=137))
    assert (verdict.why, verdict.action) == (why, "")


def test_a_crash_loop_ends_with_the_reason_and_stays_ended() -> None:
    crashing = [Seen("c1", f"t{count}", "restarting", exit_status=1, restarts=count) for count in range(1, LOOP + 1)]
    *before, last = looks(*crashing)
    assert [one.action for one in before] == [""] * (LOOP - 1)
    reason = f"it crashed {LOOP} times in 30 min; it is stopped: read its log, then deploy"
    assert (last.action, last.why) == ("stop", reason)
    stopped = replace(crashing[-1], status="exited")
    later = looks(stopped, memory=last.memory, held=True)[0]
    assert (later.action, later.why) == ("", reason)
    again = looks(replace(WELL, restarts=LOOP), memory=later.memory, held=True)[0]
    assert (again.why, again.memory.stopped, again.memory.crashed_at) == (None, "", ())


def test_crashes_long_ago_are_no_loop() -> None:
    memory = replace(judge(REPLICA, WELL, Memory(), False, NOW).memory, crashed_at=(NOW - 1900,) * LOOP)
    assert looks(WELL, memory=memory)[0].action == ""


def test_one_that_hangs_again_and_again_is_stopped() -> None:
    memory = replace(judge(REPLICA, WELL, Memory(), False, NOW).memory, restarted_at=(NOW,) * (LOOP - 1))
    verdict = looks(SILENT, SILENT, memory=memory)[-1]
    assert verdict.action == "stop" and "after 3 restarts; it is stopped" in str(verdict.why)


def test_a_new_container_is_judged_by_itself() -> None:
    memory = looks(SILENT)[0].memory
    assert looks(replace(WELL, container="c2", restarts=0), memory=memory)[0].memory.misses == 0


def test_an_idle_replica_is_asked_once_a_minute_and_a_held_one_in_every_look() -> None:
    asked = looks(WELL)[0].memory
    assert not wants_an_answer(REPLICA, WELL, asked, False, asked.asked_at + 30)
    assert wants_an_answer(REPLICA, WELL, asked, False, asked.asked_at + 60)
    assert wants_an_answer(REPLICA, WELL, asked, True, asked.asked_at + 1)
    for seen in (replace(WELL, requests=1), replace(WELL, requests=None), replace(WELL, health=0)):
        assert not wants_an_answer(REPLICA, seen, Memory(), True, NOW)
    silent = replace(WELL, requests=None, progress=None)
    assert wants_an_answer(REPLICA, silent, Memory(), True, NOW)
    assert not wants_an_answer(REPLICA, silent, Memory(), False, NOW)


def test_one_whose_health_says_only_that_it_lives_is_out_until_it_has_answered() -> None:
    """Ollama: its server listens at once, and loads its model for as long as that takes."""
    replica = replace(REPLICA, ready_by_answer=True)
    loads = replace(WELL, container="c2", requests=None, progress=None, answer=0, age_s=40)
    assert wants_an_answer(replica, loads, Memory(), False, NOW)
    memory, held = Memory(), False
    for look in range(12):
        verdict = judge(replica, replace(loads, age_s=40.0 + 30 * look), memory, held, NOW + 30 * look)
        memory, held = verdict.memory, verdict.why is not None
        assert verdict.why and "has not answered yet" in verdict.why and verdict.action == ""
    ready = judge(replica, replace(loads, age_s=400, answer=200), memory, True, NOW + 400)
    assert ready.why is None
    # From then on it is asked no more: a queue before it is no fault of its own.
    assert not wants_an_answer(replica, loads, ready.memory, False, NOW + 600)
    # One that did not load within the time of a start is started again.
    assert judge(replica, replace(loads, age_s=700), memory, True, NOW + 700).action == "restart"


def test_what_was_remembered_survives_its_file_and_a_torn_one_does_not() -> None:
    memory = looks(SILENT, SILENT)[-1].memory
    assert Memory.of(json.loads(json.dumps(vars(memory)))) == memory
    assert Memory.of({"misses": 3}) == Memory.of(None) == Memory()


def test_every_kind_has_its_question() -> None:
    told: Any = settings(9443)["questions"]
    assert {kind: path for kind, (path, _) in told.items()} == {kind: path_of(kind) for kind in KINDS}
    form = replicas._form({"model": "whisper"}, replicas._silence())
    assert form.startswith(b"--ingot\r\n") and form.endswith(b"--ingot--\r\n") and b"RIFF" in form


def test_a_whole_look_asks_holds_and_lets_return(host: WatchedHost) -> None:
    first = host.pool()
    assert (host.look().stdout, host.asked[0]["model"]) == ("", "chat")
    host.answer = 500
    memory = json.loads((host.directory / "memory").read_text())
    memory["chat-0"]["asked_at"] = 0
    (host.directory / "memory").write_text(json.dumps(memory))
    assert "is taken out of the pool" in host.look().stdout
    assert host.holds()[host.address]["gpu"] == "" and " down;" in host.pool()
    host.look()
    assert host.did() == ["restart --time 10 ingot-engine-chat-0"]
    host.answer = 200
    assert "is back in the pool" in host.look().stdout
    assert host.pool() == first and host.holds() == {}


def test_a_replica_that_a_rollout_replaces_is_left_to_it(host: WatchedHost) -> None:
    upstreams = json.loads((host.directory / "upstreams").read_text())
    upstreams[0]["draining"] = [host.address]
    (host.directory / "upstreams").write_text(json.dumps(upstreams))
    host.runs("exited")
    assert (host.look().stdout, host.holds(), host.did()) == ("", {}, [])


def test_where_docker_says_nothing_everything_stays(host: WatchedHost) -> None:
    host.runs("exited")
    host.look()
    before = host.holds()
    assert before
    host.docker_answers = False
    assert "Docker tells nothing" in host.look().stdout
    assert host.holds() == before


def test_one_look_reads_what_vllm_really_says() -> None:
    text = (
        '# HELP vllm:num_requests_running x\nvllm:num_requests_running{engine="0",model_name="a 1"} 2.0\n'
        'vllm:num_requests_waiting{engine="0",model_name="a"} 1.0\nvllm:prompt_tokens_total{engine="0"} 1.5e+06\n'
        'vllm:kv_cache_usage_perc{engine="0"} 0.25\nvllm:iteration_tokens_total_count{engine="0"} 7.0\n'
    )
    found = {name: float(value) for name, value in replicas._COUNTED.findall(text)}
    assert found == {
        "num_requests_running": 2.0, "num_requests_waiting": 1.0, "prompt_tokens_total": 1.5e6,
        "kv_cache_usage_perc": 0.25, "iteration_tokens_total_count": 7.0,
    }  # fmt: skip


@pytest.mark.engines
def test_one_look_reads_what_llama_cpp_says() -> None:
    text = (
        "# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 2\nllamacpp:requests_deferred 1\n"
        "llamacpp:n_decode_total 40\nllamacpp:tokens_predicted_total 7\nllamacpp:prompt_tokens_seconds 12.5\n"
    )
    found = {name: float(value) for name, value in replicas._COUNTED.findall(text)}
    assert found == {
        "requests_processing": 2.0, "requests_deferred": 1.0, "n_decode_total": 40.0, "tokens_predicted_total": 7.0,
    }  # fmt: skip
