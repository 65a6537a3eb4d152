"""What TensorRT-LLM takes of each GPU: its cache is a share of what is free after weights and a trial run.

Sources are files of TensorRT-LLM 1.2 (`tensorrt_llm/`), its C++ cache manager for the old engine backend.
"""

from __future__ import annotations

from dataclasses import dataclass

from ingot.sizing.errors import WorkloadError
from ingot.sizing.memory import Term
from ingot.sizing.units import gib, show_gib

#: `--kv_cache_free_gpu_memory_fraction` where nobody says. Source: llmapi/llm_args.py.
SHARE = 0.9
#: Peak of the trial run beyond the weights: activations of `max_num_tokens` and what lies outside torch. Its own log
#: prints the sum; no formula is known and no published start names it, so this is an assumption with a wide band.
PEAK, PEAK_BAND = gib(2.5), gib(2.0)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server is started. `max_tokens` bounds the cache whatever is free."""

    share: float = SHARE
    block: int = 32
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """One GPU: weights and the trial run's peak first, the cache from what they leave."""

    weights: Term
    peak: Term
    cache: Term
    tokens: int

    @property
    def buffers(self) -> int:
        """Bytes in use when the cache is there."""
        return self.weights.bytes + self.peak.bytes + self.cache.bytes


def token_bytes(layers: int, kv_heads: int, head_dim: int, tensor_parallel: int, element: float) -> int:
    """Bytes of one token on one rank. Source: _torch/pyexecutor/_util.py, get_cache_size_per_token."""
    return int(2 * layers * max(1, kv_heads // tensor_parallel) * head_dim * element)


def latent_token_bytes(layers: int, latent: int, rope: int, element: float) -> int:
    """Bytes of one token of latent attention: the latent vector once. Source: the same."""
    return int(layers * (latent + rope) * element)


def cache(free: int, per_token: int, settings: Settings) -> tuple[int, int]:
    """Tokens and bytes of the cache, of `free` bytes after weights and peak: a share of them, in whole blocks.

    Source: _torch/pyexecutor/_util.py, configure_kv_cache_capacity; old backend: cpp/…/kvCacheManager.
    """
    if settings.block < 1 or per_token < 1:
        raise WorkloadError("TensorRT-LLM's cache needs tokens per block and bytes per token from 1 on.")
    tokens = int(free * settings.share) // (per_token * settings.block) * settings.block
    if settings.max_tokens is not None:
        tokens = min(tokens, settings.max_tokens // settings.block * settings.block)
    return tokens, tokens * per_token


def demand(total_free: int, weights: int, per_token: int, settings: Settings) -> Demand:
    """One GPU's memory with `total_free` bytes free before the start.

    Raises: WorkloadError where weights and the trial run leave nothing.
    """
    free = total_free - weights - PEAK - PEAK_BAND
    if free <= 0:
        raise WorkloadError(
            f"TensorRT-LLM's weights and its trial run take {show_gib(weights + PEAK)} (± {show_gib(PEAK_BAND)}) of "
            f"{show_gib(total_free)} free: the cache would have nothing."
        )
    tokens, held = cache(free, per_token, settings)
    return Demand(
        Term(weights, "derived", 0, "the checkpoint's tensors of one rank", "the safetensors files"),
        Term(PEAK, "default", PEAK_BAND, "peak of the trial run, beyond the weights", "published starts"),
        Term(
            held,
            "derived",
            int(PEAK_BAND * settings.share),
            f"(free - weights - peak) x {settings.share}, in blocks of {settings.block} tokens",
            "_torch/pyexecutor/_util.py",
        ),
        tokens,
    )
