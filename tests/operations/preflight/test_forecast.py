"""`ingot plan` says what a deploy would do: by its values, its looks and its one way to a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.context import ctx_host

from ingot.catalog.described import from_catalog, request_for
from ingot.errors import IngotError
from ingot.facts.driver import Driver, DriverLook
from ingot.facts.engine import Container, EngineLook, EngineState
from ingot.facts.nvidia import Gpus
from ingot.facts.together import Together
from ingot.inventory.fleet import Selected
from ingot.operations.preflight import hosts_to_plan as module
from ingot.operations.preflight.forecast import Asked, by_gpu, forecast
from ingot.operations.preflight.hosts_to_plan import hosts_to_plan
from ingot.operations.serving import planning
from ingot.settings.defaults import defaults
from tests.operations.preflight.test_preflight import GOOD, SERVE
from tests.settings.values import host

GPUS = GOOD.gpus.gpus
VALUES = {"serve": SERVE, "engine_version": "0.32.0", "engine_image_digest": f"sha256:{0:064}"}


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a host of the inventory that answers with these facts, and ask for its plan."""

    def ask(*hosts: Any, offline: bool = False, state: EngineState | None = None) -> list[Asked | IngotError]:
        answers = {
            Driver: DriverLook(GOOD.driver, GOOD.gpus),
            EngineLook: state or EngineState(True),
            Gpus: GOOD.gpus.gpus,
        }

        def answer(fact: Any, facts: Any = (), **_: Any) -> Any:
            return tuple(answers[one] for one, _ in facts) if fact is Together else answers[fact]

        for one in hosts:
            monkeypatch.setattr(one, "get_fact", answer)
        monkeypatch.setattr(module, "connected", ctx_host.use)
        monkeypatch.setattr(module, "at_once", lambda _, chosen, work: [work(one) for one in chosen])
        chosen = Selected(Path("inventories/lab.py"), SimpleNamespace(), tuple(hosts))  # type: ignore[arg-type]
        return hosts_to_plan(chosen, None, offline=offline)

    return ask


def test_a_live_host_is_planned_as_its_deploy_plans_it(live: Any) -> None:
    one = host(**VALUES)
    made = forecast(live(one))
    with ctx_host.use(one):
        deployed = planning.host_plan(EngineState(True))
    assert made.plans == [deployed.plan]
    assert made.because == {"gpu-01": "new: none is stored there"} == {"gpu-01": deployed.because}


def test_a_deployed_host_keeps_its_plan_and_says_so(live: Any) -> None:
    one = host(**VALUES)
    with ctx_host.use(one):
        live(one)
        first = planning.host_plan(EngineState(True))
        # Its engine holds the memory now, which was free when it was planned.
        holds = Container("a-0", "", "", "running", 0, 0, 9, "", tuple(f"nvidia.com/gpu={gpu.uuid}" for gpu in GPUS))
        state = EngineState(True, (holds,), {"plan.json": first.to_dict()})
        live(one, state=state)
        kept = planning.host_plan(state)
    made = forecast(live(one, state=state))
    assert made.plans == [kept.plan] == [first.plan]
    assert made.because["gpu-01"] == "kept as deployed: GPUs, models and engine are those that it was made from"
    assert made.to_dict()["plans"][0]["because"] == made.because["gpu-01"]


def test_a_changed_value_says_what_changed(live: Any) -> None:
    one = host(**VALUES)
    with ctx_host.use(one):
        live(one)
        state = EngineState(True, files={"plan.json": planning.host_plan(EngineState(True)).to_dict()})
    other = host(**{**VALUES, "serve": [{**SERVE[0], "context": 4096}], "gpus_use": [0, 1]})
    made = forecast(live(other, state=state))
    assert made.because["gpu-01"] == "new: GPUs and models changed since the last deploy"


def test_a_wrong_value_is_that_host_s_alone(live: Any) -> None:
    wrong = host("gpu-02", **{**VALUES, "engine_port": 0, "accounting_days": 0})
    made = forecast(live(host(**VALUES), wrong))
    assert [plan.host for plan in made.plans] == ["gpu-01"]
    assert made.errors == [
        "gpu-02: engine_port is 0, expected a TCP port from 1 to 65535; correct it in group_data/all.py.",
        "gpu-02: accounting_days is 0, expected a whole number of days from 1 on; correct it in group_data/all.py.",
    ]


def test_without_a_look_nothing_is_said_of_what_is_stored(live: Any) -> None:
    made = forecast(live(host(**VALUES, own={"gpus": "a10gx4"}), host("gpu-02", **VALUES), offline=True))
    assert [plan.host for plan in made.plans] == ["gpu-01"] and made.because == {}
    assert made.errors == ["gpu-02: its host file does not state `gpus`; add it or leave out --offline."]


def test_gpus_by_name_are_planned_with_the_values_of_group_data() -> None:
    asked = by_gpu("a10g", request_for(from_catalog("qwen3-4b")))
    assert asked.engine == planning.profile(defaults())
    assert asked.driver is not None and asked.driver.decision is not None
    assert asked.driver.decision.branch == defaults().driver_branch


def test_what_does_not_fit_names_the_hosts_that_could(live: Any) -> None:
    large = [{"model": "llama-3.1-405b-instruct", "context": 4096, "concurrency": 2}]
    small = live(host(**{**VALUES, "serve": large}))[0]
    named = by_gpu("h100x8", small.requests[0])
    big = replace(named, hardware=replace(named.hardware, host="gpu-09"))
    made = forecast([small, big])
    assert made.misfits["gpu-01"].nearest[-1] == "serve it on gpu-09, which could"
