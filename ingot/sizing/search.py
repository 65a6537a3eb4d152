"""The search behind a plan: one replica of every model on a host, with the least quality lost over all of them.

Quality first, then tensor parallelism before pipeline stages, then the fewest GPUs, then the smallest kind of GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from ingot.sizing.calibration import Calibration
from ingot.sizing.engine import EngineProfile
from ingot.sizing.hardware import Hardware
from ingot.sizing.option import Choice, Option, attempt, choices, splits
from ingot.sizing.overheads import startup_bytes
from ingot.sizing.pace import Peak
from ingot.sizing.placement import Pool, Slot, free_slots, place
from ingot.sizing.request import ModelRequest

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


def _options(
    situation: Situation, request: ModelRequest, most: int, *, every: bool
) -> Iterator[tuple[Choice, list[Option]]]:
    """Choices in order of quality, each with the splits that fit some GPU of the host, best first.

    Unless `every` split is wanted, the search of a choice ends with the first number of GPUs that fits.
    """
    roomiest = [sorted((slot.free for slot in pool.slots), reverse=True) for pool in situation.pools]
    for choice in choices(request):
        length = request.model.longest(choice.variant)
        if length is not None and request.workload.context > length:
            continue
        found: list[Option] = []
        for parallel in splits(choice.variant, most, spread=situation.engine.spreads_experts):
            if found and not every and parallel.gpus > found[0].parallel.gpus:
                break
            gpus = parallel.gpus
            for pool, free in zip(situation.pools, roomiest, strict=True):
                if gpus > pool.widest:
                    continue
                option = attempt(
                    request, choice, parallel, pool.kind, free[gpus - 1], situation.engine, situation.calibrations
                )
                if option.fits:
                    found.append(option)
        if found:
            yield choice, found


def best(situation: Situation, requests: tuple[ModelRequest, ...]) -> list[Placed] | None:
    """One replica of every request with the least quality lost in sum; the quick search first, then the full one."""
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
    return 0 if request.share else min(option.parallel.gpus for _, options in listed for option in options)


def _search(
    situation: Situation, requests: tuple[ModelRequest, ...], found: Sequence[list[tuple[Choice, list[Option]]]]
) -> list[Placed] | None:
    """Depth-first over choices with a bound on the quality lost."""
    tops = [options[0][0].quality for options in found]
    # The largest are placed first: what fails, fails early.
    order = sorted(range(len(requests)), key=lambda at: (-found[at][0][1][0].parallel.gpus, at))
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
                placed = place_option(situation, requests[at], option, taken)
                if placed is not None:
                    descend(depth + 1, after, take(taken, placed), [*done, placed])
                if best is not None and after >= best[0]:
                    return

    descend(0, 0, {}, [])
    return best[1] if best else None


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
            request, option.choice, option.parallel, pool.kind, free, situation.engine, situation.calibrations
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
