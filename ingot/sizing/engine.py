"""What differs between engine versions and builds, as data: the planner has no version checks of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from ingot.sizing.errors import SizingError

Build = Literal["cuda", "cpu"]
# Tokens per cache block on processors (vLLM `platforms/cpu.py`).
CPU_BLOCK = 128
# Float32 copies of the logits that each sampler holds at its peak: sorting all of PyTorch's way (measured on eleven
# starts, within 2 %), a Triton kernel's way, and FlashInfer's way, which sorts nothing.
SORTING, TRITON, FLASHINFER = 9.65, 3.8, 1.5


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """One engine version as far as its memory arithmetic goes.

    + utilization: the share of a GPU's memory that it takes by default
    + graphs_in_budget: CUDA graphs are counted before the cache is sized (else they take from what is left over)
    + hybrid_cache: sliding layers keep only their window (else they are charged like full attention)
    + latent_cache: latent attention caches its latent vector (else every head's keys and values, padded to 256)
    + capacity_wording: how the log counts tokens: blocks x size over the number of layer groups, or sequences x
      length
    + async_batches: batches in flight beyond one per pipeline stage, whose tokens a sliding window still holds
    + null_blocks: cache blocks that it keeps for itself
    + profiles_context_to: up to this context the profiling pass runs a whole sequence rather than a batch of chunks
    + sampler_copies: float32 copies of the logits at the sampler's peak, and the same where FlashInfer runs
    + sampler_copies_least: what the sampler may need where a library that may be installed is
    + context_gib: driver context and libraries that are counted with the engine's own memory
    + non_torch_band_gib: how much further than usual its own account of memory outside PyTorch may be off
    + samples_chunks: the profiling pass samples although prompts are chunked
    + compiling_gib: what a start that compiles (with an empty compile cache) keeps beyond activations and sampler, and
      how far that may be off
    + experts_add: the experts' workspaces are kept and add to the other passes (else the largest pass decides)
    + assumes_float32_state: Nemotron-H keeps 32-bit states where its config does not say (else 16-bit)
    + state_prefix_caching: prefix caching is on by default for models with state layers, at one block more each
    + spreads_experts: data parallel ranks may share one set of experts
    + expert_chunk: tokens that experts work on at once; 0 for all there are
    + overlaps_steps: it prepares a step while the one before runs
    + offloads_cache: blocks that the cache drops may be kept in the host's memory
    + prefetches: it can be told to read weights ahead into the host's memory
    + block_size: tokens per cache block unless the attention backend wants another
    """

    name: str
    version: tuple[int, ...]
    build: Build = "cuda"
    utilization: float = 0.92
    graphs_in_budget: bool = True
    hybrid_cache: bool = True
    latent_cache: bool = True
    capacity_wording: Literal["groups", "concurrency"] = "concurrency"
    async_batches: int = 1
    null_blocks: int = 1
    profiles_context_to: int = 0
    sampler_copies: float = TRITON
    sampler_copies_flashinfer: float = FLASHINFER
    sampler_copies_least: float = FLASHINFER
    context_gib: float = 0.2
    non_torch_band_gib: float = 0.0
    samples_chunks: bool = True
    compiling_gib: tuple[float, float] = (1.1, 0.2)
    experts_add: bool = True
    assumes_float32_state: bool = True
    state_prefix_caching: bool = True
    spreads_experts: bool = True
    expert_chunk: int = 0
    overlaps_steps: bool = True
    offloads_cache: bool = True
    prefetches: bool = True
    block_size: int = 16

    def __hash__(self) -> int:
        return hash((self.name, self.version, self.build))

    @property
    def label(self) -> str:
        """Name and version as people write them: `vllm 0.32.0`."""
        return f"{self.name} {'.'.join(map(str, self.version))}"

    def batches_in_flight(self, pipeline: int) -> int:
        """Batches that may be scheduled and not yet settled."""
        return pipeline + self.async_batches


# What changed in which version, oldest first; each entry holds until a later one changes it. Known from release notes
# and vllm-project/vllm pull requests: graph accounting, FlashInfer (26859, 40376), Nemotron-H's states (29978, 39032),
# tokens in flight (47728), experts' chunks (34086), asynchronous scheduling by default (0.14), several cache groups in
# host memory (36610). Known from logs only, so good to one minor version: the capacity
# wording, the share of memory, the Triton sampler, the counted context, prefix caching beside states. The second model
# runner, the default since 0.27, estimates CUDA graphs since 0.32 (`v1/worker/gpu/cudagraph_utils.py`); until then
# requested = consumed + activation + cache in every log. Since then a start that compiles keeps about 2 GiB that a
# warm one does not (six logs), since 0.31 about 1.1 GiB (three logs). Reading ahead was read in 0.32; of older versions
# it is not known.
CHANGES: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    (
        (0,),
        {
            "utilization": 0.90,
            "graphs_in_budget": False,
            "hybrid_cache": False,
            "latent_cache": False,
            "capacity_wording": "groups",
            "async_batches": 0,
            "null_blocks": 0,
            "profiles_context_to": 32768,
            "sampler_copies": SORTING,
            "sampler_copies_flashinfer": SORTING,
            "sampler_copies_least": SORTING,
            "context_gib": 0.0,
            "assumes_float32_state": False,
            "state_prefix_caching": False,
            "non_torch_band_gib": 0.15,
            "samples_chunks": False,
            "compiling_gib": (0.0, 0.0),
            "experts_add": False,
            "spreads_experts": False,
            "expert_chunk": 32768,
            "overlaps_steps": False,
            "offloads_cache": False,
            "prefetches": False,
        },
    ),
    ((0, 7, 1), {"latent_cache": True}),
    ((0, 8), {"profiles_context_to": 0, "non_torch_band_gib": 0.0, "samples_chunks": True}),
    ((0, 9), {"sampler_copies_least": FLASHINFER}),
    ((0, 9, 1), {"hybrid_cache": True, "spreads_experts": True}),
    ((0, 11, 1), {"sampler_copies_least": SORTING}),
    ((0, 14), {"overlaps_steps": True}),
    ((0, 16), {"sampler_copies": TRITON, "sampler_copies_flashinfer": TRITON, "sampler_copies_least": FLASHINFER}),
    ((0, 18), {"expert_chunk": 0}),
    ((0, 19), {"offloads_cache": True}),
    ((0, 20), {"assumes_float32_state": True}),
    ((0, 20, 2), {"capacity_wording": "concurrency"}),
    (
        (0, 21),
        {
            "graphs_in_budget": True,
            "sampler_copies_flashinfer": FLASHINFER,
            "context_gib": 0.2,
            "experts_add": True,
        },
    ),
    ((0, 22), {"utilization": 0.92}),
    ((0, 26), {"async_batches": 1}),
    ((0, 27), {"graphs_in_budget": False, "compiling_gib": (2.0, 1.0)}),
    ((0, 28), {"state_prefix_caching": True}),
    ((0, 30), {"null_blocks": 1}),
    ((0, 31), {"compiling_gib": (1.1, 0.2)}),
    ((0, 32), {"graphs_in_budget": True, "prefetches": True}),
)


@lru_cache(maxsize=64)
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
    return replace(profile, block_size=CPU_BLOCK, spreads_experts=False) if build == "cpu" else profile
