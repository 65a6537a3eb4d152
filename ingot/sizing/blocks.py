"""Parameter counts of the building blocks that decoder layers are made of, each with how it is divided over ranks."""

from __future__ import annotations

from ingot.sizing.architecture import ABSORBED_COPY, Split, WeightGroup
from ingot.sizing.attention import GatedDeltaNet, Mamba2


def attention_block(
    hidden: int, heads: int, kv_heads: int, head_dim: int, head_dim_v: int, *, gated: bool = False, bias: bool = False
) -> tuple[WeightGroup, ...]:
    """Query, key, value and output projections; `gated` doubles the query projection (Qwen3-Next)."""
    query = hidden * heads * head_dim * (2 if gated else 1)
    output = heads * head_dim_v * hidden
    kv = hidden * kv_heads * (head_dim + head_dim_v)
    groups = [
        WeightGroup("attention query and output", query + output, Split.TENSOR),
    ]
    if kv_heads:
        groups.append(WeightGroup("attention key and value", kv, Split.KV, heads=kv_heads))
    if bias:
        width = heads * head_dim + kv_heads * (head_dim + head_dim_v)
        groups.append(WeightGroup("attention bias", width, Split.TENSOR, quantizable=False))
    return tuple(groups)


def latent_attention_block(
    hidden: int, heads: int, q_lora: int | None, kv_lora: int, nope: int, rope: int, value: int
) -> tuple[WeightGroup, ...]:
    """The projections of multi-head latent attention.

    The engine keeps, beside the checkpoint's tensors, an unquantised copy of the key-value up-projection in the
    layout that decoding needs (vLLM `mla_attention.py`, `process_weights_after_loading`).
    """
    query = q_lora * heads * (nope + rope) if q_lora else hidden * heads * (nope + rope)
    up = kv_lora * heads * (nope + value)
    copied = hidden * (kv_lora + rope) + (hidden * q_lora if q_lora else 0)
    return (
        WeightGroup("attention up and output", query + up + heads * value * hidden, Split.TENSOR),
        WeightGroup("attention down", copied, Split.COPY),
        WeightGroup(ABSORBED_COPY, up, Split.TENSOR, quantizable=False),
    )


def delta_net_block(hidden: int, spec: GatedDeltaNet) -> tuple[WeightGroup, ...]:
    """The projections, convolution and gates of a gated delta net layer."""
    keys, values = spec.key_heads * spec.key_dim, spec.value_heads * spec.value_dim
    linear = hidden * (2 * keys + 2 * values) + values * hidden
    small = hidden * 2 * spec.value_heads + (2 * keys + values) * spec.kernel + 2 * spec.value_heads
    return (
        WeightGroup("delta net projections", linear, Split.TENSOR),
        WeightGroup("delta net convolution and gates", small, Split.TENSOR, quantizable=False),
    )


def mamba_block(hidden: int, spec: Mamba2) -> tuple[WeightGroup, ...]:
    """The projections, convolution and decay of a Mamba2 layer."""
    width = spec.intermediate + 2 * spec.groups * spec.state
    linear = hidden * (spec.intermediate + width + spec.heads) + spec.intermediate * hidden
    small = width * (spec.kernel + 1) + 3 * spec.heads + spec.intermediate
    return (
        WeightGroup("mamba projections", linear, Split.TENSOR),
        WeightGroup("mamba convolution and decay", small, Split.TENSOR, quantizable=False),
    )


def dense_block(hidden: int, width: int, *, gated: bool = True) -> tuple[WeightGroup, ...]:
    """A feed-forward block of two matrices, or three where it is gated."""
    return (WeightGroup("feed-forward", hidden * width * (3 if gated else 2), Split.TENSOR),)


def expert_block(
    hidden: int,
    experts: int,
    width: int,
    *,
    shared_width: int = 0,
    shared_gate: bool = False,
    gated: bool = True,
    latent: int = 0,
) -> tuple[WeightGroup, ...]:
    """Routed experts, their router, and shared experts where there are any.

    Experts that work in a space of `latent` numbers stand between two projections, which every rank has (vLLM
    `nemotron_h.py`, `fc1_latent_proj` and `fc2_latent_proj`).
    """
    matrices = 3 if gated else 2
    inner = latent or hidden
    groups = [
        WeightGroup(
            "experts", experts * inner * width * matrices, Split.EXPERT, shape=(experts * matrices, width, inner)
        ),
        WeightGroup("router", hidden * experts, Split.COPY, quantizable=False),
    ]
    if latent:
        groups.append(WeightGroup("latent projections", 2 * hidden * latent, Split.COPY))
    if shared_width:
        groups.append(WeightGroup("shared expert", hidden * shared_width * matrices, Split.TENSOR))
    if shared_gate:
        groups.append(WeightGroup("shared expert gate", hidden, Split.COPY, quantizable=False))
    return tuple(groups)


def norms(*widths: int) -> tuple[WeightGroup, ...]:
    """Normalisation weights, the same on every rank."""
    return (WeightGroup("norms", sum(widths), Split.COPY, quantizable=False),)


def vocabulary(name: str, vocab: int, hidden: int) -> WeightGroup:
    """An embedding or output matrix; its rows are padded to a multiple of 64 before they are divided."""
    return WeightGroup(name, vocab * hidden, Split.VOCAB, quantizable=False, rows=vocab)
