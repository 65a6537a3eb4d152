"""Other estimators, from their published formulas: what each says a model needs, judged on the same starts.

Their weights are the planner's, so that only what they do beyond weights is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ingot.sizing.architecture import Architecture
from ingot.sizing.attention import FullAttention, LatentAttention
from ingot.sizing.start import Arguments
from ingot.sizing.units import GIB


@dataclass(frozen=True)
class Question:
    """What an estimator is asked: one model on `gpus` GPUs, whole-replica weights in bytes, and the arguments."""

    architecture: Architecture
    weights: int
    arguments: Arguments
    gpus: int
    total: int
    utilization: float

    @property
    def memory(self) -> int:
        """Memory of all GPUs, in bytes."""
        return self.total * self.gpus


@dataclass(frozen=True)
class Answer:
    """What an estimator says: whether it fits, bytes per GPU left for the cache (None: it does not say), and bytes
    per token of cache on one GPU (None: it does not say)."""

    fits: bool
    available: int | None
    token_bytes: float | None


def weights_times_12(question: Question) -> Answer:
    """gpustack's rule: weights x 1.2 + 2 GiB within the share of memory; the cache is in the 20 %."""
    budget = question.memory * question.utilization
    needed = question.weights * 1.2 + 2 * GIB
    left = (budget - needed) / question.gpus
    return Answer(needed <= budget, int(left), None)


def hf_mem(question: Question) -> Answer:
    """hf-mem: weights + one full sequence of cache, every layer full attention, within all memory."""
    token = sum(
        layer.attention.token_bytes(1, 2)
        for layer in question.architecture.layers
        if isinstance(layer.attention, FullAttention | LatentAttention)
    )
    needed = question.weights + token * question.arguments.max_model_len
    left = (question.memory - question.weights) / question.gpus
    return Answer(needed <= question.memory, int(left), token / question.gpus)


def accelerate(question: Question) -> Answer:
    """accelerate estimate-memory: weights alone (its table adds the largest layer for loading only)."""
    left = (question.memory - question.weights) / question.gpus
    return Answer(question.weights <= question.memory, int(left), None)


def llm_sizer(question: Question) -> Answer:
    """llm-sizer: cache of every head at full hidden width, 10 % on top for activations, within all memory."""
    architecture = question.architecture
    token = 2 * len(architecture.layers) * architecture.hidden_size * 2
    needed = 1.1 * (question.weights + token * question.arguments.max_model_len)
    left = (question.memory - 1.1 * question.weights) / question.gpus
    return Answer(needed <= question.memory, int(left), token / question.gpus)


def guide(question: Question) -> Answer:
    """The guide: weights + 15 % x batch x sequence/2048 + 10 % x batch + 2 GB, at a batch of one."""
    share = 0.15 * question.weights / 2048
    fixed = question.weights * 1.1 + 2e9
    needed = fixed + share * question.arguments.max_model_len
    left = (question.memory - fixed) / question.gpus
    return Answer(needed <= question.memory, int(left), share / question.gpus)


ESTIMATORS: dict[str, Callable[[Question], Answer]] = {
    "weights x 1.2 + 2 GiB": weights_times_12,
    "hf-mem": hf_mem,
    "accelerate": accelerate,
    "llm-sizer": llm_sizer,
    "guide": guide,
}
