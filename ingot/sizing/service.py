"""Estimates what a host gives its callers by one plan or another, and ranks them.

Replicas multiply what a host serves; splits over more GPUs shorten what one request takes, less so over PCIe. Neither
is better by itself, so each is estimated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ingot.sizing.engine import EngineProfile
from ingot.sizing.option import Option
from ingot.sizing.pace import Pace, Peak
from ingot.sizing.request import Goal, ModelRequest
from ingot.sizing.throughput import output_rate, typical

# Stands in for a GPU whose peak figures nobody listed: plans are compared by it, no rate is shown.
NOMINAL = Peak(bandwidth=1e12, flops=160e12)
# Services closer to each other than this are alike; then fewer GPUs are better.
ALIKE = 1.02


@dataclass(frozen=True, slots=True)
class Service:
    """Estimates of one way to serve a request with all its replicas.

    `tokens_per_s` are output tokens of all sequences at the asked concurrency, `request_s` is the time of one request
    that comes alone.
    """

    tokens_per_s: float
    request_s: float
    gpus: int


def pace(option: Option, peak: Peak, engine: EngineProfile, *, nvlink: bool) -> Pace:
    """The steps of one replica of an option."""
    return Pace(
        option.choice.variant.architecture,
        option.choice.variant.quantization,
        option.parallel,
        peak,
        nvlink=nvlink,
        batch=option.arguments.max_num_batched_tokens,
        overlaps=engine.overlaps_steps,
        cache_dtype=option.choice.kv_cache_dtype,
    )


def service(request: ModelRequest, option: Option, peak: Peak, engine: EngineProfile, *, nvlink: bool) -> Service:
    """What the option's replicas give together."""
    steps = pace(option, peak, engine, nvlink=nvlink)
    context, busy = request.workload.context, min(option.replicas, request.workload.concurrency)
    held = typical(context, request.workload.concurrency / busy)
    alone = typical(context, 1)
    return Service(
        tokens_per_s=busy * output_rate(steps, held),
        request_s=alone.answer / output_rate(steps, alone),
        gpus=option.gpus,
    )


def rank(found: Service, goal: Goal, wanted: float | None) -> tuple[float, ...]:
    """Sorts services, the best first: by the goal, then by fewer GPUs; what reaches `wanted` tokens/s is enough."""
    tokens, time = -_alike(found.tokens_per_s), _alike(found.request_s)
    if wanted is not None and found.tokens_per_s >= wanted:
        return (0, found.gpus, tokens, time)
    if goal == "latency":
        return (1, time, tokens, found.gpus)
    return (1, tokens, found.gpus, time)


def _alike(amount: float) -> float:
    return round(math.log(max(amount, 1e-9)) / math.log(ALIKE))
