"""Bytes of weights that each rank of a replica holds."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from ingot.sizing.architecture import Architecture, Split, WeightGroup
from ingot.sizing.quantization import SCHEMES, Scheme
from ingot.sizing.split import Parallel, parameters_on_rank, pipeline_stages
from ingot.sizing.units import DTYPE_BYTES


@lru_cache(maxsize=8192)
def stage_weights(
    architecture: Architecture, quantization: str, parallel: Parallel, *, encoder: bool = True
) -> tuple[int, ...]:
    """Bytes of weights on one rank of each pipeline stage; `encoder` False leaves out the image or audio tower."""
    scheme = SCHEMES[quantization]
    native = DTYPE_BYTES[architecture.dtype]
    per_layer: dict[int, int] = {}

    def layer_bytes(index: int) -> int:
        layer = architecture.layers[index]
        if id(layer) not in per_layer:
            per_layer[id(layer)] = _bytes(layer.weights, scheme, native, parallel)
        return per_layer[id(layer)]

    stages = []
    bounds = pipeline_stages(len(architecture.layers), parallel.pipeline)
    for stage, (first, last) in enumerate(bounds):
        held = sum(layer_bytes(index) for index in range(first, last))
        if stage == 0:
            held += _bytes(architecture.embedding, scheme, native, parallel)
            if architecture.encoder and encoder:
                held += int(architecture.encoder.parameters * native) // parallel.tensor
        if stage == len(bounds) - 1:
            held += _bytes(architecture.head, scheme, native, parallel)
            if architecture.tied and stage > 0:
                held += _bytes(architecture.embedding, scheme, native, parallel)
        stages.append(held)
    return tuple(stages)


def _bytes(groups: Iterable[WeightGroup], scheme: Scheme, native: float, parallel: Parallel) -> int:
    total = 0.0
    for group in groups:
        in_scheme = group.quantizable and (group.split is Split.EXPERT or not scheme.only_experts)
        in_scheme = in_scheme or (scheme.embeddings and group.split is Split.VOCAB)
        if scheme.element_bytes is not None and in_scheme:
            total += parameters_on_rank(group, parallel, scheme.pads) * scheme.element_bytes
        else:
            total += parameters_on_rank(group, parallel) * native
    return int(total)
