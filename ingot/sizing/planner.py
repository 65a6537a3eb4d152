"""From GPUs, models and workloads to what runs where.

The rules, in this order: everything fits with its margin; every model gets replicas that hold what is asked of the host
together; the least quality is lost over all models; tensor parallelism before pipeline stages; the fewest GPUs; the
smallest kind of GPU that will do; NVLink islands before PCIe. Then a model that is alone gets the replicas and splits
that serve best by the request's goal, and several models take turns to get more replicas. The answer does not depend on
the order of GPUs or requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ingot.sizing.calibration import Calibration
from ingot.sizing.engine import EngineProfile
from ingot.sizing.errors import HardwareError, WorkloadError
from ingot.sizing.filling import canonical, fill, serve_best
from ingot.sizing.fit import DoesNotFit
from ingot.sizing.hardware import Hardware
from ingot.sizing.option import BFLOAT16_CAPABILITY, Option
from ingot.sizing.overheads import startup_bytes
from ingot.sizing.pace import Peak
from ingot.sizing.placement import is_nvlinked, pools
from ingot.sizing.plan import HostPlan, ReplicaPlan
from ingot.sizing.request import ModelRequest
from ingot.sizing.search import Placed, Situation, best
from ingot.sizing.service import pace
from ingot.sizing.start import breakdown
from ingot.sizing.teach import teach
from ingot.sizing.throughput import Throughput, estimate
from ingot.sizing.units import gib, show_gib

# The most of a GPU's memory that an engine is given where its own default leaves too little.
TIGHT_SHARE = 0.95
# The most of the host's own memory that caches may take: weights are read through it, and engines have processes there.
HOST_MEMORY_SHARE = 0.6
MOST_OFFLOAD_GIB = 16384


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
    situation, placed = arrange(hardware, requests, engine=engine, calibrations=calibrations, peaks=peaks)
    placed.sort(key=lambda one: (one.request.model.name, [slot.gpu.index for slot in one.slots]))
    return HostPlan(hardware.host, engine.label, tuple(_replica(situation, one) for one in placed))


def arrange(
    hardware: Hardware,
    requests: Sequence[ModelRequest],
    *,
    engine: EngineProfile,
    calibrations: Sequence[Calibration] = (),
    peaks: Mapping[str, Peak] | None = None,
) -> tuple[Situation, list[Placed]]:
    """Which option stands on which GPUs, and the situation that it was found in. Raises what `plan_host` does."""
    situation = Situation(hardware, pools(hardware), engine, tuple(calibrations), peaks or {})
    ordered = tuple(sorted(requests, key=canonical))
    _check(situation, ordered)
    first = best(situation, ordered)
    if first is None:
        situation = tighter(situation)
        first = best(situation, ordered)
    if first is None:
        raise teach(situation, ordered)
    if len(ordered) == 1 and not ordered[0].share:
        first = serve_best(situation, ordered[0], first)
    placed = fill(situation, first)
    _check_host_memory(hardware, placed)
    return situation, placed


def fits(hardware: Hardware, requests: Sequence[ModelRequest], *, engine: EngineProfile) -> bool:
    """Whether a plan exists, without working out what would fit instead. Raises what `plan_host` does for bad input."""
    situation = Situation(hardware, pools(hardware), engine, (), {})
    ordered = tuple(sorted(requests, key=canonical))
    _check(situation, ordered)
    return best(situation, ordered) is not None or best(tighter(situation), ordered) is not None


def tighter(situation: Situation) -> Situation:
    """The situation with a larger share of the memory for engines, where all that they take is in their account."""
    if not situation.engine.graphs_in_budget:
        return situation
    share = max(situation.engine.utilization, TIGHT_SHARE)
    return replace(
        situation, engine=replace(situation.engine, utilization=share), default_share=situation.engine.utilization
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
        if request.kv_offload_gib is not None and not 0 < request.kv_offload_gib < MOST_OFFLOAD_GIB:
            raise WorkloadError(
                f"{host}: {model.name} has kv_offload_gib {request.kv_offload_gib!r}, expected GiB of the host's "
                "memory above 0: correct `serve`."
            )
        if request.kv_offload_gib is not None and not situation.engine.offloads_cache:
            raise WorkloadError(
                f"{host}: {situation.engine.label} keeps no cache in the host's memory, which {model.name} is asked to "
                "do: use a newer engine or leave out kv_offload_gib."
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


def _check_host_memory(hardware: Hardware, placed: Sequence[Placed]) -> None:
    """Raise DoesNotFit where caches in the host's memory would crowd out what else runs there."""
    wanted = sum(gib(one.request.kv_offload_gib or 0) for one in placed)
    if hardware.host_memory_bytes is None or wanted <= hardware.host_memory_bytes * HOST_MEMORY_SHARE:
        return
    raise DoesNotFit(
        f"{hardware.host}: its {len(placed)} replicas would keep {show_gib(wanted)} of dropped cache in the host's "
        f"memory, expected at most {show_gib(hardware.host_memory_bytes * HOST_MEMORY_SHARE)} of "
        f"{show_gib(hardware.host_memory_bytes)}: ask for less kv_offload_gib or for fewer replicas.",
        binding="the host's memory",
    )


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
        notes=_notes(situation, placed),
        expert_parallel=option.parallel.expert,
        kv_offload_gib=placed.request.kv_offload_gib,
    )


def _concurrency(blocks: int, per_request: int, ranks: int) -> float:
    return round(blocks / per_request * ranks, 2) if per_request else 0.0


def _dtype(option: Option) -> str:
    """The number format of unquantised weights: GPUs before Ampere have no bfloat16 and take float16."""
    capability = option.kind.capability
    old = capability is not None and capability < BFLOAT16_CAPABILITY
    return "float16" if old and option.choice.variant.architecture.dtype == "bfloat16" else "auto"


def _notes(situation: Situation, placed: Placed) -> tuple[str, ...]:
    option, request = placed.option, placed.request
    architecture, context = option.choice.variant.architecture, request.workload.context
    notes = []
    if architecture.approximate:
        notes.append(
            f"APPROXIMATE: the design of {architecture.name} is not modelled, its sums may be off by a quarter and "
            "more: watch its first start"
        )
    if request.model.shapes is None:
        notes.append(
            "its shapes were written from memory and compared with nothing: `ingot models lock` compares them with its "
            "config.json"
        )
    if architecture.max_model_len is not None and context > architecture.max_model_len:
        notes.append(
            f"{context} tokens are reached by YaRN beyond the {architecture.max_model_len} that it was trained for: "
            "answers to short prompts may suffer"
        )
    if option.utilization > situation.default_share:
        notes.append(
            f"it takes {option.utilization:.0%} of the memory, more than its engine's default: nothing else may use "
            "the GPU"
        )
    if not option.choice.variant.verified:
        notes.append(
            f"no published source confirms {option.choice.variant.repository}: `ingot models lock` asks the hub"
        )
    if option.choice.variant.revision is None:
        notes.append(f"{option.choice.variant.repository} is not pinned to a commit: `ingot models lock` does it")
    if option.need.activation.basis != "measured":
        notes.append("activation, graphs and non-torch are estimates until the first start is measured")
    if request.kv_offload_gib:
        known = "" if situation.hardware.host_memory_bytes else "; how much the host has was not read"
        notes.append(f"it keeps {request.kv_offload_gib:g} GiB of dropped cache in the host's memory{known}")
    if len(placed.slots) > 1 and not is_nvlinked(placed.slots):
        notes.append("its GPUs talk over PCIe: expect less than their sum")
    return tuple(notes)


def _throughput(situation: Situation, placed: Placed) -> Throughput | None:
    option = placed.option
    peak = situation.peaks.get(option.kind.name)
    if peak is None:
        return None
    steps = pace(option, peak, situation.engine, nvlink=is_nvlinked(placed.slots))
    sequences = option.sequences * option.parallel.data
    return estimate(steps, context=option.arguments.max_model_len, sequences=sequences)
