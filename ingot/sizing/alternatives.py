"""The next best ways to serve what a plan serves, and why each of them lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ingot.sizing.calibration import Calibration
from ingot.sizing.engine import EngineProfile
from ingot.sizing.filling import Candidate, candidates, order
from ingot.sizing.hardware import Hardware
from ingot.sizing.option import Option, attempt, choices, splits
from ingot.sizing.pace import Peak
from ingot.sizing.placement import Pool
from ingot.sizing.planner import arrange
from ingot.sizing.request import ModelRequest
from ingot.sizing.search import Placed, Situation, served
from ingot.sizing.service import ALIKE
from ingot.sizing.units import show_gib

MOST = 3


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to serve a model: what it is, and in one sentence why the plan does not take it.

    `tokens_per_s` and `request_s` are estimates as in `ingot.sizing.service`, None where it does not fit or the GPU's
    peak figures are not known.
    """

    model: str
    what: str
    why: str
    gpus: int
    tokens_per_s: float | None = None
    request_s: float | None = None


def alternatives(
    hardware: Hardware,
    requests: Sequence[ModelRequest],
    *,
    engine: EngineProfile,
    calibrations: Sequence[Calibration] = (),
    peaks: Mapping[str, Peak] | None = None,
    most: int = MOST,
) -> tuple[Alternative, ...]:
    """Up to `most` alternatives for each model of the plan that `plan_host` makes of the same, in the order of models.

    Each is tried on the GPUs that the plan gives the model or leaves free. Raises what `plan_host` raises.
    """
    situation, placed = arrange(hardware, requests, engine=engine, calibrations=calibrations, peaks=peaks)
    found: list[Alternative] = []
    for request in dict.fromkeys(one.request for one in placed):
        own = [one for one in placed if one.request is request]
        found.extend(_of(_left_to(situation, placed, request), request, own, most))
    return tuple(found)


def _left_to(situation: Situation, placed: Sequence[Placed], request: ModelRequest) -> Situation:
    """The situation with those GPUs alone that the request has or nobody has."""
    others = {slot.gpu.uuid for one in placed if one.request is not request for slot in one.slots}
    pools = []
    for pool in situation.pools:
        slots = tuple(slot for slot in pool.slots if slot.gpu.uuid not in others)
        if slots:
            pools.append(Pool(pool.kind, slots))
    return replace(situation, pools=tuple(pools))


def _of(situation: Situation, request: ModelRequest, own: Sequence[Placed], most: int) -> list[Alternative]:
    taken = replace(own[0].option, replicas=len(own))
    pool = next((pool for pool in situation.pools if pool.kind == taken.kind), None)
    if pool is None:
        return []  # it shares its GPUs with other models
    chosen = Candidate(taken, served(situation, request, taken, pool))
    best: dict[tuple[str, str, object, object], Candidate] = {}
    for choice in choices(request):
        for one in sorted(candidates(situation, request, choice), key=lambda one: order(situation, request, one)):
            key = (choice.variant.name, choice.kv_cache_dtype, one.option.parallel, one.option.kind)
            if key != _key(taken):
                best.setdefault(key, one)
    ranked = sorted(
        best.values(),
        key=lambda one: (
            one.option.parallel.pipeline > 1,
            -one.option.choice.quality,
            *order(situation, request, one),
        ),
    )
    listed = [_lost(situation, request, one, chosen) for one in ranked[:most]]
    if len(listed) < most:
        listed += [_unfit(request, one) for one in _closest(situation, request)][: most - len(listed)]
    return listed


def _key(option: Option) -> tuple[str, str, object, object]:
    return option.choice.variant.name, option.choice.kv_cache_dtype, option.parallel, option.kind


def _lost(situation: Situation, request: ModelRequest, one: Candidate, chosen: Candidate) -> Alternative:
    known = one.option.kind.name in situation.peaks
    return Alternative(
        model=request.model.name,
        what=describe(one.option),
        why=_why(request, one, chosen),
        gpus=one.option.gpus,
        tokens_per_s=round(one.service.tokens_per_s, 1) if known else None,
        request_s=round(one.service.request_s, 2) if known else None,
    )


def _why(request: ModelRequest, one: Candidate, chosen: Candidate) -> str:
    own, taken = one.option, chosen.option
    if own.choice.quality < taken.choice.quality:
        return f"{_weights(own)} keeps less of the model's quality than {_weights(taken)}"
    if own.choice.quality > taken.choice.quality:
        return "it leaves no room for the other models"
    if own.parallel.pipeline > 1 and taken.parallel.pipeline == 1:
        return "its stages wait for each other, which is done only where nothing else fits"
    slower = chosen.service.tokens_per_s / one.service.tokens_per_s
    longer = one.service.request_s / chosen.service.request_s
    by_goal = longer if request.goal == "latency" else slower
    if by_goal > ALIKE:
        if request.goal == "latency":
            return f"one request takes {longer - 1:.0%} longer"
        return f"it gives {1 - 1 / slower:.0%} fewer tokens/s at {request.workload.concurrency} sequences"
    if own.gpus > taken.gpus:
        return f"it takes {own.gpus} GPUs instead of {taken.gpus} and is hardly better"
    return "it is as good, and the plan keeps to the smaller GPUs and splits"


def _closest(situation: Situation, request: ModelRequest) -> Iterator[Option]:
    """Splits of the best quality that do not fit, those that lack least first."""
    tried = []
    for choice in choices(request)[:1]:
        for pool in situation.pools:
            for parallel in splits(choice.variant, pool.widest, spread=False):
                replicas = max(min(len(pool.slots) // parallel.gpus, request.most_replicas), 1)
                free = pool.roomiest[replicas * parallel.gpus - 1]
                engine, measured = situation.engine, situation.calibrations
                option = attempt(request, choice, parallel, pool.kind, free, engine, measured, replicas)
                if not option.fits and parallel.pipeline == 1:
                    tried.append(option)
    yield from sorted(tried, key=lambda option: option.shortfall)


def _unfit(request: ModelRequest, option: Option) -> Alternative:
    lacks = f", {show_gib(option.shortfall)} per GPU are missing" if option.shortfall > 0 else ""
    why = f"it does not fit: {option.reason}{lacks}"
    return Alternative(model=request.model.name, what=describe(option), why=why, gpus=option.gpus)


def describe(option: Option) -> str:
    """An option as people say it: `2 replicas of bf16 over 2 x NVIDIA A10G each`."""
    split = option.parallel
    how = f"{option.replicas} replica{'s' if option.replicas > 1 else ''} of {_weights(option)}"
    if split.gpus == 1:
        return f"{how} on one {option.kind.name} each" if option.replicas > 1 else f"{how} on one {option.kind.name}"
    ways = [f"{split.pipeline} stages"] if split.pipeline > 1 else []
    ways += [f"{split.data} data parallel ranks"] if split.data > 1 else []
    over = f" in {' and '.join(ways)}" if ways else ""
    each = " each" if option.replicas > 1 else ""
    return f"{how} over {split.gpus} x {option.kind.name}{each}{over}"


def _weights(option: Option) -> str:
    cache = option.choice.kv_cache_dtype
    return option.choice.variant.name + ("" if cache == "auto" else f" with its cache in {cache}")
