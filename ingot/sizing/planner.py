"""From GPUs, models and workloads to what runs where.

The rules, in this order: everything fits with its margin; every model gets a replica; the least quality is lost over
all models together; tensor parallelism before pipeline stages; the fewest GPUs per replica; the smallest kind of GPU
that will do; NVLink islands before PCIe; then as many replicas as fit, the models taking turns. The answer does not
depend on the order of GPUs or requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ingot.sizing.calibration import Calibration
from ingot.sizing.engine import EngineProfile
from ingot.sizing.errors import HardwareError, WorkloadError
from ingot.sizing.hardware import Hardware
from ingot.sizing.option import BFLOAT16_CAPABILITY, Option
from ingot.sizing.overheads import startup_bytes
from ingot.sizing.pace import Pace, Peak
from ingot.sizing.placement import Slot, is_nvlinked, pools
from ingot.sizing.plan import HostPlan, ReplicaPlan
from ingot.sizing.request import ModelRequest
from ingot.sizing.search import Placed, Situation, best, place_option, take
from ingot.sizing.start import breakdown
from ingot.sizing.teach import teach
from ingot.sizing.throughput import Throughput, estimate


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
    first = best(situation, ordered)
    if first is None:
        raise teach(situation, ordered)
    placed = _fill(situation, ordered, first)
    placed.sort(key=lambda one: (one.request.model.name, [slot.gpu.index for slot in one.slots]))
    return HostPlan(hardware.host, engine.label, tuple(_replica(situation, one) for one in placed))


def fits(hardware: Hardware, requests: Sequence[ModelRequest], *, engine: EngineProfile) -> bool:
    """Whether a plan exists, without working out what would fit instead. Raises what `plan_host` does for bad input."""
    situation = Situation(hardware, pools(hardware), engine, (), {})
    ordered = tuple(sorted(requests, key=_canonical))
    _check(situation, ordered)
    return best(situation, ordered) is not None


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
        lengths = [model.longest(variant) for variant in model.variants]
        longest = max((length for length in lengths if length is not None), default=None)
        if longest is not None and asked > longest:
            raise WorkloadError(
                f"{host}: {model.name} is asked for a context of {asked} tokens, it was trained for {longest}: "
                "ask for less or choose another model."
            )


def _fill(situation: Situation, requests: Sequence[ModelRequest], first: list[Placed]) -> list[Placed]:
    """As many replicas as fit, the models taking turns, each as its first replica was made."""
    placed = list(first)
    taken: dict[str, Slot] = {}
    for one in placed:
        taken = take(taken, one)
    made = {id(one.request): [one] for one in first}
    growing = [one.request for one in sorted(first, key=lambda one: _canonical(one.request))]
    while growing:
        for request in list(growing):
            done = made[id(request)]
            if not _wants_more(situation, request, done):
                growing.remove(request)
                continue
            another = place_option(situation, request, done[0].option, taken)
            if another is None:
                growing.remove(request)
                continue
            done.append(another)
            placed.append(another)
            taken = take(taken, another)
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
    return sum(rate.output_tokens_per_s for rate in rates if rate) < wanted


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
        max_concurrency=_concurrency(geometry.blocks(usable), need.request_blocks, option.parallel.data),
        kv_bytes_needed=option.needed,
        block_bytes=geometry.block_bytes,
        sequence_blocks=need.request_blocks,
        dtype=_dtype(option),
        gpu_name=slots[0].gpu.name,
        estimate=_throughput(situation, placed),
        notes=_notes(placed),
        expert_parallel=option.parallel.expert,
    )


def _concurrency(blocks: int, per_request: int, ranks: int) -> float:
    return round(blocks / per_request * ranks, 2) if per_request else 0.0


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
    pace = Pace(
        option.choice.variant.architecture,
        option.choice.variant.quantization,
        option.parallel,
        peak,
        nvlink=is_nvlinked(placed.slots),
        batch=option.arguments.max_num_batched_tokens,
        overlaps=situation.engine.overlaps_steps,
        cache_dtype=option.choice.kv_cache_dtype,
    )
    sequences = option.arguments.max_num_seqs * option.parallel.data
    return estimate(pace, context=option.arguments.max_model_len, sequences=sequences)
