"""Adds to what must run: the replicas and splits that serve best for one model, and turns on what several leave free.

Nothing here changes what quality a model is served in: that is decided before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingot.sizing.option import Choice, Option, attempt, splits_of
from ingot.sizing.placement import Pool, Slot
from ingot.sizing.request import ModelRequest
from ingot.sizing.search import Placed, Situation, bundle, place_bundle, place_option, served, take
from ingot.sizing.service import Service, rank


@dataclass(frozen=True)
class Candidate:
    """One way to serve a request by GPUs of one kind, with what it gives."""

    option: Option
    service: Service


def canonical(request: ModelRequest) -> tuple[str, int, int, str, str, int]:
    """A key that sorts requests, whatever order they came in."""
    workload = request.workload
    return (
        request.model.name,
        workload.context,
        workload.concurrency,
        request.variant or "",
        request.kv_cache_dtype or "",
        request.replicas or 0,
    )


def candidates(situation: Situation, request: ModelRequest, choice: Choice) -> Iterator[Candidate]:
    """Every split of a choice with every number of replicas that holds what is asked, on each kind of GPU."""
    for pool in situation.pools:
        for parallel in splits_of(request, choice.variant, pool.widest, spread=situation.engine.spreads_experts):
            least = bundle(situation, request, choice, parallel, pool)
            if least is None:
                continue
            free = pool.roomiest
            most = min(len(free) // parallel.gpus, request.most_replicas)
            for replicas in [most] if request.replicas else range(least.replicas, most + 1):
                option = attempt(
                    request,
                    choice,
                    parallel,
                    pool.kind,
                    free[replicas * parallel.gpus - 1],
                    situation.engine,
                    situation.calibrations,
                    replicas,
                )
                if option.fits:
                    yield Candidate(option, served(situation, request, option, pool))


def serve_best(situation: Situation, request: ModelRequest, first: Sequence[Placed]) -> list[Placed]:
    """The replicas of a model that has the host to itself, by the request's goal, in the quality of `first`.

    On processors, splits over GPUs say nothing of speed.
    """
    if situation.engine.build == "cpu":
        return list(first)
    found = candidates(situation, request, first[0].option.choice)
    for candidate in sorted(found, key=lambda one: order(situation, request, one)):
        placed = place_bundle(situation, request, candidate.option, {})
        if placed is not None:
            return placed[0]
    return list(first)


def order(situation: Situation, request: ModelRequest, candidate: Candidate) -> tuple[float, ...]:
    """Sorts candidates, the best first; stages only where there is no other way.

    A stated number of replicas leaves GPUs free on purpose, unless latency is the goal.
    """
    option, split = candidate.option, candidate.option.parallel
    fewer = (request.replicas or option.replicas) - option.replicas
    saved = option.gpus if request.replicas and request.goal == "throughput" else 0
    kind = next(at for at, pool in enumerate(situation.pools) if pool.kind == option.kind)
    ranked = rank(candidate.service, request.goal, request.workload.tokens_per_second)
    return (fewer, split.pipeline > 1, saved, *ranked, kind, split.gpus, split.data)


def fill(situation: Situation, first: Sequence[Placed]) -> list[Placed]:
    """More replicas on what is left, the models taking turns, each as its first one was made.

    Where no more GPUs of that kind are left, GPUs of another kind serve the same weights.
    """
    placed = list(first)
    taken: dict[str, Slot] = {}
    made: dict[int, list[Placed]] = {}
    for one in placed:
        taken = take(taken, one)
        made.setdefault(id(one.request), []).append(one)
    growing = sorted({id(one.request): one.request for one in first}.values(), key=canonical)
    while growing:
        for request in list(growing):
            done = made[id(request)]
            another = _another(situation, request, done, taken) if _wants_more(situation, request, done) else None
            if another is None:
                growing.remove(request)
                continue
            done.append(another)
            placed.append(another)
            taken = take(taken, another)
    return placed


def _another(
    situation: Situation, request: ModelRequest, done: Sequence[Placed], taken: dict[str, Slot]
) -> Placed | None:
    option = done[0].option
    another = place_option(situation, request, option, taken)
    if another is not None:
        return another
    for pool in situation.pools:
        if pool.kind != option.kind and (other := _elsewhere(situation, request, option, pool, taken)):
            return other
    return None


def _elsewhere(
    situation: Situation, request: ModelRequest, option: Option, pool: Pool, taken: dict[str, Slot]
) -> Placed | None:
    """A replica that holds as much as `option` on the fewest GPUs of another kind."""
    free = pool.roomiest
    for parallel in splits_of(request, option.choice.variant, pool.widest, spread=False):
        other = attempt(
            request,
            option.choice,
            parallel,
            pool.kind,
            free[parallel.gpus - 1],
            situation.engine,
            situation.calibrations,
            option.replicas,
        )
        placed = place_option(situation, request, other, taken) if other.fits else None
        if placed is not None:
            return placed
    return None


def _wants_more(situation: Situation, request: ModelRequest, done: Sequence[Placed]) -> bool:
    if len(done) >= request.most_replicas:
        return False
    wanted = request.workload.tokens_per_second
    if wanted is None:
        return True
    pools = {pool.kind: pool for pool in situation.pools}
    rates = [
        served(situation, request, one.option, pools[one.option.kind]).tokens_per_s / one.option.replicas
        for one in done
    ]
    return sum(rates) < wanted
