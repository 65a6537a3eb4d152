"""How a model is cut over GPUs: which tensor, pipeline and data parallel sizes are possible, and who holds what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ingot.sizing.architecture import Architecture, Split, WeightGroup
from ingot.sizing.attention import FullAttention, LatentAttention, Mamba2
from ingot.sizing.units import ceil_div


@dataclass(frozen=True, slots=True)
class Parallel:
    """Tensor, pipeline and data parallel sizes of one replica; `expert` spreads routed experts over all ranks."""

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: bool = False

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor * self.pipeline * self.data


def pipeline_stages(layers: int, stages: int) -> tuple[tuple[int, int], ...]:
    """First and last-plus-one layer of each stage.

    The remainder goes to the stages before the last one, from the back, as the last also holds the output head
    (vLLM `distributed/utils.py`, `get_pp_indices`).
    """
    sizes = [layers // stages] * stages
    for step in range(layers % stages):
        sizes[-(step + 2)] += 1
    bounds, start = [], 0
    for size in sizes:
        bounds.append((start, start + size))
        start += size
    return tuple(bounds)


@lru_cache(maxsize=4096)
def tensor_sizes(architecture: Architecture, most: int) -> tuple[int, ...]:
    """Tensor parallel sizes up to `most` that the engine accepts.

    They divide the attention heads; key-value heads must divide them or be divided by them; state layers must
    divide evenly.
    """
    return tuple(size for size in range(1, most + 1) if _splits(architecture, size))


def _splits(architecture: Architecture, size: int) -> bool:
    if architecture.attention_heads % size:
        return False
    for layer in {id(layer): layer for layer in architecture.layers}.values():
        for group in layer.weights:
            if group.split is Split.KV and group.heads % size and size % group.heads:
                return False
        if isinstance(layer.attention, Mamba2) and layer.attention.heads % size:
            return False
    return architecture.feed_forward % size == 0


@lru_cache(maxsize=4096)
def spread_sizes(architecture: Architecture, most: int) -> tuple[Parallel, ...]:
    """Splits up to `most` GPUs that spread experts over all ranks and copy attention where its cache no longer splits.

    Tensor parallelism beyond the key-value heads keeps the same cache on several ranks, and a latent cache on all of
    them; data parallel ranks each keep their own sequences instead. Only for experts, as they are most of the weights.
    """
    heads = _cache_splits(architecture)
    if not architecture.experts or heads is None:
        return ()
    tensors = [size for size in tensor_sizes(architecture, most) if size <= heads]
    found = []
    for gpus in range(heads + 1, most + 1):
        tensor = max((size for size in tensors if gpus % size == 0), default=gpus)
        if tensor < gpus and architecture.experts % gpus == 0:
            found.append(Parallel(tensor, 1, gpus // tensor, expert=True))
    return tuple(found)


def _cache_splits(architecture: Architecture) -> int | None:
    """Ranks over which the cache of every layer still splits; None where no layer keeps one by token."""
    heads = [
        1 if isinstance(layer.attention, LatentAttention) else layer.attention.kv_heads
        for layer in architecture.layers
        if isinstance(layer.attention, FullAttention | LatentAttention)
    ]
    return min(heads, default=None)


def parameters_on_rank(group: WeightGroup, parallel: Parallel, pads: tuple[int, int] = (1, 1)) -> int:
    """Parameters of `group` that one rank holds; `pads` are multiples for an expert's hidden size and width."""
    tp = parallel.tensor
    if group.split is Split.COPY:
        return group.parameters
    if group.split is Split.KV:
        return group.parameters * max(1, group.heads // tp) // group.heads
    if group.split is Split.VOCAB:
        padded = ceil_div(ceil_div(group.rows, 64) * 64, tp)
        return padded * (group.parameters // group.rows)
    if group.split is Split.EXPERT:
        matrices, width, hidden = group.shape
        if parallel.expert:
            matrices = ceil_div(matrices, tp * parallel.data)
        else:
            width = ceil_div(width, tp)
        return matrices * _round_up(width, pads[1]) * _round_up(hidden, pads[0])
    return ceil_div(group.parameters, tp)


def _round_up(amount: int, multiple: int) -> int:
    return ceil_div(amount, multiple) * multiple
