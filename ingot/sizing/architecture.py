"""A model as the planner sees it: layers with what they cache and what they weigh. Values only, no file format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from ingot.sizing.attention import Attention

#: The group of latent attention that an engine keeps beside the files.
ABSORBED_COPY = "attention absorbed copy"


class Split(Enum):
    """How tensor and expert parallelism divide a group of weights over ranks."""

    TENSOR = "tensor"  # divided by tensor parallelism
    KV = "kv"  # divided by tensor parallelism until each rank has one KV head, then copied
    EXPERT = "expert"  # divided by tensor parallelism, or by experts where expert parallelism is on
    VOCAB = "vocab"  # rows padded to a multiple of 64, then divided
    COPY = "copy"  # the same on every rank


@dataclass(frozen=True, slots=True)
class WeightGroup:
    """Parameters that are stored and divided alike.

    `heads` is the number of KV heads of a `KV` group, `rows` the vocabulary of a `VOCAB` group, `shape` the number
    of matrices, their width and the hidden size of an `EXPERT` group. `quantizable` says whether quantised
    checkpoints quantise it: linear layers yes, norms, routers and embeddings no.
    """

    name: str
    parameters: int
    split: Split
    quantizable: bool = True
    heads: int = 0
    rows: int = 0
    shape: tuple[int, int, int] = (0, 0, 0)

    @property
    def is_stored(self) -> bool:
        """Whether it is in the files of the model: of the others the engine makes a copy when it loads."""
        return self.name != ABSORBED_COPY


def stored_parameters(groups: Iterable[WeightGroup]) -> int:
    """How many parameters of these the files of the model hold."""
    return sum(group.parameters for group in groups if group.is_stored)


@dataclass(frozen=True)
class Layer:
    """One decoder layer: what it caches (None: nothing) and what it weighs."""

    attention: Attention | None
    weights: tuple[WeightGroup, ...]


@dataclass(frozen=True, slots=True)
class Encoder:
    """The image or audio tower of a multimodal model."""

    parameters: int
    hidden_size: int
    depth: int


@dataclass(frozen=True)
class Architecture:
    """The shape of one model: everything the arithmetic needs and nothing else.

    `max_model_len` is what the model was trained for (None: the config does not say). `dtype` is that of the
    unquantised weights. `quantization` and `kv_cache_dtype` are what the config itself names (None: nothing).
    `outer_type` is the model type of the whole where the decoder is nested in it. `approximate` says that the design is
    not modelled and was read as layers of plain attention.
    """

    name: str
    model_type: str
    layers: tuple[Layer, ...]
    hidden_size: int
    vocab_size: int
    attention_heads: int
    feed_forward: int
    max_model_len: int | None
    dtype: str
    embedding: tuple[WeightGroup, ...]
    head: tuple[WeightGroup, ...]
    encoder: Encoder | None = None
    experts: int = 0
    experts_per_token: int = 0
    expert_width: int = 0
    tied: bool = False
    kv_cache_dtype: str | None = None
    quantization: str | None = None
    outer_type: str = ""
    approximate: bool = False

    @cached_property
    def parameters(self) -> int:
        """All parameters, of decoder, embeddings and encoder."""
        groups = sum(group.parameters for layer in self.layers for group in layer.weights)
        ends = sum(group.parameters for group in (*self.embedding, *self.head))
        return groups + ends + (self.encoder.parameters if self.encoder else 0)

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.model_type, self.layers, self.hidden_size, self.vocab_size, self.dtype))

    def __hash__(self) -> int:
        return self._hash
