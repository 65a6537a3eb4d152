"""What differs between engine versions and builds, as data: the planner has no version checks of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from ingot.sizing.errors import SizingError

Build = Literal["cuda", "cpu"]


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """One engine version as far as its memory arithmetic goes.

    `utilization` is the share of a GPU's memory that it takes by default. `graphs_in_budget` says whether CUDA
    graphs are counted before the cache is sized (else they must fit into what is left over). `async_batches` is
    how many batches may be in flight per pipeline stage. `null_blocks` are cache blocks it keeps for itself.
    """

    name: str
    version: tuple[int, ...]
    build: Build = "cuda"
    utilization: float = 0.92
    graphs_in_budget: bool = True
    async_batches: int = 2
    null_blocks: int = 1
    block_size: int = 16

    @property
    def label(self) -> str:
        """Name and version as people write them: `vllm 0.32.0`."""
        return f"{self.name} {'.'.join(map(str, self.version))}"


def vllm(version: str = "0.32.0", build: Build = "cuda") -> EngineProfile:
    """The profile of one vLLM version. Raises SizingError for something that is not a version."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if not match:
        raise SizingError(f"The engine version is {version!r}, expected something like 0.32.0.")
    numbers = tuple(int(part or 0) for part in match.groups())
    profile = EngineProfile("vllm", numbers, build)
    if numbers < (0, 22):
        profile = replace(profile, utilization=0.90)
    if numbers < (0, 21):
        profile = replace(profile, graphs_in_budget=False, null_blocks=0)
    return profile
