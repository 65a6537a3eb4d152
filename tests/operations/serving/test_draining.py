"""A replica that is replaced gets no new requests before it stops, and gets them again once it serves."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from ingot.facts.gateway import ENGINES
from ingot.facts.pool import Pool, PoolState
from ingot.facts.replica import Evidence, Glance, ReplicaEvidence, ReplicaGlance, ReplicaLog
from ingot.gateway.upstreams import UPSTREAMS_FILE, Upstream, marked, parse_upstreams, unmarked
from ingot.operations.gateway import drain
from ingot.operations.serving import engine
from tests.operations.serving.onehost import OneHost

pytestmark = pytest.mark.gateway

FIRST, SECOND = "172.31.213.10:8000", "172.31.213.11:8000"


@pytest.fixture
def served() -> OneHost:
    """A host with a gateway that serves its plan."""
    host = OneHost()
    host.answers |= {
        ReplicaGlance: Glance("running", health="200", completion="200"),
        ReplicaEvidence: Evidence("running", 0, "200"),
        ReplicaLog: [],
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
        *("marks", f"wait for {FIRST}", "small-0", "marks", "reload"),
        *("marks", f"wait for {SECOND}", "small-1", "marks", "reload"),
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


def test_the_last_good_replica_gets_its_callers_back(served: OneHost) -> None:
    crash, ready = Glance("exited", exit_code=1), Glance("running", health="200", completion="200")
    glances = [crash, ready]
    served.answers[ReplicaGlance] = lambda **_: glances.pop(0)
    served.data.engine_extra_args = ["--no-such-flag"]
    served.run(engine.replicas)
    assert story(served) == ["marks", f"wait for {FIRST}", "small-0", "small-0", "marks", "reload"]
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
        marks.append(served.files[ENGINES]) or Glance("running", health="200", completion="200")
    )
    served.run(engine.replicas)
    assert f"server {SECOND} max_fails=3 fail_timeout=5s;" in marks[0], "the second still serves the old model"
    assert f"server {FIRST} max_fails=3 fail_timeout=5s down;" in marks[1], "the first serves another one by now"


def test_every_replica_of_a_host_is_drained_by_one_call(served: OneHost) -> None:
    served.run(SimpleNamespace(_inner=lambda: drain.drain(None, grace_s=60)))
    assert story(served) == ["marks", f"wait for {FIRST} {SECOND}"]
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


def test_the_look_at_a_pool_says_whether_there_is_a_gateway() -> None:
    found = [
        *("@@ingot-begin upstreams", f'[{{"model": "a", "replicas": ["{FIRST}"]}}]', "@@ingot-end upstreams 0"),
        *("@@ingot-begin acceptance", '{"verdict": "fail", "override": null}', "@@ingot-end acceptance 0"),
        *("@@ingot-begin gateway", "@@ingot-end gateway 1"),
        *("@@ingot-begin affinity", "@@ingot-end affinity 1"),
        *("@@ingot-begin fleet", "@@ingot-end fleet 1"),
        *("@@ingot-begin inet_six", "@@ingot-end inet_six 0"),
    ]
    assert Pool().process(found) == PoolState((Upstream("a", (FIRST,)),), held_out=True, has_gateway=False)


@pytest.mark.parametrize(("busy_looks", "calls"), [(0, 3), (2, 5), (1000, 3)])
def test_waiting_ends_when_nothing_runs_or_the_time_is_up(tmp_path: Path, busy_looks: int, calls: int) -> None:
    """curl is a stand-in that says "one runs" so many times; the clock goes on a second with each look at it."""
    (tmp_path / "curl").write_text(
        f"#!/bin/sh\necho x >>{tmp_path}/calls; n=$(wc -l <{tmp_path}/calls)\n"
        f"[ $n -le {busy_looks} ] && echo 'vllm:num_requests_running{{engine=\"0\"}} 1.0' || "
        "echo 'vllm:num_requests_running{engine=\"0\"} 0.0'\n"
    )
    (tmp_path / "date").write_text(f"#!/bin/sh\necho x >>{tmp_path}/clock; wc -l <{tmp_path}/clock\n")
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    for tool in ("curl", "date", "sleep"):
        (tmp_path / tool).chmod(0o755)
    grace_s = 4 if busy_looks == 1000 else 60
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", drain.idle([FIRST], grace_s)], env=environment, check=True, timeout=30)
    assert len((tmp_path / "calls").read_text().split()) == calls
