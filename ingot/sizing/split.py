"""How a model is cut over GPUs: which tensor, pipeline and data parallel sizes are possible, and who holds what."""

from __future__ import annotations

from dataclasses import dataclass

from ingot.sizing.architecture import Architecture, Split, WeightGroup
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
        sizes[-(step + 2) if stages > 1 else -1] += 1
    bounds, start = [], 0
    for size in sizes:
        bounds.append((start, start + size))
        start += size
    return tuple(bounds)


def tensor_sizes(architecture: Architecture, most: int) -> tuple[int, ...]:
    """Tensor parallel sizes up to `most` that the engine accepts: they divide the attention heads."""
    return tuple(size for size in range(1, most + 1) if architecture.attention_heads % size == 0)


def parameters_on_rank(group: WeightGroup, parallel: Parallel) -> int:
    """Parameters of `group` that one rank holds."""
    tp = parallel.tensor
    if group.split is Split.COPY or (tp == 1 and group.split in (Split.TENSOR, Split.KV)):
        return group.parameters
    if group.split is Split.KV:
        return group.parameters * max(1, group.heads // tp) // group.heads
    if group.split is Split.VOCAB:
        padded = ceil_div(ceil_div(group.rows, 64) * 64, tp)
        return padded * (group.parameters // group.rows)
    if group.split is Split.EXPERT and parallel.expert:
        return ceil_div(group.parameters, tp * parallel.data)
    return ceil_div(group.parameters, tp)
