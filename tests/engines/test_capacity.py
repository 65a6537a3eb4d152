"""A started engine with less room than its plan's band allows is told from one that is as predicted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.engines import Replica
from ingot.engines.capacity import beyond, off_gpus, shortfall
from ingot.engines.observed import Observed

pytestmark = pytest.mark.rollout

GIB = 1024**3


@pytest.fixture
def plan(replica: Replica):
    one = replica.plan
    cache = replace(one.memory.kv_cache, bytes=10 * GIB, band_bytes=GIB)
    return replace(one, kv_cache_tokens=80_000, memory=replace(one.memory, kv_cache=cache))


@pytest.mark.parametrize("room", [10 * GIB, 12 * GIB, 10 * GIB - GIB // 200], ids=["as planned", "more", "rounded"])
def test_what_the_band_allows_is_well(plan, room: int) -> None:
    assert shortfall(plan, Observed(available_kv_bytes=room, kv_cache_tokens=1)) is None


def test_less_than_the_band_allows_is_said_in_tokens_and_bytes(plan) -> None:
    assert shortfall(plan, Observed(available_kv_bytes=8 * GIB, kv_cache_tokens=64_000)) == (
        "has room for 64,000 tokens of cache, its plan allows no fewer than 80,000 (8.00 of 10.00 GiB)"
    )


def test_tokens_decide_where_the_engine_logs_no_bytes(plan) -> None:
    assert shortfall(plan, Observed(kv_cache_tokens=79_999))
    assert shortfall(plan, Observed(kv_cache_tokens=80_000)) is None
    assert shortfall(plan, Observed()) is None


def test_layers_on_the_processor_are_told_whatever_the_cache(plan) -> None:
    found = Observed(available_kv_bytes=12 * GIB, layers=37, layers_on_gpus=21)
    assert off_gpus(plan, found) == (
        "has 21 of its 37 layers on its GPUs, its plan has all of them there; the processor computes the others, slowly"
    )
    assert off_gpus(plan, replace(found, layers_on_gpus=37)) is None


def test_a_first_compilation_is_not_held_against_a_plan_that_was_measured_without_one(plan) -> None:
    found = Observed(available_kv_bytes=8 * GIB, compiled=True)
    assert shortfall(plan, found)
    activation = replace(plan.memory.activation, basis="measured")
    assert shortfall(replace(plan, memory=replace(plan.memory, activation=activation)), found) is None


def test_a_model_without_a_cache_is_not_judged(plan) -> None:
    assert shortfall(replace(plan, kv_cache_tokens=0), Observed(available_kv_bytes=0)) is None


@pytest.mark.engines
def test_what_takes_more_of_a_hosts_memory_than_planned_is_said(plan) -> None:
    on_host = replace(plan, gpu_uuids=())
    memory = on_host.memory
    as_planned = Observed(available_kv_bytes=10 * GIB, activation_bytes=memory.activation.bytes)
    assert beyond(on_host, as_planned) is None
    more = replace(as_planned, activation_bytes=memory.activation.bytes + memory.margin.bytes + 2 * GIB)
    assert beyond(on_host, more) == (
        "took 13.00 GiB of the host's memory beside its weights, its plan allows no more than 11.00"
    )
    # On GPUs the engine itself stays within its share.
    assert beyond(plan, more) is None
