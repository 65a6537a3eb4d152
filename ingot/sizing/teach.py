"""Explains why there is no plan: it shows the hardest request, its sums, and what would fit instead.

Every suggestion was planned before it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ingot.sizing.fit import DoesNotFit, arithmetic, binding_term, largest
from ingot.sizing.option import Option, attempt, choices, splits_of, with_workload
from ingot.sizing.placement import Pool
from ingot.sizing.request import ModelRequest
from ingot.sizing.search import Situation, best
from ingot.sizing.units import show_gib

MOST_GPUS_SUGGESTED = 16


def teach(situation: Situation, requests: tuple[ModelRequest, ...]) -> DoesNotFit:
    """The refusal of the request that is hardest, with what would fit instead."""
    host = situation.hardware.host
    alone = [request for request in requests if best(situation, (request,)) is None]
    if not alone:
        names = ", ".join(request.model.name for request in requests)
        nearest = [f"without {one.model.name}" for one in requests if _fits_without(situation, requests, one)]
        if not all(request.share for request in requests):
            sharing = tuple(replace(request, share=True) for request in requests)
            if best(situation, sharing) is not None:
                nearest.append("with several models on one GPU (share: true)")
        hint = f" It would fit {nearest[0]}." if nearest else ""
        return DoesNotFit(
            f"{host}: {names} fit one by one but not together on {_gpus(situation)}; expected room for all: "
            f"serve fewer models there or share GPUs.{hint}",
            binding="GPUs",
            nearest=nearest,
        )
    request = alone[0]
    closest = _closest(situation, request)
    nearest = _nearest(situation, request)
    workload = request.workload
    asked = f"{request.model.name} with {workload.context} tokens for {workload.concurrency} sequences"
    binding = binding_term(closest)
    advice = ", or ".join(nearest) if nearest else "choose a smaller model"
    return DoesNotFit(
        f"{host}: {asked} does not fit on {_gpus(situation)}: even {closest.choice.variant.name} over "
        f"{closest.parallel.gpus} GPU{'s' if closest.parallel.gpus > 1 else ''} lacks "
        f"{show_gib(max(closest.shortfall, 0))} per GPU ({closest.reason}); {advice}.",
        arithmetic(closest),
        binding,
        nearest,
    )


def _fits_without(situation: Situation, requests: tuple[ModelRequest, ...], left_out: ModelRequest) -> bool:
    rest = tuple(request for request in requests if request is not left_out)
    return bool(rest) and best(situation, rest) is not None


def _gpus(situation: Situation) -> str:
    return " + ".join(
        f"{len(pool.slots)} x {pool.kind.name} ({show_gib(min(slot.free for slot in pool.slots))} free)"
        for pool in situation.pools
    )


def _closest(situation: Situation, request: ModelRequest) -> Option:
    """The option that lacks least memory, of those this hardware can run, else of all; one GPU is always a split."""
    tried: list[Option] = []
    for choice in choices(request):
        for pool in situation.pools:
            for parallel in splits_of(request, choice.variant, pool.widest, spread=situation.engine.spreads_experts):
                replicas = max(min(len(pool.slots) // parallel.gpus, request.most_replicas), 1)
                free = pool.roomiest[replicas * parallel.gpus - 1]
                engine, measured = situation.engine, situation.calibrations
                tried.append(attempt(request, choice, parallel, pool.kind, free, engine, measured, replicas))
    able = [option for option in tried if not option.unable]
    return min(able or tried, key=lambda option: (option.shortfall, -option.choice.quality))


def _nearest(situation: Situation, request: ModelRequest) -> list[str]:
    """What would fit instead, each by changing one thing, the smallest change first."""
    workload, found = request.workload, []

    def serves(changed: ModelRequest, within: Situation = situation) -> bool:
        return best(within, (changed,)) is not None

    if request.variant and serves(replace(request, variant=None)):
        found.append(f"let another variant than {request.variant} be chosen")
    if request.kv_cache_dtype and serves(replace(request, kv_cache_dtype=None)):
        found.append(f"let another cache format than {request.kv_cache_dtype} be chosen")
    if request.sees and any(choice.variant.architecture.encoder for choice in choices(request)):
        text_only = replace(request.arguments, language_model_only=True)
        if serves(replace(request, arguments=text_only)):
            found.append("serve text alone (language_model_only: true, or a limit of 0 for images)")
    if request.adapters and serves(replace(request, adapters=())):
        most = largest(lambda count: serves(replace(request, adapters=request.adapters[:count])), len(request.adapters))
        found.append(f"serve {most} of its {len(request.adapters)} adapters" if most else "serve no adapters")
    if request.speculation is not None and serves(replace(request, speculation=None)):
        found.append("draft no tokens ahead (no speculation)")
    context = largest(lambda length: serves(with_workload(request, context=length)), workload.context)
    if context and context >= 16:
        found.append(f"ask for {_round_down(context)} tokens of context")
    sequences = largest(lambda count: serves(with_workload(request, concurrency=count)), workload.concurrency)
    if sequences:
        found.append(f"ask for {sequences} sequence{'s' if sequences > 1 else ''} at once")
    for pool in reversed(situation.pools):
        more = _more_gpus(situation, pool, request, serves)
        if more:
            found.append(f"use {more} x {pool.kind.name}")
            break
    return found


def _round_down(tokens: int) -> int:
    """A length that people would write: a multiple of 256 where there are so many."""
    return tokens // 256 * 256 if tokens >= 256 else tokens


def _more_gpus(
    situation: Situation, pool: Pool, request: ModelRequest, serves: Callable[[ModelRequest, Situation], bool]
) -> int | None:
    template = pool.slots[0]
    for count in (2, 4, 8, 16):
        if count <= len(pool.slots) or template.gpu.mig_profile or count > MOST_GPUS_SUGGESTED:
            continue
        slots = tuple(
            replace(template, gpu=replace(template.gpu, index=index, uuid=f"{template.gpu.uuid}-{index}"))
            for index in range(count)
        )
        if serves(request, replace(situation, pools=(Pool(pool.kind, slots),))):
            return count
    return None
