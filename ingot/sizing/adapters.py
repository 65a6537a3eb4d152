"""Counts the memory that LoRA adapters and drafts for speculative decoding take on a GPU beside the model."""

from __future__ import annotations

from functools import lru_cache

from ingot.sizing.architecture import Architecture, Split, WeightGroup
from ingot.sizing.attention import FullAttention
from ingot.sizing.blocks import attention_block, dense_block, norms
from ingot.sizing.errors import WorkloadError
from ingot.sizing.serving import Speculation
from ingot.sizing.split import Parallel, parameters_on_rank
from ingot.sizing.units import DTYPE_BYTES, ceil_div

# An adapter's slot is allocated at its full rank when the engine starts (vLLM `lora/layers`); what logs show beyond
# the matrices themselves is up to this share.
ADAPTER_BAND = 0.2
# How far a draft may be off whose config is not read.
DRAFT_BAND = 0.3
# Output rows of EAGLE-3 heads: they draft from a shortened vocabulary of this size.
EAGLE_VOCABULARY = 32_000
# Methods that draft without weights of their own.
WEIGHTLESS = frozenset({"ngram", "ngram_gpu", "suffix"})
# Methods whose draft lies in the model's own files.
BUILT_IN = frozenset({"mtp", "deepseek_mtp", "qwen3_next_mtp", "ernie_mtp"})
# Methods whose draft is one layer with weights from a repository of its own.
HEADS = frozenset({"eagle", "eagle3"})


# Ranks that a slot may have; an adapter of another rank gets the next larger one (vLLM `config/lora.py`).
SLOT_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def slot_rank(rank: int) -> int:
    """The rank of the slots that an adapter of `rank` needs."""
    return next((size for size in SLOT_RANKS if size >= rank), SLOT_RANKS[-1])


@lru_cache(maxsize=1024)
def adapter_bytes(architecture: Architecture, rank: int, parallel: Parallel) -> int:
    """Bytes of one adapter's slot on one rank: two matrices of `rank` columns beside every linear layer.

    The first of a pair is copied to every rank where the layer divides its outputs, the second where it divides its
    inputs. Embedding and output head have a pair too.
    """
    tp, hidden = parallel.tensor, architecture.hidden_size
    columns = 2 * (architecture.vocab_size + hidden)
    for layer in architecture.layers:
        for group in layer.weights:
            if group.quantizable:
                columns += _columns(group, hidden, tp)
    return int(columns * rank * DTYPE_BYTES[architecture.dtype] / parallel.pipeline)


def _columns(group: WeightGroup, hidden: int, tp: int) -> int:
    """Rows and columns of a group's matrices that pairs of one column need on one rank."""
    if group.split is Split.EXPERT:
        matrices, width, _ = group.shape
        return matrices * (hidden + width // tp)
    if group.split is Split.COPY:
        return hidden + group.parameters // hidden
    # Each matrix leads from or to the hidden size; the other side is what is left of its parameters.
    other = group.parameters // hidden
    return (2 if "attention" in group.name else 3) * hidden + other // tp


def is_drafted(speculation: Speculation) -> bool:
    """Whether the draft takes part in every step as layers on the GPU."""
    return speculation.method not in WEIGHTLESS


def draft_bytes(architecture: Architecture, speculation: Speculation, parallel: Parallel) -> int:
    """Bytes of a draft's weights on one rank.

    A built-in draft is one more layer like the model's last, behind a projection of two hidden states; an EAGLE head is
    one dense layer, behind a projection of three, with an output head of its own. Raises WorkloadError for a method
    whose memory is not described here.
    """
    if speculation.method in WEIGHTLESS:
        return 0
    hidden, element = architecture.hidden_size, DTYPE_BYTES[architecture.dtype]
    if speculation.method in BUILT_IN:
        groups, ends = _last_with_cache(architecture), 2 * hidden**2
    elif speculation.method in HEADS:
        groups = (
            *attention_block(2 * hidden, architecture.attention_heads, _kv_heads(architecture), *_widths(architecture)),
            *dense_block(hidden, architecture.feed_forward or 4 * hidden),
            *norms(3 * hidden),
        )
        ends = 3 * hidden**2 + ceil_div(EAGLE_VOCABULARY * hidden, parallel.tensor)
    else:
        known = ", ".join(sorted(WEIGHTLESS | BUILT_IN | HEADS))
        raise WorkloadError(
            f"Speculation by {speculation.method!r} is not planned, as its draft's memory is not described here: "
            f"choose one of {known}."
        )
    return int((ends + sum(parameters_on_rank(group, parallel) for group in groups)) * element)


def _last_with_cache(architecture: Architecture) -> tuple[WeightGroup, ...]:
    return next((layer.weights for layer in reversed(architecture.layers) if layer.attention), ())


def _kv_heads(architecture: Architecture) -> int:
    heads = [layer.attention.kv_heads for layer in architecture.layers if isinstance(layer.attention, FullAttention)]
    return max(heads, default=architecture.attention_heads)


def _widths(architecture: Architecture) -> tuple[int, int]:
    width = max(
        (layer.attention.head_dim for layer in architecture.layers if isinstance(layer.attention, FullAttention)),
        default=architecture.hidden_size // architecture.attention_heads,
    )
    return width, width
