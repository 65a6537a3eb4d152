"""Which GPUs a replica gets: few islands, the smallest that is enough, neighbours, and the most free memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.sizing import GPU, Hardware
from ingot.sizing.fit import largest
from ingot.sizing.option import Kind
from ingot.sizing.placement import Pool, Slot, free_slots, is_nvlinked, kind_of, place, pools
from tests.sizing.conftest import GIB, hardware

pytestmark = pytest.mark.sizing


def gpu(index: int, numa: int | None = None) -> GPU:
    return GPU(index, f"GPU-{index}", "NVIDIA H100", 80 * GIB, numa_node=numa)


def slot(index: int, island: int, free: int = 10, numa: int | None = None) -> Slot:
    return Slot(gpu(index, numa), free, island)


@pytest.mark.parametrize(
    ("slots", "count", "chosen"),
    [
        ([slot(0, 0)], 1, [0]),
        ([slot(0, 0)], 2, None),
        ([], 1, None),
        # An island that is just large enough, whatever else there is.
        ([slot(0, 0), slot(1, 0), slot(2, 0), slot(3, 1), slot(4, 1)], 2, [3, 4]),
        ([slot(0, 0), slot(1, 0), slot(2, 0), slot(3, 1), slot(4, 1)], 3, [0, 1, 2]),
        # Within an island, and among islands of a size, the most free memory; then the lowest index.
        ([slot(0, 0, 5), slot(1, 0, 9), slot(2, 0, 9)], 1, [1]),
        ([slot(0, 0, 5), slot(1, 0, 9), slot(2, 0, 9)], 2, [1, 2]),
        ([slot(0, 0, 5), slot(1, 1, 9)], 1, [1]),
        ([slot(3, 0), slot(1, 1)], 1, [1]),
        # Several islands: the largest first, then NUMA neighbours, then the most free memory.
        ([slot(0, 0), slot(1, 1), slot(2, 1), slot(3, 2)], 3, [1, 2, 0]),
        ([slot(0, 0, numa=1), slot(1, 1, numa=0), slot(2, 2, numa=0)], 2, [1, 2]),
        ([slot(0, 0, numa=1), slot(1, 1), slot(2, 2, numa=1)], 2, [1, 0]),
        ([slot(0, 0, 5), slot(1, 1, 9), slot(2, 2, 7)], 2, [1, 2]),
        ([slot(0, 0), slot(1, 1), slot(2, 2)], 4, None),
        ([slot(0, 0), slot(1, 1), slot(2, 2)], 3, [0, 1, 2]),
    ],
)
def test_a_replica_gets_the_gpus_that_suit_it(slots: list[Slot], count: int, chosen: list[int] | None) -> None:
    for given in (slots, slots[::-1]):
        found = place(given, count)
        assert (None if found is None else [one.gpu.index for one in found]) == chosen


def test_gpus_of_one_island_are_joined() -> None:
    assert is_nvlinked([slot(0, 3), slot(1, 3)]) and not is_nvlinked([slot(0, 3), slot(1, 4)])


def test_pools_are_the_kinds_of_gpus_the_smallest_first() -> None:
    large, small = hardware(2, total_gib=48).gpus, hardware(2, total_gib=24, free_gib=20).gpus
    moved = (
        replace(one, index=one.index + 2, uuid=f"{one.uuid}-b", nvlink_peers=frozenset({3 - one.index}))
        for one in small
    )
    mixed = Hardware("mixed", (*large, *moved))
    first, second = pools(mixed)
    assert [one.gpu.index for one in first.slots] == [2, 3] and [one.gpu.index for one in second.slots] == [0, 1]
    assert (first.kind.total, second.kind.total) == (24 * GIB, 48 * GIB)
    assert (first.roomiest, second.roomiest) == ((20 * GIB,) * 2, (48 * GIB,) * 2)
    assert (first.island, first.widest, second.island, second.widest) == (2, 2, 1, 2)


@pytest.mark.parametrize(
    ("capability", "island", "switched"),
    [
        ((9, 0), 4, True),
        ((9, 0), 3, True),
        ((9, 0), 2, False),
        ((8, 9), 4, False),
        ((10, 0), 8, True),
        (None, 8, False),
    ],
)
def test_large_islands_of_new_gpus_are_behind_a_switch(
    capability: tuple[int, int] | None, island: int, switched: bool
) -> None:
    one = GPU(0, "GPU-0", "NVIDIA H100", 80 * GIB, compute_capability=capability, reserved_bytes=GIB)
    assert kind_of(one, island) == Kind("NVIDIA H100", 79 * GIB, 0, capability, unified=False, switched=switched)


def test_a_gpu_that_carries_a_replica_is_free_for_those_that_share_only() -> None:
    pool = Pool(kind_of(gpu(0), 1), (slot(0, 0), slot(1, 1)))
    taken = {"GPU-0": Slot(gpu(0), 3, 0, shared=0), "GPU-1": Slot(gpu(1), 0, 1, shared=1)}
    assert free_slots(pool, {}, share=False) == list(pool.slots)
    assert free_slots(pool, taken, share=False) == [taken["GPU-0"]]
    assert free_slots(pool, taken, share=True) == [taken["GPU-0"], taken["GPU-1"]]


@pytest.mark.parametrize("most", range(9))
@pytest.mark.parametrize("limit", range(9))
def test_the_largest_that_fits_is_found_wherever_it_is(most: int, limit: int) -> None:
    assert largest(lambda amount: amount <= limit, most) == (min(most, limit) or None)
