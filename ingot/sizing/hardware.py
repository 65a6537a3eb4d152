"""What a host has: GPUs as their driver reports them, and how they are joined."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from ingot.sizing.errors import HardwareError
from ingot.sizing.processor import Processor
from ingot.sizing.units import GIB, gib, show_gib

# cudaMemGetInfo's total is smaller than nvidia-smi's memory.total by what the driver keeps (nvidia-smi calls it
# memory.reserved). Where it was not read, this line through the pairs known from logs (T4 0.35, 4090 0.42,
# A10G 0.43, L40S 0.50, H100 0.49, H200 0.65, B200 0.70 GiB) stands in, within RESERVED_BAND.
RESERVED_BASE_GIB = 0.38
RESERVED_PER_GIB = 0.0018
RESERVED_BAND_GIB = 0.25


@dataclass(frozen=True, slots=True)
class GPU:
    """One device as the driver reports it; a MIG instance counts as one GPU with its own memory.

    `vram_bytes` and `free_bytes` are bytes; `free_bytes` is None where nothing was measured, which is read as
    "nothing else uses the card". `nvlink_peers` are indices on the same host.
    """

    index: int
    uuid: str
    name: str
    vram_bytes: int
    free_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    pci_bus_id: str | None = None
    nvlink_peers: frozenset[int] = frozenset()
    numa_node: int | None = None
    unified_memory: bool = False
    mig_profile: str | None = None
    reserved_bytes: int | None = None

    @property
    def cuda_total_bytes(self) -> int:
        """What the engine will see as total memory: the driver's figure less what the driver keeps."""
        if self.reserved_bytes is not None:
            return self.vram_bytes - self.reserved_bytes
        if self.unified_memory:
            return self.vram_bytes
        reserve = gib(RESERVED_BASE_GIB) + int(RESERVED_PER_GIB * self.vram_bytes)
        return max(self.vram_bytes - reserve, 0)

    @property
    def cuda_total_band_bytes(self) -> int:
        """How far `cuda_total_bytes` may be off, in bytes."""
        if self.reserved_bytes is not None or self.unified_memory:
            return 0
        return min(gib(RESERVED_BAND_GIB), self.vram_bytes // 20)

    @property
    def cuda_free_bytes(self) -> int:
        """What the engine will find free when it starts, in bytes."""
        total = self.cuda_total_bytes
        return total if self.free_bytes is None else min(self.free_bytes, total)

    def check(self) -> None:
        """Raise HardwareError when no real GPU could be reported like this."""
        where = f"GPU {self.index} ({self.name or 'unnamed'})"
        if not self.uuid:
            raise HardwareError(f"{where} has no UUID, and a plan names GPUs by UUID: read it with nvidia-smi -L.")
        if self.vram_bytes <= 0 or not math.isfinite(self.vram_bytes):
            raise HardwareError(
                f"{where} reports {self.vram_bytes} bytes of memory, expected more than zero: "
                "check nvidia-smi on the host."
            )
        if self.vram_bytes > 4096 * GIB:
            raise HardwareError(
                f"{where} reports {show_gib(self.vram_bytes)} of memory, which no GPU has: "
                "check the unit (bytes expected)."
            )
        if self.free_bytes is not None and not 0 <= self.free_bytes <= self.vram_bytes:
            raise HardwareError(
                f"{where} reports {self.free_bytes} bytes free of {self.vram_bytes}, expected between zero and the "
                "total: read the facts again."
            )
        if self.reserved_bytes is not None and not 0 <= self.reserved_bytes < self.vram_bytes:
            raise HardwareError(
                f"{where} reports {self.reserved_bytes} bytes reserved of {self.vram_bytes}, expected less than "
                "the total: read the facts again."
            )


@dataclass(frozen=True)
class Hardware:
    """The GPUs of one host, and the memory of the host itself that programs may take, where it is known.

    `processor` computes what no GPU does. The order of `gpus` never matters: `ordered` sorts by index.
    """

    host: str
    gpus: tuple[GPU, ...]
    host_memory_bytes: int | None = None
    processor: Processor | None = None

    @cached_property
    def ordered(self) -> tuple[GPU, ...]:
        """The GPUs by index, checked. Raises HardwareError."""
        seen_uuids: dict[str, int] = {}
        seen_indices: set[int] = set()
        for gpu in self.gpus:
            gpu.check()
            if gpu.uuid in seen_uuids:
                raise HardwareError(
                    f"{self.host}: GPUs {seen_uuids[gpu.uuid]} and {gpu.index} share the UUID {gpu.uuid}, expected "
                    "one each: read the facts again."
                )
            if gpu.index in seen_indices:
                raise HardwareError(
                    f"{self.host}: two GPUs have the index {gpu.index}, expected one each: read the facts again."
                )
            seen_uuids[gpu.uuid] = gpu.index
            seen_indices.add(gpu.index)
        return tuple(sorted(self.gpus, key=lambda gpu: gpu.index))

    @cached_property
    def islands(self) -> tuple[tuple[int, ...], ...]:
        """Indices of GPUs joined by NVLink, directly or through others; a GPU without NVLink is an island of one."""
        left = {gpu.index: gpu for gpu in self.ordered}
        links: dict[int, set[int]] = {index: set() for index in left}
        for gpu in self.ordered:
            for peer in gpu.nvlink_peers:
                if peer in links and peer != gpu.index:
                    links[gpu.index].add(peer)
                    links[peer].add(gpu.index)
        islands: list[tuple[int, ...]] = []
        seen: set[int] = set()
        for index in links:
            if index in seen:
                continue
            island, frontier = {index}, [index]
            while frontier:
                for peer in links[frontier.pop()] - island:
                    island.add(peer)
                    frontier.append(peer)
            seen |= island
            islands.append(tuple(sorted(island)))
        return tuple(islands)
