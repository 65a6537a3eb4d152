"""A replica that is replaced gets no new requests before it stops, and gets them again once it serves."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyinfra.context import ctx_host

from ingot.facts.asking import Answer, Asked
from ingot.facts.crash import Crash, ReplicaCrash
from ingot.facts.gateway import ENGINES
from ingot.facts.nvidia import Gpus
from ingot.facts.pool import Pool, PoolState
from ingot.facts.replica import Evidence, Glance, ReplicaEvidence, ReplicaGlance, ReplicaLog
from ingot.facts.replica_holds import ReplicaHold
from ingot.gateway.upstreams import UPSTREAMS_FILE, Upstream, marked, parse_upstreams, unmarked
from ingot.operations.gateway import drain
from ingot.operations.serving import engine
from ingot.operations.serving.outlook import rows
from tests.operations.serving.onehost import OneHost, card, running

pytestmark = pytest.mark.gateway

FIRST, SECOND = "172.31.213.10:8000", "172.31.213.11:8000"


@pytest.fixture
def served() -> OneHost:
    """A host with a gateway that serves its plan."""
    host = OneHost()
    host.answers |= {
        ReplicaGlance: Glance("running", health="200", answered="200"),
        Asked: (Answer("200", '{"choices": [{"text": "one"}]}'),),
        ReplicaEvidence: Evidence("running", 0, "200"),
        ReplicaLog: [],
        ReplicaCrash: Crash(1),
    }
    host.run(engine.replicas)
    host.serves(*host.wanted())
    host.files[ENGINES], host.modes[ENGINES] = "as the gateway role wrote it", "0644"
    return host


def story(host: OneHost) -> list[str]:
    """What callers and replicas live through, in order: which replicas nginx is told to pass by, and each start."""
    told: list[str] = []
    for command in host.commands:
        if command.startswith("write ") and ENGINES in command:
            told.append("marks")
        elif "num_requests_" in command:
            told.append("wait for " + " ".join(address for address in (FIRST, SECOND) if address in command))
        elif command == drain.RELOAD:
            told.append("reload")
        elif "--force-recreate" in command:
            told.append(command.partition("--force-recreate ")[2].partition(";")[0])
    return told


def test_each_replica_is_drained_replaced_and_put_back_before_the_next(served: OneHost) -> None:
    served.data.engine_extra_args = ["--seed", "1"]
    assert served.run(engine.replicas) and served.refused == []
    assert story(served) == [
        *("marks", "reload", f"wait for {FIRST}", "small-0", "marks", "reload"),
        *("marks", "reload", f"wait for {SECOND}", "small-1", "marks", "reload"),
    ]
    assert "down" not in served.files[ENGINES] and "draining" not in served.files[UPSTREAMS_FILE]


def test_a_host_without_a_gateway_has_nobody_to_tell(served: OneHost) -> None:
    del served.files[ENGINES]
    served.data.engine_extra_args = ["--seed", "1"]
    served.run(engine.replicas)
    assert story(served) == ["small-0", "small-1"]


def test_a_run_that_died_between_drain_and_start_is_healed(served: OneHost) -> None:
    served.files[UPSTREAMS_FILE] = json.dumps([{"model": "small", "replicas": [FIRST, SECOND], "draining": [FIRST]}])
    assert served.run(engine.replicas)
    assert story(served) == [], "both serve as wanted: only the mark goes, and the gateway's role follows it"
    assert "draining" not in served.files[UPSTREAMS_FILE]


def test_a_replica_that_a_dead_run_left_marked_gets_its_callers_back_before_the_next_is_drained(
    served: OneHost,
) -> None:
    first, second = served.wanted()
    pool = parse_upstreams(served.files[UPSTREAMS_FILE])[0]
    served.files[UPSTREAMS_FILE] = json.dumps([one.to_dict() for one in marked(pool, {FIRST})])
    served.containers = (running(first), running(second, digest="older"))
    assert served.run(engine.replicas) and served.refused == []
    told = story(served)
    assert told[:3] == ["marks", "reload", "marks"] and told[4] == f"wait for {SECOND}"


def test_the_last_good_replica_gets_its_callers_back(served: OneHost) -> None:
    crash, ready = Glance("exited"), Glance("running", health="200", answered="200")
    glances = [crash, ready]
    served.answers[ReplicaGlance] = lambda **_: glances.pop(0)
    served.data.engine_extra_args = ["--no-such-flag"]
    served.run(engine.replicas)
    assert story(served) == ["marks", "reload", f"wait for {FIRST}", "small-0", "small-0", "marks", "reload"]
    assert "draining" not in served.files[UPSTREAMS_FILE]


def test_callers_of_a_model_do_not_meet_another_one_at_its_address(served: OneHost) -> None:
    served.data.site_models = {**served.data.site_models, "other": served.data.site_models["small"]}
    served.data.serve = [{"model": "other", "context": 2048, "concurrency": 8, "replicas": 2}]
    served.answers[ReplicaEvidence] = Evidence("running", 1, "000")
    served.run(engine.replicas)
    [entry] = json.loads(served.files[UPSTREAMS_FILE])
    assert entry["model"] == "small" and "draining" not in entry, "the old one is back"
    served.answers[ReplicaEvidence] = Evidence("running", 0, "200")
    marks: list[str] = []
    served.answers[ReplicaGlance] = lambda **_: (
        marks.append(served.files[ENGINES]) or Glance("running", health="200", answered="200")
    )
    served.run(engine.replicas)
    assert f"server {SECOND} max_fails=3 fail_timeout=5s;" in marks[0], "the second still serves the old model"
    assert f"server {FIRST} max_fails=3 fail_timeout=5s down;" in marks[1], "the first serves another one by now"


def test_every_replica_of_a_host_is_drained_by_one_call(served: OneHost) -> None:
    served.run(SimpleNamespace(_inner=lambda: drain.drain(None, grace_s=60)))
    assert story(served) == ["marks", "reload", f"wait for {FIRST} {SECOND}"]
    assert 'map "" $engine_0_out { default "draining"; }' in served.files[ENGINES]


def test_marks_are_added_and_taken_away_one_by_one() -> None:
    pool = (Upstream("a", (FIRST, SECOND)), Upstream("b", ("172.31.213.12:8000",)))
    once = marked(pool, {SECOND})
    assert [one.draining for one in once] == [(SECOND,), ()]
    assert [one.draining for one in marked(once, {FIRST})] == [(FIRST, SECOND), ()]
    assert [one.draining for one in marked(pool, None)] == [(FIRST, SECOND), ("172.31.213.12:8000",)]
    assert unmarked(once, "a", SECOND) == pool
    assert unmarked(once, "b", SECOND) == once


def test_marks_survive_the_file() -> None:
    pool = marked((Upstream("a", (FIRST, SECOND)),), {SECOND})
    assert parse_upstreams(json.dumps([one.to_dict() for one in pool])) == (pool, None)


HOLD = {"gpu": "GPU-1", "why": "the driver asks for: Reset", "since": "2026-11-28T00:00:00+00:00"}


def test_the_look_at_a_pool_says_whether_there_is_a_gateway() -> None:
    found = [
        *("@@ingot-begin upstreams", f'[{{"model": "a", "replicas": ["{FIRST}"]}}]', "@@ingot-end upstreams 0"),
        *("@@ingot-begin acceptance", '{"verdict": "fail", "override": null}', "@@ingot-end acceptance 0"),
        *("@@ingot-begin holds", json.dumps({SECOND: HOLD}), "@@ingot-end holds 0"),
        *("@@ingot-begin gateway", "@@ingot-end gateway 1"),
        *("@@ingot-begin affinity", "@@ingot-end affinity 1"),
        *("@@ingot-begin fleet", "@@ingot-end fleet 1"),
        *("@@ingot-begin inet_six", "@@ingot-end inet_six 0"),
    ]
    held = (ReplicaHold(SECOND, **HOLD),)
    assert Pool().process(found) == PoolState((Upstream("a", (FIRST,)),), held_out=True, has_gateway=False, holds=held)


def test_a_drain_keeps_replicas_out_whose_gpu_failed() -> None:
    found = PoolState((Upstream("a", (FIRST, SECOND)),), has_gateway=True, holds=(ReplicaHold(SECOND, **HOLD),))
    (_, engines) = drain.pool_files(found, found.upstreams)
    assert f"server {SECOND} max_fails=3 fail_timeout=5s down;" in engines.bytes.decode()
    assert f"server {FIRST} max_fails=3 fail_timeout=5s;" in engines.bytes.decode()


ONE_RUNS = """echo 'vllm:num_requests_running{engine="0"} 1.0'"""
NONE_RUNS = """echo 'vllm:num_requests_running{engine="0"} 0.0'"""


@dataclass
class Waited:
    """What a wait looked at, how long it took by its own clock, and what it said."""

    looks: int
    took_s: int
    said: str


@pytest.fixture
def waited(tmp_path: Path) -> Callable[..., Waited]:
    """Runs the wait with stand-ins: curl does what the test says (`$n` counts its calls), the clock stands still
    but for half a second's sleep, which takes one, and for a curl that lets its `$most` seconds pass."""

    def run(addresses: list[str], grace_s: int, answer: str) -> Waited:
        tools = {
            "curl": f"echo x >>{tmp_path}/calls; n=$(wc -l <{tmp_path}/calls); clock={tmp_path}/clock; "
            'while [ $# -gt 1 ]; do [ "$1" != --max-time ] || most=$2; shift; done; url=$1; '
            f"hang() {{ echo $(($(cat $clock) + most)) >$clock; exit 28; }}; {answer}",
            "date": f"cat {tmp_path}/clock",
            "sleep": f"echo $(($(cat {tmp_path}/clock) + 1)) >{tmp_path}/clock",
        }
        (tmp_path / "clock").write_text("0\n")
        (tmp_path / "calls").write_text("")
        for name, text in tools.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        command = ["sh", "-c", drain.idle(addresses, grace_s)]
        done = subprocess.run(command, env=environment, check=True, timeout=180, capture_output=True, text=True)
        calls = len((tmp_path / "calls").read_text().split())
        return Waited(calls, int((tmp_path / "clock").read_text()), done.stdout)

    return run


@pytest.mark.parametrize(("busy_looks", "looks"), [(0, 3), (2, 5)])
def test_waiting_ends_when_nothing_runs(waited: Callable[..., Waited], busy_looks: int, looks: int) -> None:
    found = waited([FIRST], 60, f"[ $n -le {busy_looks} ] && {ONE_RUNS} || {NONE_RUNS}")
    assert (found.looks, found.said) == (looks, "")


@pytest.mark.engines
@pytest.mark.parametrize("metric", ["requests_processing", "requests_deferred"])
def test_an_engine_that_does_not_drain_is_waited_for_by_its_own_counts(
    waited: Callable[..., Waited], metric: str
) -> None:
    found = waited([FIRST], 60, f"[ $n -le 2 ] && echo 'llamacpp:{metric} 1' || echo 'llamacpp:{metric} 0'")
    assert (found.looks, found.said) == (5, "")


def test_waiting_ends_when_the_time_is_up(waited: Callable[..., Waited]) -> None:
    found = waited([FIRST], 10, ONE_RUNS)
    assert found.took_s >= 10 and found.said == "", "an engine that says that it works is not unknown"


@pytest.mark.parametrize(
    "answer", ["hang", "exit 52", "echo; echo status 503"], ids=["silence", "a broken answer", "an error"]
)
def test_an_engine_that_accepts_and_does_not_answer_gets_all_the_time_and_not_more(
    waited: Callable[..., Waited], answer: str
) -> None:
    found = waited([FIRST], 120, answer)
    assert found.took_s in (120, 121), "to its end, which a sleep before the next look may pass"
    assert found.said == f"{FIRST} did not say within 120 s whether requests run; those that do are cut off.\n"


def test_the_silence_of_one_engine_is_not_covered_by_anothers_answer(waited: Callable[..., Waited]) -> None:
    found = waited([FIRST, SECOND], 60, f"case $url in *{FIRST}*) hang ;; *) {NONE_RUNS} ;; esac")
    assert found.took_s >= 60 and FIRST in found.said and SECOND not in found.said


def test_an_engine_that_answers_again_is_believed(waited: Callable[..., Waited]) -> None:
    found = waited([FIRST], 120, f"[ $n -gt 2 ] || hang; {NONE_RUNS}")
    assert found.took_s < 20 and found.said == ""


def test_an_engine_that_has_no_such_count_is_not_waited_for(waited: Callable[..., Waited]) -> None:
    found = waited([FIRST], 120, "echo '{}'; echo status 404")
    assert (found.looks, found.said) == (3, "")


def test_where_nothing_listens_nothing_runs(waited: Callable[..., Waited]) -> None:
    found = waited([FIRST], 120, "exit 7")
    assert (found.looks, found.said) == (3, "")


def test_a_real_connection_without_an_answer_is_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        command = ["sh", "-c", drain.idle([address], 2)]
        done = subprocess.run(command, check=True, timeout=180, capture_output=True, text=True)
    assert done.stdout.startswith(f"{address} did not say within 2 s")


@pytest.mark.rollout
def test_a_replica_that_is_no_longer_planned_ends_its_requests_first(served: OneHost) -> None:
    served.data.serve = [{"model": "small", "context": 2048, "concurrency": 8, "replicas": 1}]
    served.run(engine.replicas)
    told = [
        f"wait for {SECOND}" if SECOND in one else "remove" for one in served.commands if SECOND in one or "rm" in one
    ]
    assert story(served)[:3] == ["marks", "reload", f"wait for {SECOND}"]
    assert told[-1] == "remove" and f"wait for {SECOND}" in told


@pytest.fixture
def single(served: OneHost) -> OneHost:
    """A host with one replica and a GPU to spare."""
    served.data.serve = [{"model": "small", "context": 2048, "concurrency": 8, "replicas": 1}]
    served.run(engine.replicas)
    served.serves(*served.wanted())
    served.data.engine_extra_args = ["--seed", "1"]
    return served


@pytest.mark.rollout
def test_with_spare_gpus_the_new_replica_serves_there_while_its_own_are_freed(single: OneHost) -> None:
    single.data.rollout_outage = "spare-gpus"
    pools: list[list[str]] = []
    single.answers[ReplicaGlance] = lambda container, **_: (
        pools.append([container, *json.loads(single.files[UPSTREAMS_FILE])[0]["replicas"]])
        or Glance("running", health="200", answered="200")
    )
    assert single.run(engine.replicas) and single.refused == []
    assert [told for told in story(single) if told.startswith("small")] == ["small-0-bridge", "small-0"]
    assert pools == [["ingot-engine-small-0-bridge", FIRST], ["ingot-engine-small-0", FIRST, SECOND]]
    assert "small-0-bridge" not in single.composed()
    assert json.loads(single.files[UPSTREAMS_FILE]) == [{"model": "small", "replicas": [FIRST]}]
    assert SECOND not in single.files[ENGINES] and "down" not in single.files[ENGINES]


@pytest.mark.rollout
def test_what_does_not_serve_on_spare_gpus_leaves_the_old_replica_alone(single: OneHost) -> None:
    single.data.rollout_outage = "spare-gpus"
    single.answers[ReplicaGlance] = Glance("exited")
    before = single.composed()
    single.run(engine.replicas)
    assert story(single) == ["small-0-bridge"] and single.composed() == before
    assert "nothing was replaced, correct its settings and deploy again" in single.refused[0]


@pytest.mark.rollout
@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("spare-gpus", "no 1 spare GPUs are there to start the new one first, and rollout_outage is 'spare-gpus'"),
        ("other-hosts", "no fleet gateway stands before this host, and rollout_outage is 'other-hosts'"),
    ],
)
def test_an_outage_that_the_operator_did_not_choose_is_refused_before_anything_changes(
    single: OneHost, choice: str, words: str
) -> None:
    single.answers[Gpus] = [card(0)]
    single.data.engine_extra_args = []
    single.run(engine.replicas)
    single.serves(*single.wanted())
    single.data.rollout_outage, single.data.engine_extra_args = choice, ["--seed", "1"]
    single.run(engine.replicas)
    assert single.commands == [] and len(single.refused) == 1 and words in single.refused[0]


@pytest.mark.rollout
def test_a_declared_outage_is_the_default_and_the_table_says_so(single: OneHost) -> None:
    with ctx_host.use(single):
        seen = engine.look()
    assert seen is not None
    [row] = rows([seen])
    assert row[:4] == ("1", "gpu-01", "small-0", "replace: arguments") and row[4].startswith(
        "yes: 503 with Retry-After"
    )
