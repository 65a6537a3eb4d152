"""Bytes of weights that each rank of a replica holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from ingot.sizing.architecture import Architecture, Split, WeightGroup
from ingot.sizing.quantization import SCHEMES, Scheme
from ingot.sizing.split import Parallel, parameters_on_rank, pipeline_stages
from ingot.sizing.units import DTYPE_BYTES

# How far weights may be off that are known from the size of their files, as a share: kernels repack quantised ones.
KNOWN_SIZE_BAND, KNOWN_SIZE_QUANTISED_BAND = 0.005, 0.015
# Files whose size differs by more than this from the shapes hold something else beside the weights that are served.
KNOWN_SIZE_RANGE = (0.85, 1.2)


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """Weights by pipeline stage, in bytes on one rank, that the model's own files tell; `band` is a share of them."""

    stages: tuple[int, ...]
    band: float
    source: str


def from_size(
    architecture: Architecture, quantization: str, parallel: Parallel, size: int, *, encoder: bool = True
) -> KnownWeights | None:
    """Weights from the size of all weight files: the shapes say who holds which share of it.

    None where the size cannot be that of the described weights alone.
    """
    (described,) = stage_weights(architecture, quantization, Parallel(), padded=False)
    ratio = size / described
    if not KNOWN_SIZE_RANGE[0] <= ratio <= KNOWN_SIZE_RANGE[1]:
        return None
    stages = stage_weights(architecture, quantization, parallel, encoder=encoder)
    band = KNOWN_SIZE_BAND if quantization == "none" else KNOWN_SIZE_QUANTISED_BAND
    source = "size of the files, split as config.json says"
    return KnownWeights(tuple(int(held * ratio) for held in stages), band, source)


@lru_cache(maxsize=8192)
def stage_weights(
    architecture: Architecture, quantization: str, parallel: Parallel, *, encoder: bool = True, padded: bool = True
) -> tuple[int, ...]:
    """Bytes of weights on one rank of each pipeline stage.

    `encoder` False leaves out the image or audio tower, `padded` False what kernels add to experts.
    """
    scheme = SCHEMES[quantization] if padded else replace(SCHEMES[quantization], pads=(1, 1))
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
