"""How many tokens fit: cache pages of all layers grouped into one pool of blocks, as the engine groups them.

The rules are those of vLLM 0.32, `v1/core/kv_cache_utils.py` (grouping, capacity, admission) and
`platforms/interface.py` (one page size for attention beside state layers). Earlier versions differ in the values
that `EngineProfile` holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ingot.sizing.architecture import Architecture
from ingot.sizing.attention import (
    Attention,
    ChunkedLocal,
    CrossAttention,
    FullAttention,
    GatedDeltaNet,
    LatentAttention,
    Mamba2,
    SlidingWindow,
)
from ingot.sizing.engine import EngineProfile
from ingot.sizing.split import Parallel, pipeline_stages
from ingot.sizing.units import ceil_div

LATENT_BLOCK = 64
LATENT_HYBRID_ALIGNMENT = 128
# What heads of latent attention were padded to while they were cached uncompressed.
PADDED_HEAD = 256


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What the cache's geometry depends on besides the model.

    `element_bytes` is the cache's number format, `state_element_bytes` that of convolution states. `block_size`
    overrides the engine's own (some attention backends want 64 or 128). `speculative` is the number of tokens
    guessed ahead, by `draft_layers` more layers of the model's own full attention. `context_parallel` spreads the
    tokens of full attention over that many ranks.
    """

    element_bytes: float = 2.0
    state_element_bytes: int = 2
    block_size: int | None = None
    prefix_caching: bool = True
    speculative: int = 0
    draft_layers: int = 0
    context_parallel: int = 1


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share a block table: `layers` of them in the widest pipeline stage, one page each per block."""

    attention: Attention
    layers: int
    block_size: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """The pool of one rank: groups of layers drawing blocks of `block_bytes` from it."""

    groups: tuple[Group, ...]
    block_bytes: int
    settings: CacheSettings
    engine: EngineProfile
    pipeline: int

    def blocks(self, available: int) -> int:
        """Blocks that `available` bytes hold."""
        return max(available, 0) // self.block_bytes if self.block_bytes else 0

    def blocks_per_request(self, length: int, batched_tokens: int) -> int:
        """Blocks that one sequence of `length` tokens needs, over all groups."""
        return sum(self._group_blocks(group, length, batched_tokens) for group in self.groups)

    def request_bytes(self, length: int, batched_tokens: int) -> int:
        """Bytes that one sequence of `length` tokens needs."""
        return self.blocks_per_request(length, batched_tokens) * self.block_bytes

    def concurrency(self, available: int, length: int, batched_tokens: int) -> float:
        """How many sequences of `length` tokens `available` bytes hold at once."""
        need = self.blocks_per_request(length, batched_tokens)
        return self.blocks(available) / need if need else math.inf

    def tokens(self, available: int, length: int, batched_tokens: int) -> int:
        """The capacity in tokens, as this engine version words it in its log."""
        if not self.groups:
            return 0
        if self.engine.capacity_wording == "concurrency":
            return int(self.concurrency(available, length, batched_tokens) * length)
        block = min(group.block_size for group in self.groups)
        return self.blocks(available) // len(self.groups) * block * self.settings.context_parallel

    def longest(self, available: int, length: int, batched_tokens: int) -> int:
        """The longest sequence, up to `length` tokens, that `available` bytes hold; 0 where none does."""
        usable = available - self.engine.null_blocks * self.block_bytes
        low, high, best = 1, length, 0
        while low <= high:
            middle = (low + high) // 2
            if self.request_bytes(middle, batched_tokens) <= usable:
                best, low = middle, middle + 1
            else:
                high = middle - 1
        return best

    def _group_blocks(self, group: Group, length: int, batched_tokens: int) -> int:
        attention, block = group.attention, group.block_size
        in_flight = batched_tokens * self.engine.batches_in_flight(self.pipeline)
        if isinstance(attention, Mamba2 | GatedDeltaNet):
            return (2 if self.settings.prefix_caching else 1) + self.settings.speculative
        if isinstance(attention, SlidingWindow):
            return ceil_div(min(attention.window - 1 + in_flight, length), block) + 1
        if isinstance(attention, CrossAttention):
            return ceil_div(attention.frames, block)
        if isinstance(attention, ChunkedLocal):
            return ceil_div(min(attention.chunk + in_flight, length), block)
        return ceil_div(length, block * self.settings.context_parallel)


def cache_dtype(architecture: Architecture, asked: str) -> str:
    """The cache's number format: as asked, as the checkpoint says, or the model's own. The engine's own rule."""
    if asked != "auto":
        return asked
    return architecture.kv_cache_dtype or architecture.dtype


@lru_cache(maxsize=4096)
def geometry(
    architecture: Architecture, parallel: Parallel, settings: CacheSettings, engine: EngineProfile
) -> Geometry:
    """The pool of the tightest rank of a replica."""
    tp = parallel.tensor
    caching = [(index, layer.attention) for index, layer in enumerate(architecture.layers) if layer.attention]
    if not engine.hybrid_cache:
        caching = [(index, _as_full(attention)) for index, attention in caching]
    if not engine.latent_cache:
        heads = architecture.attention_heads
        caching = [(index, _unpacked(attention, heads)) for index, attention in caching]
    if not engine.assumes_float32_state:
        caching = [(index, _short_state(attention)) for index, attention in caching]
    growing = [one for _, one in caching if type(one) in (FullAttention, LatentAttention)]
    if growing:
        caching += [(len(architecture.layers) - 1, growing[-1])] * settings.draft_layers
    buckets: dict[Attention, list[int]] = {}
    for index, attention in caching:
        buckets.setdefault(attention, []).append(index)
    if not buckets:
        return Geometry((), 0, settings, engine, parallel.pipeline)
    block = _block_size(tuple(buckets), tp, settings, engine)
    sizes = {attention: _page(attention, tp, block, settings) for attention in buckets}
    stages = pipeline_stages(len(architecture.layers), parallel.pipeline)

    if _one_kind(tuple(buckets)):
        block_bytes = max(
            sum(sizes[attention] for index, attention in caching if first <= index < last) for first, last in stages
        )
        widest = max(sum(1 for index, _ in caching if first <= index < last) for first, last in stages)
        return Geometry((Group(caching[0][1], widest, block),), block_bytes, settings, engine, parallel.pipeline)

    page = max(sizes.values())
    counts = [len(layers) for layers in buckets.values()]
    group_size = max(counts) if max(counts) < min(counts) * 1.5 else min(counts)
    groups: list[Group] = []
    widest = 1
    for attention, layers in buckets.items():
        number = ceil_div(len(layers), group_size)
        own = sizes[attention]
        scaled = block * (page // own) if isinstance(attention, FullAttention) and page % own == 0 else block
        for member in range(number):
            held = layers[member::number]
            most = max(sum(1 for index in held if first <= index < last) for first, last in stages)
            widest = max(widest, most)
            groups.append(Group(attention, most, scaled))
    return Geometry(tuple(groups), widest * page, settings, engine, parallel.pipeline)


def _as_full(attention: Attention) -> Attention:
    if isinstance(attention, SlidingWindow | ChunkedLocal):
        return FullAttention(attention.kv_heads, attention.head_dim, attention.head_dim_v)
    return attention


def _unpacked(attention: Attention, heads: int) -> Attention:
    if isinstance(attention, LatentAttention):
        return FullAttention(heads, PADDED_HEAD, PADDED_HEAD)
    return attention


def _short_state(attention: Attention) -> Attention:
    if isinstance(attention, Mamba2) and attention.assumed:
        return replace(attention, state_element_bytes=2)
    return attention


def _one_kind(kinds: Sequence[Attention]) -> bool:
    """Whether all layers need the same number of token slots, so that one block table serves them."""
    if len(kinds) == 1:
        return True
    if all(type(kind) is FullAttention for kind in kinds):
        return True
    if all(isinstance(kind, SlidingWindow) for kind in kinds):
        return len({kind.window for kind in kinds if isinstance(kind, SlidingWindow)}) == 1
    return False


def _page(attention: Attention, tp: int, block: int, settings: CacheSettings) -> int:
    if isinstance(attention, Mamba2 | GatedDeltaNet):
        return attention.state_bytes(tp, settings.state_element_bytes, settings.speculative)
    return block * attention.token_bytes(tp, settings.element_bytes)


def _block_size(kinds: Sequence[Attention], tp: int, settings: CacheSettings, engine: EngineProfile) -> int:
    """Tokens per block; beside state layers it grows until an attention page holds one sequence's state."""
    per_token = [kind for kind in kinds if isinstance(kind, FullAttention | LatentAttention)]
    latent = any(isinstance(kind, LatentAttention) for kind in per_token)
    block = settings.block_size or (LATENT_BLOCK if latent else engine.block_size)
    states = [
        kind.state_bytes(tp, settings.state_element_bytes, settings.speculative)
        for kind in kinds
        if isinstance(kind, Mamba2 | GatedDeltaNet)
    ]
    if not states or not per_token or settings.block_size:
        return block
    align = LATENT_HYBRID_ALIGNMENT if latent else engine.block_size
    token = max(kind.token_bytes(tp, settings.element_bytes) for kind in per_token)
    return align * ceil_div(max(states), align * token)
