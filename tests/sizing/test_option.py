"""One way to serve a request: it fits only with a margin for what the prediction may be wrong by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ingot.sizing import ModelRequest, Workload
from ingot.sizing.alternatives import describe
from ingot.sizing.engine import vllm
from ingot.sizing.option import Kind, Option, _shortage, attempt, choices
from ingot.sizing.split import Parallel
from tests.sizing.conftest import GIB, model

pytestmark = pytest.mark.sizing

CARD = Kind("NVIDIA GeForce RTX 4090", 24 * GIB, 0, (8, 9), unified=False, switched=False)
REQUEST = ModelRequest(model(), Workload(context=4096, concurrency=2))


def with_free(free: int) -> Option:
    return attempt(REQUEST, choices(REQUEST)[0], Parallel(1), CARD, free, vllm("0.32.0"), ())


def test_what_fits_only_without_the_margin_does_not_fit() -> None:
    options = [with_free(quarters * GIB // 4) for quarters in range(4 * 14, 4 * 24 + 1)]
    by_the_margin = [one for one in options if one.needed <= one.prediction.available < one.needed + one.margin]
    assert by_the_margin, "there are free sizes at which the margin alone decides"
    assert not any(one.fits for one in by_the_margin)
    assert {one.reason for one in by_the_margin} == {"the cache for all sequences does not fit with the margin"}
    assert [one.fits for one in options] == [one.shortfall <= 0 for one in options]
    assert any(one.fits for one in options)


@pytest.mark.parametrize(("beyond", "short"), [(0, False), (1, False), (-1, True)])
def test_the_margin_is_counted_to_the_byte(beyond: int, short: bool) -> None:
    option = with_free(24 * GIB)
    prediction = replace(option.prediction, available=option.needed + option.margin + beyond)
    assert bool(_shortage(prediction, option.needed, option.margin)) == short


@pytest.mark.parametrize(("beyond", "reason"), [(0, ""), (-1, "there are fewer state blocks than sequences")])
def test_state_blocks_are_counted_without_the_margin_too(beyond: int, reason: str) -> None:
    prediction = with_free(24 * GIB).prediction
    block = prediction.demand.geometry.block_bytes
    sequences, margin = prediction.demand.arguments.max_num_seqs, 3 * block
    available = sequences * block + margin + beyond
    prediction = replace(prediction, available=available, demand=replace(prediction.demand, has_state=True))
    assert _shortage(prediction, 0, margin) == reason


@pytest.mark.parametrize(
    ("kind", "pools"), [("generate", False), ("embed", True), ("rerank", True), ("transcribe", False)]
)
def test_what_pools_is_started_to_pool(kind: Any, pools: bool) -> None:
    request = replace(REQUEST, model=replace(REQUEST.model, kind=kind))
    option = attempt(request, choices(request)[0], Parallel(1), CARD, 24 * GIB, vllm("0.32.0"), ())
    assert option.arguments.pooling == pools


@pytest.mark.parametrize(
    ("parallel", "words"),
    [
        (Parallel(1), "2 replicas of none on one NVIDIA GeForce RTX 4090 each"),
        (Parallel(tensor=2), "2 replicas of none over 2 x NVIDIA GeForce RTX 4090 each"),
        (Parallel(pipeline=2), "2 replicas of none over 2 x NVIDIA GeForce RTX 4090 each in 2 stages"),
        (
            Parallel(pipeline=2, data=2),
            "2 replicas of none over 4 x NVIDIA GeForce RTX 4090 each in 2 stages and 2 data parallel ranks",
        ),
    ],
)
def test_an_option_is_said_as_people_say_it(parallel: Parallel, words: str) -> None:
    assert describe(replace(with_free(24 * GIB), parallel=parallel, replicas=2)) == words
