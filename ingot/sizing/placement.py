"""Chooses the GPUs of a replica: of one kind, in one NVLink island before several, in the smallest that is enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ingot.sizing.hardware import GPU, Hardware
from ingot.sizing.option import Kind
from ingot.sizing.start import SWITCHED_CAPABILITY


@dataclass(frozen=True, slots=True)
class Slot:
    """A GPU with what is still free on it; `shared` is how many replicas it already carries."""

    gpu: GPU
    free: int
    island: int
    shared: int = 0


@dataclass(frozen=True)
class Pool:
    """Slots of one kind of GPU, by index."""

    kind: Kind
    slots: tuple[Slot, ...]

    @cached_property
    def roomiest(self) -> tuple[int, ...]:
        """Free bytes of the GPUs, the most first."""
        return tuple(sorted((slot.free for slot in self.slots), reverse=True))

    @cached_property
    def island(self) -> int:
        """GPUs of the largest NVLink island."""
        return max(Counter(slot.island for slot in self.slots).values())

    @cached_property
    def widest(self) -> int:
        """GPUs that one replica can span: a process sees one MIG instance only (NVIDIA MIG user guide)."""
        return 1 if any(slot.gpu.mig_profile for slot in self.slots) else len(self.slots)


def pools(hardware: Hardware) -> tuple[Pool, ...]:
    """The host's GPUs by kind, the smallest kind first, so that large GPUs stay free for what needs them."""
    islands = {index: number for number, island in enumerate(hardware.islands) for index in island}
    by_kind: dict[Kind, list[Slot]] = {}
    for gpu in hardware.ordered:
        kind = kind_of(gpu, len(hardware.islands[islands[gpu.index]]))
        by_kind.setdefault(kind, []).append(Slot(gpu, gpu.cuda_free_bytes, islands[gpu.index]))
    ordered = sorted(by_kind.items(), key=lambda item: (item[0].total, item[0].name, item[1][0].gpu.index))
    return tuple(Pool(kind, tuple(slots)) for kind, slots in ordered)


def kind_of(gpu: GPU, island: int) -> Kind:
    """What matters of a GPU in an NVLink island of so many to the arithmetic."""
    capability = gpu.compute_capability
    return Kind(
        name=gpu.name,
        total=gpu.cuda_total_bytes,
        total_band=gpu.cuda_total_band_bytes,
        capability=capability,
        unified=gpu.unified_memory,
        switched=island > 2 and capability is not None and capability >= SWITCHED_CAPABILITY,
    )


def place(slots: Iterable[Slot], count: int) -> tuple[Slot, ...] | None:
    """`count` slots for one replica, or None where there are not as many.

    One island that is just large enough, so that larger ones stay whole; else GPUs of several islands, the largest
    islands first and NUMA neighbours together. Among equals the slots with most free memory, then the lowest index.
    """
    by_island: dict[int, list[Slot]] = {}
    for slot in slots:
        by_island.setdefault(slot.island, []).append(slot)
    for held in by_island.values():
        held.sort(key=_roomiest)
    fitting = [held for held in by_island.values() if len(held) >= count]
    if fitting:
        chosen = min(fitting, key=lambda held: (len(held), _roomiest(held[0])))
        return tuple(chosen[:count])
    if sum(len(held) for held in by_island.values()) < count:
        return None
    joined = sorted(by_island.values(), key=lambda held: (-len(held), held[0].gpu.numa_node or 0, _roomiest(held[0])))
    return tuple(slot for held in joined for slot in held)[:count]


def is_nvlinked(slots: Iterable[Slot]) -> bool:
    """Whether all the slots lie in one NVLink island."""
    return len({slot.island for slot in slots}) == 1


def _roomiest(slot: Slot) -> tuple[int, int]:
    return -slot.free, slot.gpu.index


def free_slots(pool: Pool, taken: Mapping[str, Slot], *, share: bool) -> list[Slot]:
    """The pool's slots as they are with `taken` (by UUID) carrying replicas already."""
    current = [taken.get(slot.gpu.uuid, slot) for slot in pool.slots]
    return [slot for slot in current if share or not slot.shared]
