"""Searches the replicas that every model of a host needs at least, with the least quality lost over all of them.

Quality first, then the fewest GPUs over all replicas that hold the asked sequences together, then tensor parallelism
before pipeline stages, then the smallest kind of GPU, then what serves best.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from ingot.sizing.calibration import Calibration
from ingot.sizing.engine import EngineProfile
from ingot.sizing.hardware import Hardware
from ingot.sizing.option import Choice, Option, attempt, choices, splits_of
from ingot.sizing.overheads import startup_bytes
from ingot.sizing.pace import Peak
from ingot.sizing.placement import Pool, Slot, free_slots, place
from ingot.sizing.request import ModelRequest
from ingot.sizing.service import NOMINAL, Service, rank, service
from ingot.sizing.split import Parallel

# How many combinations of choices are tried before the best found so far is taken.
MOST_STEPS = 4000


@dataclass(frozen=True, slots=True)
class Placed:
    """An option on its GPUs."""

    request: ModelRequest
    option: Option
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Situation:
    """What a plan is made from, apart from the requests."""

    hardware: Hardware
    pools: tuple[Pool, ...]
    engine: EngineProfile
    calibrations: tuple[Calibration, ...]
    peaks: Mapping[str, Peak]
    default_share: float = 1.0


def bundle(
    situation: Situation,
    request: ModelRequest,
    choice: Choice,
    parallel: Parallel,
    pool: Pool,
    *,
    most: int | None = None,
) -> Option | None:
    """The fewest replicas of a split that hold what is asked of the host, on GPUs of one kind; None where none do.

    `most` bounds the replicas beyond what the pool and the request allow.
    """
    gpus, free = parallel.gpus, pool.roomiest
    if gpus > pool.widest:
        return None
    limit = min(len(free) // gpus, request.most_replicas)

    def tried(replicas: int) -> Option:
        return attempt(
            request,
            choice,
            parallel,
            pool.kind,
            free[replicas * gpus - 1],
            situation.engine,
            situation.calibrations,
            replicas,
        )

    one = tried(1)
    if one.fits or one.unable or limit < 2 or not tried(limit).fits:
        return one if one.fits else None
    return next(option for replicas in range(2, limit + 1) if (option := tried(replicas)).fits)


def served(situation: Situation, request: ModelRequest, option: Option, pool: Pool) -> Service:
    """What the option's replicas give, before they are placed: joined by NVLink where an island is large enough."""
    peak = situation.peaks.get(option.kind.name, NOMINAL)
    return service(request, option, peak, situation.engine, nvlink=pool.island >= option.parallel.gpus)


def _options(
    situation: Situation, request: ModelRequest, most: int, *, every: bool
) -> Iterator[tuple[Choice, list[Option]]]:
    """Choices in order of quality, each with the bundles of replicas that fit some GPUs of the host, best first.

    Unless `every` bundle is wanted, the search of a choice ends with the fewest GPUs that it needs.
    """
    for choice in choices(request):
        length = request.model.longest(choice.variant)
        if length is not None and request.workload.context > length:
            continue
        found: list[tuple[Option, Pool]] = []
        for parallel in splits_of(request, choice.variant, most, spread=situation.engine.spreads_experts):
            fewest = min((option.gpus for option, _ in found), default=most)
            if not every and parallel.gpus > fewest:
                continue
            for pool in situation.pools:
                option = bundle(situation, request, choice, parallel, pool)
                if option is not None:
                    found.append((option, pool))
        if not every:
            fewest = min((option.gpus for option, _ in found), default=0)
            found = [(option, pool) for option, pool in found if option.gpus == fewest]
        if found:
            yield choice, _ordered(situation, request, found)


def _ordered(situation: Situation, request: ModelRequest, found: list[tuple[Option, Pool]]) -> list[Option]:
    """The fewest GPUs first; among as many, stages last, the smallest kind of GPU, then what serves best."""
    if len(found) == 1:
        return [found[0][0]]

    def key(item: tuple[Option, Pool]) -> tuple[float, ...]:
        option, pool = item
        goal = rank(served(situation, request, option, pool), request.goal, None)
        return (option.gpus, option.parallel.pipeline > 1, situation.pools.index(pool), *goal)

    return [option for option, _ in sorted(found, key=key)]


def best(situation: Situation, requests: tuple[ModelRequest, ...]) -> list[Placed] | None:
    """The replicas that every request needs at least, with the least quality lost in sum; the quick search first."""
    gpus = sum(len(pool.slots) for pool in situation.pools)
    for every in (False, True):
        listed = [_list(situation, request, first=len(requests) == 1, every=every) for request in requests]
        if not all(listed):
            return None
        if sum(_fewest(request, options) for request, options in zip(requests, listed, strict=True)) > gpus:
            return None
        found = _search(situation, requests, listed)
        if found is not None:
            return found
    return None


def _list(
    situation: Situation, request: ModelRequest, *, first: bool, every: bool
) -> list[tuple[Choice, list[Option]]]:
    """The request's options; of a model that is alone only the `first` choice, as what fits can be placed."""
    most = max(len(pool.slots) for pool in situation.pools)
    options = _options(situation, request, most, every=every)
    return list(islice(options, 1)) if first else list(options)


def _fewest(request: ModelRequest, listed: Sequence[tuple[Choice, list[Option]]]) -> int:
    """The fewest GPUs that the request needs of its own."""
    return 0 if request.share else min(option.gpus for _, options in listed for option in options)


def _search(
    situation: Situation, requests: tuple[ModelRequest, ...], found: Sequence[list[tuple[Choice, list[Option]]]]
) -> list[Placed] | None:
    """Depth-first over choices with a bound on the quality lost."""
    tops = [options[0][0].quality for options in found]
    # The largest are placed first: what fails, fails early.
    order = sorted(range(len(requests)), key=lambda at: (-found[at][0][1][0].gpus, at))
    # GPUs that the requests from each depth on need at least; sharing replicas may need none of their own.
    needs = [_fewest(requests[at], found[at]) for at in order]
    behind = [sum(needs[depth:]) for depth in range(len(needs) + 1)]
    gpus = sum(len(pool.slots) for pool in situation.pools)
    best: tuple[int, list[Placed]] | None = None
    seen: dict[tuple[int, frozenset[tuple[str, int]]], int] = {}
    steps = 0

    def descend(depth: int, lost: int, taken: Mapping[str, Slot], done: list[Placed]) -> None:
        nonlocal best, steps
        if depth == len(order):
            best = (lost, done)
            return
        if behind[depth] > gpus - sum(1 for slot in taken.values() if slot.shared):
            return
        state = (depth, frozenset((uuid, slot.free) for uuid, slot in taken.items()))
        if seen.get(state, lost + 1) <= lost:
            return
        seen[state] = lost
        at = order[depth]
        for choice, options in found[at]:
            after = lost + tops[at] - choice.quality
            if best is not None and after >= best[0]:
                return
            for option in options:
                steps += 1
                if steps > MOST_STEPS:
                    return
                placed = place_bundle(situation, requests[at], option, taken)
                if placed is not None:
                    descend(depth + 1, after, placed[1], [*done, *placed[0]])
                if best is not None and after >= best[0]:
                    return

    descend(0, 0, {}, [])
    return best[1] if best else None


def place_bundle(
    situation: Situation, request: ModelRequest, option: Option, taken: Mapping[str, Slot]
) -> tuple[list[Placed], Mapping[str, Slot]] | None:
    """All replicas of an option on GPUs that are still free, and what is taken then; None where one finds none."""
    placed: list[Placed] = []
    for _ in range(option.replicas):
        one = place_option(situation, request, option, taken)
        if one is None:
            return None
        placed.append(one)
        taken = take(taken, one)
    return placed, taken


def place_option(
    situation: Situation, request: ModelRequest, option: Option, taken: Mapping[str, Slot]
) -> Placed | None:
    """The option on GPUs of its kind that are still free, tried again with exactly their free memory."""
    for pool in situation.pools:
        if pool.kind != option.kind:
            continue
        slots = free_slots(pool, taken, share=request.share and option.parallel.gpus == 1)
        chosen = place(slots, option.parallel.gpus)
        if chosen is None:
            return None
        free = min(slot.free for slot in chosen)
        exact = attempt(
            request,
            option.choice,
            option.parallel,
            pool.kind,
            free,
            situation.engine,
            situation.calibrations,
            option.replicas,
        )
        return Placed(request, exact, chosen) if exact.fits else None
    return None


def take(taken: Mapping[str, Slot], placed: Placed) -> dict[str, Slot]:
    """What is taken once `placed` is there: whole GPUs, or the share that a sharing replica asked for."""
    after = dict(taken)
    shared = placed.request.share and len(placed.slots) == 1
    used = placed.option.prediction.requested + startup_bytes(1)
    for slot in placed.slots:
        after[slot.gpu.uuid] = replace(
            slot, free=max(slot.free - used, 0) if shared else 0, shared=slot.shared if shared else slot.shared + 1
        )
    return after
