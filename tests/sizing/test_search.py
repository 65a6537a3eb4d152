"""The order in which the options of one choice are tried."""

from __future__ import annotations

from itertools import permutations
from types import SimpleNamespace
from typing import Any

import pytest

from ingot.sizing import search

pytestmark = pytest.mark.sizing


def option(gpus: int, stages: int, cost: float) -> Any:
    return SimpleNamespace(gpus=gpus, parallel=SimpleNamespace(pipeline=stages), cost=cost)


def test_the_fewest_gpus_come_first_then_no_stages_then_the_smallest_kind_then_what_serves_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "served", lambda situation, request, option, pool: option.cost)
    monkeypatch.setattr(search, "rank", lambda cost, goal, others: (cost,))
    situation: Any = SimpleNamespace(pools=["small", "large"])
    request: Any = SimpleNamespace(goal="throughput")
    wanted: list[Any] = [
        (option(1, 1, 5.0), "large"),
        (option(2, 1, 5.0), "small"),
        (option(2, 1, 6.0), "small"),
        (option(2, 1, 1.0), "large"),
        (option(2, 2, 1.0), "small"),
    ]
    for count in range(1, len(wanted) + 1):
        for found in permutations(wanted, count):
            ordered = sorted(found, key=wanted.index)
            assert search._ordered(situation, request, list(found)) == [one for one, _ in ordered]
