"""What llama.cpp keeps of each layer of a model whose shape its config.json says: caches and states."""

from __future__ import annotations

from ingot.sizing.architecture import Architecture
from ingot.sizing.attention import Attention, ChunkedLocal, GatedDeltaNet, LatentAttention, Mamba2, SlidingWindow
from ingot.sizing.engines.llama_cpp import CacheLayer, StateLayer

Block = tuple[CacheLayer | StateLayer, ...]


def blocks(architecture: Architecture) -> tuple[Block, ...]:
    """Each layer's cache or state; an empty one where a layer keeps nothing."""
    return tuple((_kept(layer.attention),) if layer.attention else () for layer in architecture.layers)


def _kept(kind: Attention) -> CacheLayer | StateLayer:
    """What llama.cpp keeps of a layer: a latent vector without values, states in 32 bits."""
    if isinstance(kind, LatentAttention):
        return CacheLayer(kind.kv_lora_rank + kind.rope_dim, 0)
    if isinstance(kind, Mamba2):
        width = kind.intermediate + 2 * kind.groups * kind.state
        return StateLayer((kind.kernel - 1) * width, kind.heads * kind.head_dim * kind.state)
    if isinstance(kind, GatedDeltaNet):
        width = 2 * kind.key_heads * kind.key_dim + kind.value_heads * kind.value_dim
        return StateLayer((kind.kernel - 1) * width, kind.value_heads * kind.value_dim * kind.key_dim)
    window = kind.window if isinstance(kind, SlidingWindow) else kind.chunk if isinstance(kind, ChunkedLocal) else None
    return CacheLayer(kind.kv_heads * kind.head_dim, kind.kv_heads * kind.head_dim_v, window)
