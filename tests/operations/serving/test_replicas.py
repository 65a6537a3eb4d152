"""Replicas are brought to the plan one at a time, and a failed one gives way to what served before."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingot.facts.asking import Answer, Asked
from ingot.facts.crash import Crash, ReplicaCrash
from ingot.facts.disk_rate import DiskRate
from ingot.facts.engine import EngineLook, EngineState
from ingot.facts.gateway import ENGINES
from ingot.facts.models import ModelDirectory, Models, ModelsState, Room, Verified
from ingot.facts.nvidia import Gpus
from ingot.facts.replica import Evidence, Glance, ReplicaEvidence, ReplicaGlance, ReplicaLog
from ingot.facts.smi_fault import Fault, GpuFault
from ingot.operations.serving import engine, rollout, services
from tests.operations.serving.onehost import SMALL, OneHost, card, running

READY = Glance("running", health="200", answered="200")
CRASH = Crash(exit_code=1, processor="AMD EPYC 9555")
HEALTHY = Evidence("running", 0, "200", (), ("Available KV cache memory: 21.50 GiB",))


@pytest.fixture
def fresh() -> OneHost:
    """A host on which nothing serves yet and every replica starts well."""
    host = OneHost()
    host.answers |= {
        ReplicaGlance: READY,
        ReplicaEvidence: HEALTHY,
        ReplicaLog: ["ValueError: no"],
        Asked: (Answer("200", '{"choices": [{"text": "one"}]}'),),
        ReplicaCrash: CRASH,
    }
    return host


@pytest.fixture
def served(fresh: OneHost) -> OneHost:
    """A host that serves its plan."""
    fresh.run(engine.replicas)
    fresh.serves(*fresh.wanted())
    return fresh


def ups(host: OneHost) -> list[str]:
    """Which services were started, in order."""
    return [c.partition("--force-recreate ")[2].partition(";")[0] for c in host.commands if "--force-recreate" in c]


def glances(script: dict[str, list[Glance]]) -> Any:
    """Answer each container's glances in turn, the last one for ever."""

    def glance(container: str, **_: Any) -> Glance:
        mine = script.get(container, [READY])
        return mine.pop(0) if len(mine) > 1 else mine[0]

    return glance


def test_a_fresh_host_gets_its_replicas_one_after_the_other(fresh: OneHost) -> None:
    assert fresh.run(engine.replicas) and fresh.refused == []
    assert ups(fresh) == ["small-0", "small-1"]
    composed = yaml.safe_load(fresh.composed())["services"]
    devices = {name: one["deploy"]["resources"]["reservations"]["devices"] for name, one in composed.items()}
    assert devices == {
        "small-0": [{"driver": "cdi", "device_ids": ["nvidia.com/gpu=GPU-0"], "capabilities": ["gpu"]}],
        "small-1": [{"driver": "cdi", "device_ids": ["nvidia.com/gpu=GPU-1"], "capabilities": ["gpu"]}],
    }
    assert json.loads(fresh.files["/var/lib/ingot/upstreams.json"]) == [
        {"model": "small", "replicas": ["172.31.213.10:8000", "172.31.213.11:8000"]}
    ]
    measured = json.loads(fresh.files["/var/lib/ingot/measured.json"])["measured"]
    assert [one["available_kv_bytes"] for one in measured] == [int(21.5 * 1024**3)]
    assert {"plan.json", "small-0.json", "small-1.json"} <= {path.rpartition("/")[2] for path in fresh.files}


def test_a_replica_that_does_not_do_what_it_is_for_is_a_failed_one(fresh: OneHost) -> None:
    fresh.answers[Asked] = (Answer("400", '{"error": {"message": "no such model"}}'),)
    fresh.run(engine.replicas)
    assert "small-0 answered /v1/completions with 400 where a completion was expected" in fresh.refused[0]
    assert "there was nothing to go back to" in fresh.refused[0]


@pytest.fixture
def ollama(fresh: OneHost) -> OneHost:
    """A fresh host that shall serve a verified GGUF file by Ollama."""
    variant = {**SMALL["variants"][0], "file": "small.gguf", "checkpoint_bytes": 10**7}  # type: ignore[index]
    fresh.data.site_models = {"small": {**SMALL, "variants": [variant]}}
    fresh.data.serve = [{"model": "small", "context": 2048, "concurrency": 2, "engine": "ollama"}]
    fresh.data.engine_images = {
        "ollama": {"image": "ollama/ollama:0.33.0", "version": "0.33.0", "digest": "sha256:" + "2" * 64}
    }
    verified = ModelDirectory(verified=(Verified("small.gguf", 10**7, "ab" * 32, "1.0"),))
    fresh.answers[Models] = lambda root, targets: ModelsState(Room(0, None, "/"), dict.fromkeys(targets, verified))
    fresh.answers[ReplicaEvidence] = Evidence("running", 0, "200", (), ("load_tensors: offloaded 5/5 layers to GPU",))
    return fresh


def test_ollama_finds_the_verified_file_before_it_starts(ollama: OneHost) -> None:
    # A large model loads for longer than any question waits: its server lives all the while.
    loads = Glance("running", health="200", answered="000")
    ollama.answers[ReplicaGlance] = glances({"ingot-engine-small-0": [loads] * 9 + [READY]})
    assert ollama.run(engine.replicas) and ollama.refused == []
    (path,) = (path for path in ollama.files if path.endswith("/library/small/latest"))
    assert path.startswith("/var/lib/ingot/engine/store/small-0-")
    assert json.loads(ollama.files[path])["layers"][0]["digest"] == "sha256:" + "ab" * 32
    laid_out = next(index for index, one in enumerate(ollama.commands) if path in one)
    assert laid_out < next(index for index, one in enumerate(ollama.commands) if "--force-recreate" in one)
    ollama.serves(*ollama.wanted())
    assert not ollama.run(engine.replicas)


def test_layers_that_ollama_left_to_the_processor_refuse_a_change(ollama: OneHost) -> None:
    ollama.run(engine.replicas)
    ollama.serves(*ollama.wanted())
    ollama.data.serve = [{**ollama.data.serve[0], "context": 4096}]
    few = Evidence("running", 0, "200", (), ("load_tensors: offloaded 3/5 layers to GPU",))
    ollama.answers[ReplicaEvidence] = few
    ollama.run(engine.replicas)
    assert "small-0 has 3 of its 5 layers on its GPUs, its plan has all of them there" in ollama.refused[0]
    assert "the last good small-0 serves again" in ollama.refused[0]


def test_preparing_a_fresh_host_starts_nothing(fresh: OneHost) -> None:
    assert fresh.run(engine.replicas, executing=False)
    assert ups(fresh) == []


def test_the_second_run_changes_nothing_although_the_engine_holds_the_memory(served: OneHost) -> None:
    served.answers[Gpus] = [card(0, free_gib=1.0), card(1, free_gib=1.0)]
    assert not served.run(engine.replicas)
    assert served.noops == ["2 replicas serve as planned"]


def test_a_changed_workload_is_planned_as_if_the_own_engine_were_not_there(served: OneHost) -> None:
    served.answers[Gpus] = [card(0, free_gib=1.0), card(1, free_gib=1.0)]
    served.data.serve = [{"model": "small", "context": 4096, "concurrency": 8, "replicas": 2}]
    assert served.run(engine.replicas) and served.refused == []
    assert ups(served) == ["small-0", "small-1"]


def test_a_replica_that_is_down_comes_back_alone(served: OneHost) -> None:
    first, second = served.wanted()
    served.serves(first)
    served.run(engine.replicas)
    assert ups(served) == [second.name]


def test_a_replica_that_starts_is_waited_for_and_not_restarted(served: OneHost) -> None:
    served.serves(*served.wanted(), healthy=False, age_s=20)
    served.run(engine.replicas)
    assert served.refused == [] and ups(served) == []


def test_a_replica_that_is_no_longer_planned_goes_last(served: OneHost) -> None:
    served.data.serve = [{"model": "small", "context": 2048, "concurrency": 8, "replicas": 1}]
    served.run(engine.replicas)
    assert services.removal("small-1") in served.commands
    assert "/var/lib/ingot/engine/last-good/small-1.json" not in served.files
    assert list(yaml.safe_load(served.composed())["services"]) == ["small-0"]


def test_a_crash_at_start_brings_the_last_good_one_back_and_leaves_the_others(served: OneHost) -> None:
    before = dict(served.files)
    crash = Glance("exited")
    served.answers[ReplicaGlance] = glances({"ingot-engine-small-0": [crash, READY]})
    served.data.engine_extra_args = ["--no-such-flag"]
    served.run(engine.replicas)
    assert ups(served) == ["small-0", "small-0"]
    assert served.files == before
    assert served.refused == [
        "gpu-01: small-0 crashed 0 s after its start (exit code 1; last request: none yet; processor: AMD "
        "EPYC 9555), expected it to serve; read its log above (kept in /var/lib/ingot/engine/failed/small-0 on the "
        "host), correct its settings and deploy again; the last good small-0 serves again."
    ]


def test_when_the_last_good_one_fails_too_it_says_so_and_stops(served: OneHost) -> None:
    served.answers[ReplicaGlance] = Glance("exited")
    served.data.engine_extra_args = ["--no-such-flag"]
    served.run(engine.replicas)
    assert ups(served) == ["small-0", "small-0"]
    assert served.refused[0].endswith("the last good small-0 did not start again either, so it is down.")


def test_a_first_start_that_fails_is_not_left_for_the_next_boot(fresh: OneHost) -> None:
    fresh.answers[ReplicaGlance] = Glance("exited")
    fresh.run(engine.replicas)
    assert fresh.refused[0].endswith("there was nothing to go back to.")
    assert engine.COMPOSE not in fresh.files
    assert "/var/lib/ingot/plan.json" not in fresh.files


@pytest.mark.parametrize(
    ("glance", "trouble"),
    [
        (Glance("missing"), "has no container (Docker refused to make or start it)"),
        (Glance("running", restarts=1), "crashed 0 s after its start (exit code 1; last request: none yet;"),
        (Glance("running", health="200", answered="000"), "says it is healthy but gave no answer in 3 attempts"),
    ],
)
def test_what_is_wrong_with_a_start_is_said(fresh: OneHost, glance: Glance, trouble: str) -> None:
    fresh.answers[ReplicaGlance] = glance
    fresh.run(engine.replicas)
    assert trouble in fresh.refused[0]


def test_a_lost_connection_is_made_again(fresh: OneHost, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[object] = []
    monkeypatch.setattr(rollout, "reconnect", lambda host: attempts.append(host) or True)
    fresh.answers[ReplicaGlance] = glances({"ingot-engine-small-0": [Glance("unknown"), Glance("unknown"), READY]})
    fresh.run(engine.replicas)
    assert len(attempts) == 2 and fresh.refused == []


def test_a_connection_that_stays_lost_leaves_the_start_alone(fresh: OneHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "reconnect", lambda _: None)
    monkeypatch.setattr(rollout, "RECONNECT_S", 0)
    fresh.answers[ReplicaGlance] = Glance("unknown")
    fresh.run(engine.replicas)
    assert fresh.refused == [
        "gpu-01: the connection was lost while small-0 starts, and not found again within 0 s; it goes on there, run "
        "again to wait for it."
    ]
    assert services.removal("small-0") not in fresh.commands


def test_a_new_start_left_by_a_cut_off_run_still_has_something_to_go_back_to(served: OneHost) -> None:
    second = served.wanted()[1]
    served.data.engine_extra_args = ["--no-such-flag"]
    served.containers = (running(served.wanted()[0], healthy=False, age_s=5), running(second))
    served.answers[ReplicaGlance] = glances({"ingot-engine-small-0": [Glance("exited"), READY]})
    served.run(engine.replicas)
    assert ups(served) == ["small-0"]
    assert served.refused[0].endswith("the last good small-0 serves again.")


def test_what_served_before_with_the_same_settings_stays_for_the_next_boot(served: OneHost) -> None:
    first, second = served.wanted()
    served.containers = (running(first, status="exited", healthy=False), running(second))
    served.answers[ReplicaGlance] = Glance("exited")
    served.run(engine.replicas)
    assert ups(served) == ["small-0"]
    assert served.refused[0].endswith("it served with these settings before, so look for what changed on the host.")
    assert set(yaml.safe_load(served.composed())["services"]) == {"small-0", "small-1"}


def test_measurements_of_another_version_of_ingot_are_dropped(served: OneHost) -> None:
    served.files["/var/lib/ingot/measured.json"] = '{"schema": 99}'
    served.data.serve = [{"model": "small", "context": 4096, "concurrency": 8, "replicas": 2}]
    assert served.run(engine.replicas) and served.refused == []
    assert json.loads(served.files["/var/lib/ingot/measured.json"])["schema"] == 1


def room_gib(gib: float) -> Evidence:
    return Evidence("running", 0, "200", (), (f"Available KV cache memory: {gib:.2f} GiB",))


@pytest.mark.rollout
def test_a_replica_with_less_room_than_its_plan_allows_gives_way_to_the_last_good_one(served: OneHost) -> None:
    before = served.composed()
    served.answers[ReplicaEvidence] = room_gib(11.5)
    served.data.engine_extra_args = ["--seed", "1"]
    served.run(engine.replicas)
    assert ups(served) == ["small-0", "small-0"] and served.composed() == before
    assert "small-0 has room for less of cache, its plan allows no fewer than" in served.refused[0]
    assert served.refused[0].endswith("the last good small-0 serves again.")
    [measured] = json.loads(served.files["/var/lib/ingot/measured.json"])["measured"]
    assert measured["available_kv_bytes"] == int(11.5 * 1024**3), "what the next plan expects"


@pytest.mark.rollout
def test_a_first_replica_with_less_room_serves_with_a_warning(fresh: OneHost, caplog: pytest.LogCaptureFixture) -> None:
    fresh.answers[ReplicaEvidence] = room_gib(11.5)
    assert fresh.run(engine.replicas) and fresh.refused == []
    assert "small-0 has room for less of cache" in caplog.text and "there is none to go back to" in caplog.text


@pytest.mark.rollout
def test_starts_and_the_disk_are_measured_and_the_second_run_changes_nothing(fresh: OneHost) -> None:
    fresh.answers[DiskRate] = 10**6
    fresh.run(engine.replicas)
    stored = json.loads(fresh.files["/var/lib/ingot/engine/starts.json"])
    assert stored["disk_bytes_per_s"] == 10**6 and set(stored["seconds"]) == {"small-0", "small-1"}
    wanted = [json.loads(fresh.files[f"/var/lib/ingot/engine/last-good/small-{n}.json"]) for n in range(2)]
    assert all(one["service"]["start_deadline_s"] >= 420 for one in wanted)
    fresh.answers[DiskRate] = 10**9
    fresh.serves(*fresh.wanted())
    assert not fresh.run(engine.replicas)


@pytest.mark.rollout
def test_callers_of_a_single_replica_are_told_how_long_its_last_start_took(served: OneHost) -> None:
    served.files["/var/lib/ingot/engine/starts.json"] = json.dumps(
        {"disk_bytes_per_s": None, "seconds": {"small-0": 90, "small-1": 90}}
    )
    served.modes["/var/lib/ingot/engine/starts.json"] = "0644"
    served.files[ENGINES], served.modes[ENGINES] = "as the gateway role wrote it", "0644"
    told: list[dict[str, Any]] = []
    served.answers[ReplicaGlance] = lambda **_: (
        told.extend(json.loads(served.files["/var/lib/ingot/upstreams.json"])) or READY
    )
    served.data.engine_extra_args = ["--seed", "1"]
    before = time.time()
    served.run(engine.replicas)
    assert all(before + 89 <= one["ready_at"] <= time.time() + 90 for one in told) and len(told) == 2
    assert "ready_at" not in served.files["/var/lib/ingot/upstreams.json"]


def test_a_start_has_an_end(fresh: OneHost, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10**6, 100))
    monkeypatch.setattr(rollout.time, "monotonic", lambda: float(next(clock)))
    fresh.answers[ReplicaGlance] = Glance("running")
    fresh.run(engine.replicas)
    assert "was not ready after" in fresh.refused[0] and "(its model was given 420 s)" in fresh.refused[0]


def test_a_replica_that_answers_once_and_dies_is_not_good(fresh: OneHost) -> None:
    fresh.answers[ReplicaEvidence] = Evidence("running", 1, "000")
    fresh.run(engine.replicas)
    assert (
        "answered once and then stopped within 10 s (exit code 1; last request: /v1/completions; " in fresh.refused[0]
    )


def test_an_engine_that_dies_of_its_first_request_is_told_from_one_that_never_served(fresh: OneHost) -> None:
    dead = [Glance("running", health="200", answered="000"), Glance("exited")]
    fresh.answers |= {ReplicaGlance: glances({"ingot-engine-small-0": dead}), ReplicaCrash: Crash(132)}
    fresh.run(engine.replicas)
    assert (
        "(exit code 132, ended by SIGILL (an instruction that this processor does not have); last request: /v1/comp"
        in (fresh.refused[0])
    )


def test_another_model_takes_over_the_gpu_and_gives_it_back_when_it_fails(served: OneHost) -> None:
    served.data.site_models = {**served.data.site_models, "other": served.data.site_models["small"]}
    served.data.serve = [{"model": "other", "context": 2048, "concurrency": 8, "replicas": 2}]
    served.answers[ReplicaGlance] = glances({"ingot-engine-other-0": [Glance("exited")]})
    served.run(engine.replicas)
    assert ups(served) == ["other-0", "small-0"]
    assert "docker stop --time 120 ingot-engine-small-0" in next(c for c in served.commands if "other-0; }" in c)
    assert set(yaml.safe_load(served.composed())["services"]) == {"small-0", "small-1"}


def test_gpus_that_do_not_answer_refuse_this_host(fresh: OneHost) -> None:
    fresh.answers[Gpus] = GpuFault(Fault.LOST, "GPU 1")
    fresh.run(engine.replicas)
    assert fresh.refused[0].startswith("gpu-01: a GPU is lost")


def test_docker_that_does_not_answer_refuses_this_host(fresh: OneHost, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = fresh.get_fact
    monkeypatch.setattr(
        fresh, "get_fact", lambda fact, **given: EngineState() if fact is EngineLook else plain(fact, **given)
    )
    fresh.run(engine.replicas)
    assert fresh.refused[0].startswith("gpu-01: Docker does not answer")


def test_a_torn_or_foreign_state_file_is_made_anew(served: OneHost) -> None:
    served.files["/var/lib/ingot/plan.json"] = '{"schema": 99}'
    served.files["/var/lib/ingot/engine/last-good/small-0.json"] = '{"name": "small-0"}'
    assert served.run(engine.replicas) and served.refused == []
    assert ups(served) == [], "what serves as wanted goes on serving"
    assert not served.run(engine.replicas)


@pytest.mark.parametrize(
    "held",
    [
        Evidence("exited", 0, "200"),
        Evidence("running", 1, "200"),
        Evidence("running", 0, "503"),
        Evidence("running", 0, "000"),
    ],
    ids=["its container ended", "it restarted", "it says that it is not healthy", "its port is shut"],
)
def test_a_replica_that_does_not_go_on_serving_gives_way(served: OneHost, held: Evidence) -> None:
    good = dict(served.files)
    served.data.engine_extra_args = ["--seed", "1"]
    served.answers[ReplicaEvidence] = held
    served.run(engine.replicas)
    (refused,) = served.refused
    assert (
        "small-0 answered once and then stopped within" in refused and "the last good small-0 serves again" in refused
    )
    assert ups(served) == ["small-0", "small-0"], "the second replica is not touched"
    proven = "/var/lib/ingot/engine/last-good/small-0.json"
    assert served.files[proven] == good[proven]


@pytest.mark.parametrize(("project", "removed"), [("ingot-engine", True), ("ingot-engine-too", False), ("", False)])
def test_a_container_of_the_same_name_that_ingot_has_not_made_stays(
    tmp_path: Path, project: str, removed: bool
) -> None:
    (tmp_path / "docker").write_text(
        f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\n[ "$1" != inspect ] || echo "{project}"\n'
    )
    (tmp_path / "docker").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", services.removal("small-0")], check=True, timeout=180, env=environment)
    assert ("rm --force ingot-engine-small-0" in (tmp_path / "calls").read_text()) == removed
