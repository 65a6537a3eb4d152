"""The plan of a host: the deploy's and `ingot plan`'s, kept as long as nothing that decides it changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ingot.errors import IngotError
from ingot.facts.engine import EngineState
from ingot.operations.serving import planning
from ingot.operations.serving.inputs import earlier
from ingot.operations.serving.planning import Planned
from ingot.operations.serving.requests import requests
from ingot.sizing import GPU, Calibration, CalibrationKey, Hardware, SizingError
from ingot.sizing.calibration import dump
from tests.operations.serving.onehost import SMALL, card
from tests.settings.values import settings

SERVED = {"model": "small", "context": 2048, "concurrency": 8}
WIDER = {**SMALL, "config": {**SMALL["config"], "intermediate_size": 1024}}


def plan(state: EngineState | None = None, gpus: list[GPU] | None = None, **values: Any) -> Planned:
    chosen = settings(**{"serve": [SERVED], "site_models": {"small": SMALL}, **values})
    hardware = Hardware("gpu-01", tuple(gpus or [card(0)]))
    return planning.plan(hardware, requests(chosen), planning.profile(chosen), state or EngineState())


def stored(planned: Planned, **changes: Any) -> EngineState:
    return EngineState(True, files={"plan.json": {**planned.to_dict(), **changes}})


def test_a_plan_stays_when_only_free_memory_and_indices_change() -> None:
    first = plan(gpus=[card(0), card(1)])
    again = plan(stored(first), gpus=[replace(card(0, 21.0), index=1), replace(card(1, 20.0), index=0)])
    assert again.plan == first.plan
    assert again.because.startswith("kept as deployed")


@pytest.mark.engines
def test_vllm_has_the_gpus_that_other_engines_leave() -> None:
    serve = [{**SERVED, "model": "other", "engine": "sglang"}, SERVED]
    made = plan(gpus=[card(0), card(1)], serve=serve, site_models={"small": SMALL, "other": SMALL}).plan
    assert {one.model: (one.engine, one.gpu_indices) for one in made.replicas} == {
        "other": ("sglang", (0,)),
        "small": ("vllm", (1,)),
    }
    with pytest.raises(SizingError, match="no GPU"):
        plan(gpus=[card(0)], serve=serve, site_models={"small": SMALL, "other": SMALL})


@pytest.mark.engines
def test_a_host_without_vllm_is_planned_by_its_engine() -> None:
    made = plan(serve=[{**SERVED, "engine": "tgi"}]).plan
    assert (made.engine, [one.engine for one in made.replicas]) == ("tgi", ["tgi"])


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"serve": [{**SERVED, "context": 4096}]}, "models"),
        ({"serve": [{**SERVED, "tokens_per_s": 50.0}]}, "models and peak figures"),
        ({"engine_version": "0.20.0"}, "engine"),
        ({"engine_build": "cpu"}, "engine"),
        ({"gpus": [card(0), card(1)]}, "GPUs"),
        ({"site_models": {"small": {**SMALL, "variants": [{**SMALL["variants"][0], "revision": "def"}]}}}, "models"),
        ({"site_models": {"small": WIDER}}, "models"),
    ],
)
def test_what_decides_a_plan_makes_a_new_one(change: dict[str, Any], because: str) -> None:
    first = plan()
    again = plan(stored(first), **change)
    assert again.inputs != first.inputs
    assert again.because == f"new: {because} changed since the last deploy"


def test_a_changed_architecture_changes_the_plan() -> None:
    first, again = plan(), plan(stored(plan()), site_models={"small": WIDER})
    assert again.plan.replicas[0].memory.weights.bytes > first.plan.replicas[0].memory.weights.bytes


@pytest.mark.cache
def test_memory_that_others_take_changes_no_replica_that_stays_and_a_new_engine_is_told_anew() -> None:
    first = plan(EngineState(True, free_memory_bytes=64 << 30))
    assert first.plan.replicas[0].loading is not None and first.plan.replicas[0].loading.way == "prefetch"
    full = replace(stored(first), free_memory_bytes=1 << 20)

    def ways(**change: Any) -> list[str]:
        return [one.loading.way for one in plan(full, **change).plan.replicas if one.loading]

    assert ways() == ["prefetch"]
    assert ways(gpus=[card(0), card(1)]) == ["prefetch", "lazy"]
    assert ways(engine_version="0.32.0") == ["lazy"]


def test_a_title_changes_nothing() -> None:
    first = plan()
    again = plan(stored(first), site_models={"small": {**SMALL, "title": "Small and new", "license": "mit"}})
    assert (again.plan, again.inputs) == (first.plan, first.inputs)


def test_measurements_are_for_the_next_new_plan() -> None:
    """A plan made anew from what the engine measured would restart a service that nobody changed."""
    first = plan()
    (replica,) = first.plan.replicas
    key = CalibrationKey(
        "site/small", "none", first.plan.engine, "cuda", replica.gpu_name, 1, 1, replica.max_num_seqs,
        replica.max_num_batched_tokens,
    )  # fmt: skip
    measured = dump([Calibration(key, activation_bytes=3 << 30, non_torch_bytes=1 << 30, weights_bytes=1 << 20)])
    files = {"plan.json": first.to_dict(), "measured.json": measured}
    assert plan(EngineState(True, files=files)).plan == first.plan
    assert plan(EngineState(True, files={"measured.json": measured})).plan != first.plan


def test_what_an_earlier_version_of_ingot_stored_is_kept() -> None:
    first = plan()
    chosen = settings(serve=[SERVED], site_models={"small": SMALL})
    before = earlier([card(0)], requests(chosen), planning.profile(chosen))
    assert before == "89d1b31354b5e151", "as version 0.1.0 computed it"
    again = plan(stored(first, inputs=before))
    assert again.plan == first.plan
    assert again.inputs == first.inputs, "from here on by the digests of today"
    assert plan(stored(first, inputs=before), serve=[{**SERVED, "context": 4096}]).because == (
        "new: something changed since the last deploy"
    )


def test_a_wished_rate_bounds_the_replicas() -> None:
    cards = [card(0), card(1)]
    assert len(plan(gpus=cards).plan.replicas) == 2
    assert len(plan(gpus=cards, serve=[{**SERVED, "tokens_per_s": 1.0}]).plan.replicas) == 1


@pytest.mark.parametrize("written", [None, {}, {"schema": 1, "inputs": {}, "plan": {}}, {"schema": 0}])
def test_a_plan_that_cannot_be_read_back_counts_as_none(written: Any) -> None:
    files = {"plan.json": written, "measured.json": {"schema": 7}}
    assert plan(EngineState(True, files=files)).because == "new: none is stored there"


def test_a_host_that_serves_nothing_is_told_how() -> None:
    with pytest.raises(IngotError, match="nothing to serve"):
        plan(serve=[])


def test_what_does_not_fit_is_one_sentence() -> None:
    with pytest.raises(SizingError, match="gpu-01: small with 2048 tokens"):
        plan(serve=[{**SERVED, "concurrency": 10**7}])
