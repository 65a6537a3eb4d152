"""From GPUs, models and workloads to what runs where.

The rules, in this order: everything fits with its margin; every model gets a replica; the least quality is lost over
all models together; tensor parallelism before pipeline stages; the fewest GPUs per replica; the smallest kind of GPU
that will do; NVLink islands before PCIe; then as many replicas as fit, the models taking turns. The answer does not
depend on the order of GPUs or requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from ingot.sizing.calibration import Calibration
from ingot.sizing.engine import EngineProfile
from ingot.sizing.errors import HardwareError, WorkloadError
from ingot.sizing.fit import DoesNotFit, arithmetic, binding_term, largest
from ingot.sizing.hardware import Hardware
from ingot.sizing.option import (
    BFLOAT16_CAPABILITY,
    Choice,
    Option,
    attempt,
    choices,
    splits,
    with_workload,
)
from ingot.sizing.overheads import startup_bytes
from ingot.sizing.placement import Pool, Slot, free_slots, is_nvlinked, place, pools
from ingot.sizing.plan import HostPlan, ReplicaPlan
from ingot.sizing.request import ModelRequest
from ingot.sizing.start import breakdown
from ingot.sizing.throughput import Peak, Throughput, estimate
from ingot.sizing.units import show_gib

# How many combinations of choices are tried before the best found so far is taken.
MOST_STEPS = 4000
MOST_GPUS_SUGGESTED = 16


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


def plan_host(
    hardware: Hardware,
    requests: Sequence[ModelRequest],
    *,
    engine: EngineProfile,
    calibrations: Sequence[Calibration] = (),
    peaks: Mapping[str, Peak] | None = None,
) -> HostPlan:
    """What `hardware` serves of `requests`; `peaks` by GPU name add throughput estimates.

    Raises DoesNotFit where no plan exists, HardwareError, WorkloadError or another SizingError for bad input.
    """
    situation = Situation(hardware, pools(hardware), engine, tuple(calibrations), peaks or {})
    ordered = tuple(sorted(requests, key=_canonical))
    _check(situation, ordered)
    first = _best(situation, ordered)
    if first is None:
        raise _teach(situation, ordered)
    placed = _fill(situation, ordered, first)
    placed.sort(key=lambda one: (one.request.model.name, [slot.gpu.index for slot in one.slots]))
    return HostPlan(hardware.host, engine.label, tuple(_replica(situation, one) for one in placed))


def fits(hardware: Hardware, requests: Sequence[ModelRequest], *, engine: EngineProfile) -> bool:
    """Whether a plan exists, without working out what would fit instead. Raises what `plan_host` does for bad input."""
    situation = Situation(hardware, pools(hardware), engine, (), {})
    ordered = tuple(sorted(requests, key=_canonical))
    _check(situation, ordered)
    return _best(situation, ordered) is not None


def _canonical(request: ModelRequest) -> tuple[str, int, int, str, str, int]:
    workload = request.workload
    return (
        request.model.name,
        workload.context,
        workload.concurrency,
        request.variant or "",
        request.kv_cache_dtype or "",
        request.replicas or 0,
    )


def _check(situation: Situation, requests: Sequence[ModelRequest]) -> None:
    host = situation.hardware.host
    if not situation.pools:
        raise HardwareError(
            f"{host}: no GPU, expected at least one: check the driver with nvidia-smi, or remove `serve`."
        )
    for request in requests:
        model, asked = request.model, request.workload.context
        if not any(request.variant in (None, variant.name) for variant in model.variants):
            known = ", ".join(variant.name for variant in model.variants)
            raise WorkloadError(
                f"{host}: {model.name} has no variant {request.variant!r}, expected one of {known}: correct `serve`."
            )
        if request.replicas is not None and request.replicas < 1:
            raise WorkloadError(f"{host}: {model.name} is asked for {request.replicas} replicas, expected at least 1.")
        lengths = [variant.architecture.max_model_len for variant in model.variants]
        longest = max((length for length in lengths if length is not None), default=None)
        if longest is not None and asked > longest:
            raise WorkloadError(
                f"{host}: {model.name} is asked for a context of {asked} tokens, it was trained for {longest}: "
                "ask for less or choose another model."
            )


# --- the search


def _options(
    situation: Situation, request: ModelRequest, most: int, *, every: bool
) -> Iterator[tuple[Choice, list[Option]]]:
    """Choices in order of quality, each with the splits that fit some GPU of the host, best first.

    Unless `every` split is wanted, the search of a choice ends with the first number of GPUs that fits.
    """
    roomiest = [sorted((slot.free for slot in pool.slots), reverse=True) for pool in situation.pools]
    for choice in choices(request):
        length = choice.variant.architecture.max_model_len
        if length is not None and request.workload.context > length:
            continue
        found: list[Option] = []
        for parallel in splits(choice.variant, most):
            if found and not every and parallel.gpus > found[0].parallel.gpus:
                break
            gpus = parallel.gpus
            for pool, free in zip(situation.pools, roomiest, strict=True):
                if gpus > len(free):
                    continue
                option = attempt(
                    request, choice, parallel, pool.kind, free[gpus - 1], situation.engine, situation.calibrations
                )
                if option.fits:
                    found.append(option)
        if found:
            yield choice, found


def _best(situation: Situation, requests: tuple[ModelRequest, ...]) -> list[Placed] | None:
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
                placed = _place(situation, requests[at], option, taken)
                if placed is not None:
                    descend(depth + 1, after, _take(taken, placed), [*done, placed])
                if best is not None and after >= best[0]:
                    return

    descend(0, 0, {}, [])
    return best[1] if best else None


def _place(situation: Situation, request: ModelRequest, option: Option, taken: Mapping[str, Slot]) -> Placed | None:
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


def _take(taken: Mapping[str, Slot], placed: Placed) -> dict[str, Slot]:
    """What is taken once `placed` is there: whole GPUs, or the share that a sharing replica asked for."""
    after = dict(taken)
    shared = placed.request.share and len(placed.slots) == 1
    used = placed.option.prediction.requested + startup_bytes(1)
    for slot in placed.slots:
        after[slot.gpu.uuid] = replace(
            slot, free=max(slot.free - used, 0) if shared else 0, shared=slot.shared if shared else slot.shared + 1
        )
    return after


def _fill(situation: Situation, requests: Sequence[ModelRequest], first: list[Placed]) -> list[Placed]:
    """As many replicas as fit, the models taking turns, each as its first replica was made."""
    placed = list(first)
    taken: dict[str, Slot] = {}
    for one in placed:
        taken = _take(taken, one)
    made = {id(one.request): [one] for one in first}
    growing = [one.request for one in sorted(first, key=lambda one: _canonical(one.request))]
    while growing:
        for request in list(growing):
            done = made[id(request)]
            if not _wants_more(situation, request, done):
                growing.remove(request)
                continue
            another = _place(situation, request, done[0].option, taken)
            if another is None:
                growing.remove(request)
                continue
            done.append(another)
            placed.append(another)
            taken = _take(taken, another)
    return placed


def _wants_more(situation: Situation, request: ModelRequest, done: Sequence[Placed]) -> bool:
    if request.replicas is not None and len(done) >= request.replicas:
        return False
    if request.replicas is None and request.share:
        return False  # a shared GPU is not filled with copies of one model
    wanted = request.workload.tokens_per_second
    if wanted is None:
        return True
    rates = [_throughput(situation, one) for one in done]
    if any(rate is None for rate in rates):
        return True
    return sum(rate.decode_tokens_per_s for rate in rates if rate) < wanted


# --- the answer


def _replica(situation: Situation, placed: Placed) -> ReplicaPlan:
    option, variant = placed.option, placed.option.choice.variant
    need, arguments = option.need, option.arguments
    shown = replace(option.device, free=max(option.device.free, option.prediction.requested))
    memory = breakdown(option.prediction, shown, option.margin, startup_bytes(option.parallel.gpus), situation.engine)
    usable = memory.kv_cache.bytes
    geometry = need.geometry
    slots = sorted(placed.slots, key=lambda slot: slot.gpu.index)
    return ReplicaPlan(
        model=placed.request.model.name,
        variant=variant.name,
        repository=variant.repository,
        revision=variant.revision,
        gpu_uuids=tuple(slot.gpu.uuid for slot in slots),
        gpu_indices=tuple(slot.gpu.index for slot in slots),
        tensor_parallel_size=option.parallel.tensor,
        pipeline_parallel_size=option.parallel.pipeline,
        data_parallel_size=option.parallel.data,
        max_model_len=arguments.max_model_len,
        max_num_seqs=arguments.max_num_seqs,
        max_num_batched_tokens=arguments.max_num_batched_tokens,
        gpu_memory_utilization=option.utilization,
        kv_cache_dtype=option.choice.kv_cache_dtype,
        quantization=variant.quantization,
        kv_cache_tokens=geometry.tokens(usable, arguments.max_model_len, arguments.max_num_batched_tokens),
        memory=memory,
        max_concurrency=_concurrency(geometry.blocks(usable), need.request_blocks),
        kv_bytes_needed=option.needed,
        block_bytes=geometry.block_bytes,
        sequence_blocks=need.request_blocks,
        dtype=_dtype(option),
        gpu_name=slots[0].gpu.name,
        estimate=_throughput(situation, placed),
        notes=_notes(placed),
    )


def _concurrency(blocks: int, per_request: int) -> float:
    return round(blocks / per_request, 2) if per_request else 0.0


def _dtype(option: Option) -> str:
    """GPUs before Ampere have no bfloat16."""
    capability = option.kind.capability
    old = capability is not None and capability < BFLOAT16_CAPABILITY
    return "float16" if old and option.choice.variant.architecture.dtype == "bfloat16" else "auto"


def _notes(placed: Placed) -> tuple[str, ...]:
    option = placed.option
    notes = []
    if option.choice.variant.revision is None:
        notes.append(f"{option.choice.variant.repository} is not pinned to a revision: pin it before serving")
    if option.need.activation.basis != "measured":
        notes.append("activation, graphs and non-torch are estimates until the first start is measured")
    if len(placed.slots) > 1 and not is_nvlinked(placed.slots):
        notes.append("its GPUs talk over PCIe: expect less than their sum")
    return tuple(notes)


def _throughput(situation: Situation, placed: Placed) -> Throughput | None:
    option = placed.option
    peak = situation.peaks.get(option.kind.name)
    if peak is None:
        return None
    need = option.need
    return estimate(
        option.choice.variant.architecture,
        weight_bytes=need.weights.bytes,
        request_bytes=need.request_blocks * need.geometry.block_bytes,
        context=option.arguments.max_model_len,
        sequences=option.arguments.max_num_seqs,
        parallel=option.parallel,
        peak=peak,
        nvlink=is_nvlinked(placed.slots),
        quantized=option.choice.variant.quantization.startswith("fp8"),
    )


# --- when there is none


def _teach(situation: Situation, requests: tuple[ModelRequest, ...]) -> DoesNotFit:
    """Why not, by the request that is hardest, and what would fit instead."""
    host = situation.hardware.host
    alone = [request for request in requests if _best(situation, (request,)) is None]
    if not alone:
        names = ", ".join(request.model.name for request in requests)
        nearest = [f"without {one.model.name}" for one in requests if _fits_without(situation, requests, one)]
        if not all(request.share for request in requests):
            sharing = tuple(replace(request, share=True) for request in requests)
            if _best(situation, sharing) is not None:
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
    if closest is None:
        sizes = "no split of its attention heads matches the number of GPUs"
        return DoesNotFit(f"{host}: {asked} does not fit on {_gpus(situation)}: {sizes}.", nearest=nearest)
    binding = binding_term(closest)
    advice = ", or ".join(nearest[:3]) if nearest else "choose a smaller model"
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
    return bool(rest) and _best(situation, rest) is not None


def _gpus(situation: Situation) -> str:
    return " + ".join(
        f"{len(pool.slots)} x {pool.kind.name} ({show_gib(min(slot.free for slot in pool.slots))} free)"
        for pool in situation.pools
    )


def _closest(situation: Situation, request: ModelRequest) -> Option | None:
    """The option that lacks least memory, of those this hardware can run, else of all."""
    tried: list[Option] = []
    for choice in choices(request):
        for pool in situation.pools:
            for parallel in splits(choice.variant, len(pool.slots)):
                free = sorted((slot.free for slot in pool.slots), reverse=True)[parallel.gpus - 1]
                tried.append(
                    attempt(request, choice, parallel, pool.kind, free, situation.engine, situation.calibrations)
                )
    able = [option for option in tried if not option.unable]
    return min(able or tried, key=lambda option: (option.shortfall, -option.choice.quality), default=None)


def _nearest(situation: Situation, request: ModelRequest) -> list[str]:
    """What would fit instead, each by changing one thing, the smallest change first."""
    workload, found = request.workload, []

    def serves(changed: ModelRequest, within: Situation = situation) -> bool:
        return _best(within, (changed,)) is not None

    if request.variant and serves(replace(request, variant=None)):
        found.append(f"let another variant than {request.variant} be chosen")
    if request.kv_cache_dtype and serves(replace(request, kv_cache_dtype=None)):
        found.append(f"let another cache format than {request.kv_cache_dtype} be chosen")
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
        if count <= len(pool.slots) or count > MOST_GPUS_SUGGESTED:
            continue
        slots = tuple(
            replace(template, gpu=replace(template.gpu, index=index, uuid=f"{template.gpu.uuid}-{index}"))
            for index in range(count)
        )
        if serves(request, replace(situation, pools=(Pool(pool.kind, slots),))):
            return count
    return None
