"""Weights are read ahead where the host's free memory holds them, else as they are used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.sizing import (
    GPU,
    Hardware,
    HostPlan,
    Loading,
    ModelRequest,
    Workload,
    kept_loading,
    plan_host,
    vllm,
    with_loading,
)
from tests.sizing.conftest import GIB, hardware, model

pytestmark = pytest.mark.cache

ENGINE = vllm("0.32.0")
CARDS = hardware(2)
FILES = {("qwen3-8b", "none"): 16 * GIB, ("other", "none"): 16 * GIB}


def planned(*names: str, cards: Hardware = CARDS, **changes: object) -> HostPlan:
    asked = [ModelRequest(model(name=name), Workload(4096, 2), replicas=1) for name in names or ("qwen3-8b",)]
    made = plan_host(cards, asked, engine=ENGINE)
    return replace(made, replicas=tuple(replace(one, **changes) for one in made.replicas))  # type: ignore[arg-type]


def ways(plan: HostPlan, free_gib: float | None, cards: Hardware = CARDS) -> list[str | None]:
    free = None if free_gib is None else int(free_gib * GIB)
    made = with_loading(plan, FILES, free, cards, ENGINE)
    return [one.loading.way if one.loading else None for one in made.replicas]


@pytest.mark.parametrize(("free_gib", "way"), [(64, "prefetch"), (17.7, "prefetch"), (17.5, "lazy"), (0, "lazy")])
def test_a_tenth_more_than_the_files_must_be_free(free_gib: float, way: str) -> None:
    assert ways(planned(), free_gib) == [way]


def test_models_that_a_boot_starts_together_must_fit_together() -> None:
    both = planned("qwen3-8b", "other")
    assert ways(both, 34) == ["prefetch", "prefetch"]
    assert ways(both, 33) == ["prefetch", "lazy"]


def test_replicas_of_one_model_read_the_same_files() -> None:
    asked = ModelRequest(model(), Workload(4096, 2), replicas=2)
    assert ways(plan_host(CARDS, [asked], engine=ENGINE), 18) == ["prefetch", "prefetch"]


def test_what_serves_from_the_hosts_memory_is_taken_off_first() -> None:
    assert ways(planned(kv_offload_gib=32.0), 40) == ["lazy"]
    assert ways(planned(kv_offload_gib=32.0), 50) == ["prefetch"]


def test_a_gpu_that_shares_the_hosts_memory_takes_its_part_of_it() -> None:
    one = GPU(0, "GPU-0", "NVIDIA GB10", 120 * GIB, None, (12, 1), unified_memory=True)
    shared = Hardware("spark", (one,))
    plan = planned(cards=shared)
    taken = plan.replicas[0].memory.total.bytes * plan.replicas[0].gpu_memory_utilization / GIB
    assert ways(plan, taken + 10, shared) == ["lazy"]
    assert ways(plan, taken + 20, shared) == ["prefetch"]


def test_size_is_that_of_the_weights_where_no_file_was_seen() -> None:
    plan = planned()
    (one,) = with_loading(plan, {}, 64 * GIB, CARDS, ENGINE).replicas
    assert one.loading == Loading("prefetch", one.memory.weights.bytes, 64 * GIB)


@pytest.mark.parametrize(
    ("plan", "free_bytes", "engine"),
    [
        (planned(), None, ENGINE),
        (planned(), 64 * GIB, vllm("0.31.0")),
        (planned(hosts=("a", "b")), 64 * GIB, ENGINE),
        (planned(engine="sglang"), 64 * GIB, ENGINE),
    ],
)
def test_what_cannot_be_told_or_is_not_known_is_left_to_the_engine(
    plan: HostPlan, free_bytes: int | None, engine: object
) -> None:
    assert with_loading(plan, FILES, free_bytes, CARDS, engine) == plan  # type: ignore[arg-type]


def test_a_replica_on_the_same_gpus_reads_as_before() -> None:
    both = planned("qwen3-8b", "other")
    alone = replace(both, replicas=both.replicas[:1])
    before = with_loading(alone, FILES, 64 * GIB, CARDS, ENGINE)
    now = with_loading(both, FILES, 1 * GIB, CARDS, ENGINE)
    assert [one.loading.way for one in kept_loading(now, before).replicas if one.loading] == ["prefetch", "lazy"]
    assert [one.loading for one in kept_loading(now, alone).replicas if one.loading] == [now.replicas[1].loading]


def test_a_plan_is_stored_with_it_and_without_it_as_ever() -> None:
    plan = planned()
    assert "loading" not in plan.to_dict()["replicas"][0]
    read = with_loading(plan, FILES, 64 * GIB, CARDS, ENGINE)
    assert HostPlan.from_dict(read.to_dict()) == read and HostPlan.from_dict(plan.to_dict()) == plan
