"""The plan of a host: refused in one sentence, kept as long as nothing that decides it changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ingot.facts.engine import EngineState
from ingot.operations.refuse import Refusal
from ingot.operations.serving import planning
from ingot.operations.serving.planning import Planned
from tests.operations.serving.onehost import SMALL, card


def plan(state: EngineState | None = None, **changes: Any) -> Planned:
    values = {
        "gpus": [card(0)],
        "serve": [{"model": "small", "context": 2048, "concurrency": 8}],
        "site_models": {"small": SMALL},
        "version": "0.33.0",
        "build": "cuda",
        "state": state or EngineState(),
    }
    values |= changes
    return planning.plan("gpu-01", values.pop("gpus"), **values)


def stored(planned: Planned) -> EngineState:
    return EngineState(True, files={"plan.json": planned.to_dict()})


def test_a_plan_stays_when_only_free_memory_and_indices_change() -> None:
    first = plan(gpus=[card(0), card(1)])
    again = plan(stored(first), gpus=[replace(card(0, 21.0), index=1), replace(card(1, 20.0), index=0)])
    assert again.plan == first.plan


@pytest.mark.parametrize(
    "change",
    [
        {"serve": [{"model": "small", "context": 4096, "concurrency": 8}]},
        {"version": "0.20.0"},
        {"build": "cpu"},
        {"gpus": [card(0), card(1)]},
        {"site_models": {"small": {**SMALL, "variants": [{**SMALL["variants"][0], "revision": "def"}]}}},
    ],
)
def test_what_decides_a_plan_makes_a_new_one(change: dict[str, Any]) -> None:
    first = plan()
    assert plan(stored(first), **change).inputs != first.inputs


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"serve": []}, "gpu-01: nothing to serve"),
        ({"serve": [{"model": "nope", "context": 1, "concurrency": 1}]}, "gpu-01: model 'nope' is in no catalog"),
        ({"serve": [{"model": "small", "context": 0, "concurrency": 1}]}, "gpu-01: The workload's context is 0"),
        ({"serve": [{"model": "small", "context": 2048, "concurrency": 10**7}]}, "gpu-01: small with 2048 tokens"),
        ({"version": "latest"}, "gpu-01: The engine version is 'latest'"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refusal) as refused:
        plan(**change)
    assert str(refused.value).startswith(sentence)
