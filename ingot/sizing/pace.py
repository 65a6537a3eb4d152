"""Estimates how long one step of an engine takes, as the sum of four parts: what it reads, what it computes, what its
GPUs exchange, and what every step costs.

Decoding reads all weights that its tokens use and every sequence's cache; prefill computes. Both share the GPUs, so a
replica's rate follows from their sum. The constants were fitted on the published figures of
`benchmarks/throughput_accuracy.py`, checked by fitting each half and judging the other, and never to one of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from ingot.sizing.architecture import Architecture, Layer, Split
from ingot.sizing.attention import (
    ChunkedLocal,
    FullAttention,
    GatedDeltaNet,
    LatentAttention,
    Mamba2,
    SlidingWindow,
)
from ingot.sizing.kv import cache_dtype as stored_dtype
from ingot.sizing.quantization import SCHEMES
from ingot.sizing.split import Parallel, parameters_on_rank
from ingot.sizing.units import DTYPE_BYTES


@dataclass(frozen=True, slots=True)
class Peak:
    """Peak figures of one GPU: memory bandwidth in bytes/s, dense arithmetic in FLOP/s."""

    bandwidth: float
    flops: float
    flops_fp8: float | None = None


@dataclass(frozen=True, slots=True)
class Reached:
    """What engines reach of the peak figures, and what they cost beside.

    + read, read_cache: shares of the memory bandwidth for weights and for the cache
    + scattered: bytes/s at which experts are gathered beside being read: many small matrices keep fast memory waiting
    + compute: share of the arithmetic of a GPU with BALANCE operations for each byte it can read; compute_fall: by
      which power it falls where a GPU has more
    + compute_experts: what is left of it for scattered experts
    + expert_spread: tokens choose experts as that power of as many independent tokens would: some are popular
    + step_s, layer_s, expert_layer_s, latent_layer_s, sequence_s: what each step costs at all, for each layer, beside
      it for each layer of experts and of latent attention, and for each sequence
    + overlapped: what is left of these where a step is prepared while the one before runs
    + link: NVLink's bandwidth as a share of the memory's; pcie_bytes: that of PCIe through the host
    + link_s, pcie_s: what one exchange costs at least, over NVLink at all, over PCIe for each step of the ring
    """

    read: float = 0.80
    read_cache: float = 0.80
    scattered: float = 2.5e12
    compute: float = 0.81
    compute_fall: float = 0.90
    compute_experts: float = 0.48
    expert_spread: float = 0.73
    step_s: float = 0.8e-3
    layer_s: float = 30e-6
    expert_layer_s: float = 12e-6
    latent_layer_s: float = 185e-6
    sequence_s: float = 80e-6
    overlapped: float = 0.75
    link: float = 0.13
    pcie_bytes: float = 7e9
    link_s: float = 12e-6
    pcie_s: float = 12e-6


REACHED = Reached()
# Operations for each byte of memory bandwidth of a GPU whose arithmetic is well fed (A100, RTX 4090).
BALANCE = 160.0
# Formats that are multiplied in 8 bits where the GPU can; those of 4 bits are unpacked to 16 first.
EIGHT_BITS = frozenset({"fp8", "fp8-block", "int8"})
# A step exchanges hidden states after attention and after the feed-forward part.
EXCHANGES = 2


@dataclass(frozen=True)
class Pace:
    """Times of one replica's steps on GPUs of one kind, in seconds.

    `parallel` is its split, `nvlink` whether its GPUs are joined by it, `batch` the most tokens of one step, `overlaps`
    whether the engine prepares a step while the one before runs, `cache_dtype` the cache's number format as it was
    asked for.
    """

    architecture: Architecture
    quantization: str
    parallel: Parallel
    peak: Peak
    nvlink: bool
    batch: int
    overlaps: bool = True
    cache_dtype: str = "auto"
    reached: Reached = REACHED

    def decode_s(self, sequences: float, context: float) -> float:
        """One token for each of `sequences` that hold `context` tokens on average, over all data parallel ranks.

        Pipeline stages work on parts of the sequences in turn.
        """
        tokens = max(sequences / self.parallel.pipeline / self.parallel.data, 1)
        reached = self.reached
        everywhere = tokens * self.parallel.data
        dense = max(self._dense_read_s, tokens * self._dense_compute_s)
        used = self._used(everywhere)
        experts = max(self._expert_read_s * used, everywhere * self._expert_compute_s)
        cache = tokens * self._cache_bytes(context) / (self.peak.bandwidth * reached.read_cache)
        return dense + experts + cache + self._exchange_s(tokens) + self._fixed_s + everywhere * self._sequence_s

    def prefill_s(self, prompt: float) -> float:
        """The share of GPU time that one prompt of `prompt` tokens takes where steps are filled with prompts."""
        tokens = max(prompt, 1)
        batch = self.batch * self.parallel.data
        dense = max(self._dense_compute_s, self._dense_read_s / self.batch) / self.parallel.data
        experts = max(self._expert_compute_s, self._expert_read_s / batch)
        exchange = (self._exchange_s(self.batch) + self._fixed_s) / batch
        return tokens * (dense + experts + exchange) + self._attention_s(tokens)

    def bound(self, sequences: float, context: float) -> str:
        """What takes most of a decoding step."""
        tokens = max(sequences / self.parallel.pipeline / self.parallel.data, 1)
        everywhere = tokens * self.parallel.data
        compute = tokens * self._dense_compute_s + everywhere * self._expert_compute_s
        read = self._dense_read_s + self._expert_read_s * self._used(everywhere)
        read += tokens * self._cache_bytes(context) / (self.peak.bandwidth * self.reached.read_cache)
        parts = {
            "memory bandwidth": read,
            "arithmetic": compute,
            "exchange between GPUs": self._exchange_s(tokens),
            "overhead of each step": self._fixed_s + everywhere * self._sequence_s,
        }
        return max(parts, key=lambda name: parts[name])

    # --- parts

    @cached_property
    def _layers(self) -> list[tuple[Layer, int]]:
        """Distinct layers and how many there are of each."""
        counted: dict[int, tuple[Layer, int]] = {}
        for layer in self.architecture.layers:
            counted[id(layer)] = (layer, counted.get(id(layer), (layer, 0))[1] + 1)
        return list(counted.values())

    @cached_property
    def _parameters(self) -> tuple[float, float, float, float]:
        """Bytes of dense weights and of experts on one rank, and the parameters that one token uses of each."""
        scheme, native = SCHEMES[self.quantization], DTYPE_BYTES[self.architecture.dtype]
        dense_bytes = expert_bytes = dense_used = expert_used = 0.0
        chosen = max(self.architecture.experts_per_token, 1) / max(self.architecture.experts, 1)
        ends = self.architecture.embedding[:1] if self.architecture.tied else self.architecture.head
        groups = [(group, count) for layer, count in self._layers for group in layer.weights]
        for group, count in [*groups, *((group, 1) for group in ends)]:
            is_expert = group.split is Split.EXPERT
            packed = scheme.element_bytes is not None and group.quantizable and (is_expert or not scheme.only_experts)
            element = (scheme.element_bytes or native) if packed else native
            here = count * parameters_on_rank(group, self.parallel)
            if is_expert:
                expert_bytes += here * element
                expert_used += count * group.parameters * chosen
            elif group.is_stored:
                dense_bytes += here * element
                dense_used += here
        return dense_bytes, expert_bytes, dense_used, expert_used

    def _reached(self, flops: float) -> float:
        """What is reached of an arithmetic peak, per second: less where memory feeds it less."""
        crowded = max(flops / self.peak.bandwidth / BALANCE, 1)
        return flops * self.reached.compute / math.pow(crowded, self.reached.compute_fall)

    @cached_property
    def _flops(self) -> float:
        """Arithmetic that one GPU reaches on this number format, per second."""
        if self.quantization in EIGHT_BITS and self.peak.flops_fp8:
            return self._reached(self.peak.flops_fp8)
        return self._reached(self.peak.flops)

    @cached_property
    def _dense_read_s(self) -> float:
        return self._parameters[0] / (self.peak.bandwidth * self.reached.read)

    @cached_property
    def _expert_read_s(self) -> float:
        return self._parameters[1] * (1 / (self.peak.bandwidth * self.reached.read) + 1 / self.reached.scattered)

    @cached_property
    def _dense_compute_s(self) -> float:
        return 2 * self._parameters[2] / self._flops

    @cached_property
    def _expert_compute_s(self) -> float:
        """Time of one token of any rank; the experts are divided over all ranks."""
        ranks = self.parallel.tensor * self.parallel.data
        return 2 * self._parameters[3] / ranks / (self._flops * self.reached.compute_experts)

    @cached_property
    def _fixed_s(self) -> float:
        reached = self.reached
        sparse = sum(
            count for layer, count in self._layers if any(group.split is Split.EXPERT for group in layer.weights)
        )
        latent = sum(count for layer, count in self._layers if isinstance(layer.attention, LatentAttention))
        layers = len(self.architecture.layers) * reached.layer_s + sparse * reached.expert_layer_s
        shown = reached.overlapped if self.overlaps else 1
        return (reached.step_s + layers + latent * reached.latent_layer_s) * shown

    @cached_property
    def _sequence_s(self) -> float:
        return self.reached.sequence_s * (self.reached.overlapped if self.overlaps else 1)

    def _used(self, tokens: float) -> float:
        """The share of all experts that at least one of `tokens` chooses."""
        if not self.architecture.experts:
            return 0.0
        chosen = min(max(self.architecture.experts_per_token, 1) / self.architecture.experts, 1)
        return 1 - math.pow(1 - chosen, math.pow(tokens, self.reached.expert_spread))

    def _exchange_s(self, tokens: float) -> float:
        """All exchanges of one step of `tokens` tokens between the GPUs of a layer."""
        ranks = max(self.parallel.tensor, self.parallel.data)
        if ranks == 1:
            return 0.0
        reached = self.reached
        amount = tokens * self.architecture.hidden_size * 2 * 2 * (ranks - 1) / ranks
        speed = self.peak.bandwidth * reached.link if self.nvlink else reached.pcie_bytes
        least = reached.link_s if self.nvlink else reached.pcie_s * 2 * (ranks - 1)
        return EXCHANGES * len(self.architecture.layers) * (least + amount / speed)

    def _cache_bytes(self, context: float) -> float:
        """What one sequence of `context` tokens makes a rank read in a step."""
        element = DTYPE_BYTES.get(stored_dtype(self.architecture, self.cache_dtype), 2.0)
        total = 0.0
        for layer, count in self._layers:
            attention = layer.attention
            if isinstance(attention, Mamba2 | GatedDeltaNet):
                total += 2 * count * attention.state_bytes(self.parallel.tensor, 2)
            elif isinstance(attention, FullAttention | LatentAttention):
                seen = context
                if isinstance(attention, SlidingWindow):
                    seen = min(context, attention.window)
                elif isinstance(attention, ChunkedLocal):
                    seen = min(context, attention.chunk)
                total += count * seen * attention.token_bytes(self.parallel.tensor, element)
        return total

    def _attention_s(self, prompt: float) -> float:
        """Products of queries with keys and of weights with values, which grow with the square of a prompt."""
        heads, products = self.architecture.attention_heads / self.parallel.tensor, 0.0
        for layer, count in self._layers:
            attention = layer.attention
            if isinstance(attention, LatentAttention):
                # In prefill, heads are unpacked from the latent vector.
                products += count * prompt * prompt * 2 * 192
            elif isinstance(attention, FullAttention):
                seen = prompt
                if isinstance(attention, SlidingWindow):
                    seen = min(prompt, 2 * attention.window)
                products += count * prompt * seen * (attention.head_dim + attention.head_dim_v)
        return heads * products / self._reached(self.peak.flops) / self.parallel.data
