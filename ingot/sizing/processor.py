"""How fast llama.cpp may be on a host's own processor: an estimate from its memory's bandwidth and its cores.

Each token of an answer reads the weights that it uses and what its sequence has cached; prompts compute. What is
reached of either was fitted to nothing: both are assumptions on the careful side, and the first start measures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from ingot.sizing.architecture import Architecture, Split, stored_parameters
from ingot.sizing.units import ceil_div

#: Bytes of one transfer of a memory channel: 64 bits. Source: JEDEC DDR4 and DDR5 (two halves of 32 bits).
CHANNEL_BYTES = 8
#: Modules that share a channel at most on servers.
MODULES_PER_CHANNEL = 2
#: Bytes/s where nothing tells: one channel of DDR4-2400.
UNKNOWN_BANDWIDTH = 2400e6 * CHANNEL_BYTES
#: Of the bandwidth, what reading weights reaches; of one core, operations/s that prompts reach.
REACHED = 0.6
CORE_OPERATIONS = 25e9


@dataclass(frozen=True, slots=True)
class Processor:
    """A host's own memory and processor; 0: not told.

    `speed` is that of the slowest module in megatransfers/s. `channels` are those with a module, where the kernel's
    driver of the memory controller knows them.
    """

    memory_bytes: int = 0
    cores: int = 0
    modules: int = 0
    speed: int = 0
    channels: int = 0

    @property
    def bandwidth(self) -> float:
        """Peak bytes/s of the memory; the stated default where speed or modules are not told."""
        if not (self.speed and self.modules):
            return UNKNOWN_BANDWIDTH
        return self._channels * self.speed * 1e6 * CHANNEL_BYTES

    @property
    def _channels(self) -> int:
        """Channels in use: as the kernel knows them, else as few as so many modules can share."""
        return self.channels or ceil_div(self.modules, MODULES_PER_CHANNEL)

    @property
    def basis(self) -> str:
        """What an estimate was made from, in words."""
        read = f"estimate: from {self.bandwidth / 1e9:,.0f} GB/s of memory bandwidth"
        if not (self.speed and self.modules):
            return f"{read}, which is assumed since the host tells no speed of its memory; its first start measures"
        plural = "" if self._channels == 1 else "s"
        return f"{read} ({self._channels} channel{plural} at {self.speed:,} MT/s); its first start measures"


@dataclass(frozen=True)
class ProcessorPace:
    """Times of one replica's steps on a processor, in seconds; `weight_bytes` is the size of its file.

    `token_bytes` are those of the cache for each token.
    """

    architecture: Architecture
    processor: Processor
    weight_bytes: int
    token_bytes: float

    def decode_s(self, sequences: float, context: float) -> float:
        """One token for each of `sequences` that hold `context` tokens on average."""
        return max(self._read_s(sequences), sequences * self._compute_s) + self._cached_s(sequences, context)

    def prefill_s(self, prompt: float) -> float:
        """One prompt of `prompt` tokens."""
        return max(self._read_s(prompt), prompt * self._compute_s)

    def bound(self, sequences: float, context: float) -> str:
        """What takes most of a decoding step."""
        read = self._read_s(sequences) + self._cached_s(sequences, context)
        return "memory bandwidth" if read >= sequences * self._compute_s else "arithmetic"

    @property
    def _reached(self) -> float:
        return self.processor.bandwidth * REACHED

    def _cached_s(self, sequences: float, context: float) -> float:
        return sequences * context * self.token_bytes / self._reached

    @cached_property
    def _groups(self) -> tuple[float, float, float]:
        """Parameters in the file, those that every token uses, and those of all experts."""
        shape = self.architecture
        inner = [group for layer in shape.layers for group in layer.weights]
        experts = stored_parameters([group for group in inner if group.split is Split.EXPERT])
        # Of the embedding a token reads one row; where it is the output too, all of it.
        last = stored_parameters(shape.embedding[:1] if shape.tied else shape.head)
        dense = stored_parameters(inner) - experts + last
        return stored_parameters([*inner, *shape.embedding]) + (0 if shape.tied else last), dense, experts

    @property
    def _chosen(self) -> float:
        """The share of experts that one token uses."""
        shape = self.architecture
        return min(max(shape.experts_per_token, 1) / shape.experts, 1) if shape.experts else 0.0

    def _read_s(self, tokens: float) -> float:
        whole, dense, experts = self._groups
        used = 1 - math.pow(1 - self._chosen, max(tokens, 1))
        return self.weight_bytes * (dense + experts * used) / whole / self._reached

    @property
    def _compute_s(self) -> float:
        _, dense, experts = self._groups
        return 2 * (dense + experts * self._chosen) / (max(self.processor.cores, 1) * CORE_OPERATIONS)
