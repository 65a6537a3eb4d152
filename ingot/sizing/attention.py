"""What one layer keeps per sequence: one small frozen specification per kind of attention.

Each knows the bytes of its own cache page; how pages of several kinds share one pool is `ingot.sizing.kv`.
The formulas are those of vLLM 0.32, `v1/kv_cache_interface.py` and `model_executor/layers/mamba/mamba_utils.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FullAttention:
    """Every token of the sequence stays: multi-head, grouped-query and multi-query attention."""

    kv_heads: int
    head_dim: int
    head_dim_v: int

    def token_bytes(self, tp: int, element_bytes: float) -> int:
        """Bytes of one token on one rank; a KV head is copied to ranks that would have none."""
        heads = max(1, self.kv_heads // tp)
        return int(heads * (self.head_dim + self.head_dim_v) * element_bytes)


@dataclass(frozen=True, slots=True)
class SlidingWindow(FullAttention):
    """Only the last `window` tokens stay."""

    window: int


@dataclass(frozen=True, slots=True)
class ChunkedLocal(FullAttention):
    """Attention within chunks of `chunk` tokens (Llama 4): only the current chunk stays."""

    chunk: int


@dataclass(frozen=True, slots=True)
class CrossAttention(FullAttention):
    """Attention to an encoder's output of up to `frames` positions (Whisper), which stay as long as the sequence."""

    frames: int


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek, Kimi): one compressed vector per token, the same on every rank."""

    kv_lora_rank: int
    rope_dim: int

    def token_bytes(self, tp: int, element_bytes: float) -> int:
        """Bytes of one token; tensor parallelism does not divide the latent vector."""
        return int((self.kv_lora_rank + self.rope_dim) * element_bytes)


@dataclass(frozen=True, slots=True)
class Mamba2:
    """A Mamba2 layer: one convolution window and one state per sequence, whatever its length.

    `assumed` says that the model's config leaves the state's number format to the engine.
    """

    intermediate: int
    groups: int
    state: int
    heads: int
    head_dim: int
    kernel: int
    state_element_bytes: int
    assumed: bool = False

    def state_bytes(self, tp: int, conv_element_bytes: int, speculative: int = 0) -> int:
        """Bytes of one sequence's state on one rank; groups are copied until they divide by `tp`."""
        groups = self.groups if self.groups % tp == 0 else self.groups + (tp - self.groups % tp)
        width = (self.intermediate + 2 * groups * self.state) // tp
        convolution = width * (self.kernel - 1 + speculative) * conv_element_bytes
        return convolution + math.ceil(self.heads / tp) * self.head_dim * self.state * self.state_element_bytes


@dataclass(frozen=True, slots=True)
class GatedDeltaNet:
    """A gated delta net layer (Qwen3-Next, Qwen3.5): convolution window and key-value state per sequence."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int
    state_element_bytes: int

    def state_bytes(self, tp: int, conv_element_bytes: int, speculative: int = 0) -> int:
        """Bytes of one sequence's state on one rank."""
        width = (2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim) // tp
        convolution = width * (self.kernel - 1 + speculative) * conv_element_bytes
        value_heads = math.ceil(self.value_heads / tp)
        return convolution + value_heads * self.value_dim * self.key_dim * self.state_element_bytes


PerToken = FullAttention | LatentAttention
PerSequence = Mamba2 | GatedDeltaNet
Attention = PerToken | PerSequence
