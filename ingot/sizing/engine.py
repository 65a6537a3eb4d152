"""What differs between engine versions and builds, as data: the planner has no version checks of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from ingot.sizing.errors import SizingError

Build = Literal["cuda", "cpu"]


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """One engine version as far as its memory arithmetic goes.

    + utilization: the share of a GPU's memory that it takes by default
    + graphs_in_budget: CUDA graphs are counted before the cache is sized (else they take from what is left over)
    + hybrid_cache: sliding layers keep only their window (else they are charged like full attention)
    + capacity_wording: how the log counts tokens: blocks x size over the number of layer groups, or sequences x
      length
    + async_batches: batches in flight beyond one per pipeline stage, whose tokens a sliding window still holds
    + null_blocks: cache blocks that it keeps for itself
    + profiles_context: the profiling pass runs a whole context rather than a batch of chunks
    + block_size: tokens per cache block unless the attention backend wants another
    """

    name: str
    version: tuple[int, ...]
    build: Build = "cuda"
    utilization: float = 0.92
    graphs_in_budget: bool = True
    hybrid_cache: bool = True
    capacity_wording: Literal["groups", "concurrency"] = "concurrency"
    async_batches: int = 1
    null_blocks: int = 1
    profiles_context: bool = False
    block_size: int = 16

    @property
    def label(self) -> str:
        """Name and version as people write them: `vllm 0.32.0`."""
        return f"{self.name} {'.'.join(map(str, self.version))}"

    def batches_in_flight(self, pipeline: int) -> int:
        """Batches that may be scheduled and not yet settled."""
        return pipeline + self.async_batches


# What changed in which version, newest last; each entry holds until the next one changes it. The first versions of
# a change are known to the release for the capacity wording and graph accounting, and from logs for the rest.
CHANGES: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    (
        (0, 0),
        {
            "utilization": 0.90,
            "graphs_in_budget": False,
            "hybrid_cache": False,
            "capacity_wording": "groups",
            "async_batches": 0,
            "null_blocks": 0,
            "profiles_context": True,
        },
    ),
    ((0, 8), {"profiles_context": False}),
    ((0, 9), {"hybrid_cache": True}),
    ((0, 20, 2), {"capacity_wording": "concurrency"}),
    ((0, 21), {"graphs_in_budget": True}),
    ((0, 22), {"utilization": 0.92}),
    ((0, 30), {"async_batches": 1, "null_blocks": 1}),
)


def vllm(version: str = "0.32.0", build: Build = "cuda") -> EngineProfile:
    """The profile of one vLLM version. Raises SizingError for something that is not a version."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if not match:
        raise SizingError(f"The engine version is {version!r}, expected something like 0.32.0.")
    numbers = tuple(int(part or 0) for part in match.groups())
    profile = EngineProfile("vllm", numbers, build)
    for since, values in CHANGES:
        if numbers >= since:
            profile = replace(profile, **values)
    return profile
