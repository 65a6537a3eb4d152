"""One way to serve a request: a variant, a cache format and a split, tried on one kind of GPU."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from ingot.sizing.adapters import is_drafted, slot_rank
from ingot.sizing.calibration import Calibration, CalibrationKey
from ingot.sizing.engine import EngineProfile
from ingot.sizing.overheads import startup_bytes
from ingot.sizing.request import ModelRequest, Variant
from ingot.sizing.split import Parallel, spread_sizes, tensor_sizes
from ingot.sizing.start import (
    APPROXIMATE_BAND,
    FLASHINFER_CAPABILITY,
    Arguments,
    Demand,
    Device,
    Prediction,
    calibrated,
    demand,
    predict,
)
from ingot.sizing.units import GIB, ceil_div
from ingot.sizing.weights import KNOWN_SIZE_BAND, KnownWeights, from_size

# A cache in 8 bits costs less than weights in 8 bits, but it costs.
FP8_CACHE_LOSS = 3
FP8_CACHE_CAPABILITY = (8, 9)
BFLOAT16_CAPABILITY = (8, 0)
LARGE_DEVICE = 70 * GIB
HUGE_DEVICE = 160 * GIB
SMALL_BATCH = 2048
# Memory of the host itself on parts that share it with the GPU.
UNIFIED_RESERVE = 8 * GIB


@dataclass(frozen=True, slots=True)
class Kind:
    """The properties of GPUs that the arithmetic depends on; equal ones are planned alike."""

    name: str
    total: int
    total_band: int
    capability: tuple[int, int] | None
    unified: bool
    switched: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What is chosen before any GPU is looked at, with the quality it keeps."""

    variant: Variant
    kv_cache_dtype: str
    quality: int


@dataclass(frozen=True)
class Option:
    """A choice on `parallel` GPUs of one kind, and what became of it.

    It is one of `replicas` that serve the request together; each of its data parallel ranks must hold `sequences`.
    """

    choice: Choice
    kind: Kind
    parallel: Parallel
    arguments: Arguments
    device: Device
    utilization: float
    need: Demand
    prediction: Prediction
    margin: int
    needed: int
    fits: bool
    unable: bool
    reason: str
    replicas: int
    sequences: int

    @property
    def gpus(self) -> int:
        """GPUs of all the replicas."""
        return self.parallel.gpus * self.replicas

    @property
    def shortfall(self) -> int:
        """Bytes per GPU that are missing; zero or less where it fits."""
        return self.needed + self.margin - self.prediction.available


@lru_cache(maxsize=4096)
def choices(request: ModelRequest) -> tuple[Choice, ...]:
    """Variants and cache formats that the request allows, best quality first."""
    found = []
    for variant in request.model.variants:
        if request.variant not in (None, variant.name):
            continue
        formats = [request.kv_cache_dtype] if request.kv_cache_dtype else ["auto", "fp8"]
        if variant.architecture.kv_cache_dtype == "fp8" and not request.kv_cache_dtype:
            formats = ["auto"]
        for number_format in formats:
            loss = FP8_CACHE_LOSS if number_format.startswith("fp8") else 0
            found.append(Choice(variant, number_format, variant.quality - loss))
    return tuple(sorted(found, key=lambda choice: (-choice.quality, choice.variant.name, choice.kv_cache_dtype)))


@lru_cache(maxsize=4096)
def splits(variant: Variant, most: int, *, spread: bool = True) -> tuple[Parallel, ...]:
    """Tensor splits over up to `most` GPUs, fewest first; then those that need pipeline stages as well.

    With `spread`, data parallel ranks that share their experts follow a tensor split over as many GPUs.
    """
    sizes = tensor_sizes(variant.architecture, most)
    plain = [Parallel(size) for size in sizes]
    if spread:
        plain = sorted([*plain, *spread_sizes(variant.architecture, most)], key=lambda split: (split.gpus, split.data))
    staged = [
        Parallel(size, stages)
        for size in sizes
        for stages in range(2, min(most // size, len(variant.architecture.layers)) + 1)
    ]
    return (*plain, *sorted(staged, key=lambda split: (split.gpus, split.pipeline)))


def splits_of(request: ModelRequest, variant: Variant, most: int, *, spread: bool = True) -> tuple[Parallel, ...]:
    """The splits of a variant that a request allows: over several hosts, one stage on all GPUs of each."""
    if not request.hosts:
        return splits(variant, most, spread=spread)
    hosts = len(request.hosts)
    return (Parallel(most // hosts, hosts),) if most >= hosts else ()


def batched_tokens(kind: Kind, sequences: int) -> int:
    """The engine's own default for this device, and never fewer than sequences (vLLM `engine/arg_utils.py`)."""
    if kind.total >= HUGE_DEVICE:
        default = 16384
    elif kind.total >= LARGE_DEVICE and "a100" not in kind.name.lower():
        default = 8192
    else:
        default = SMALL_BATCH
    return max(default, sequences)


@lru_cache(maxsize=65536)
def attempt(
    request: ModelRequest,
    choice: Choice,
    parallel: Parallel,
    kind: Kind,
    free: int,
    engine: EngineProfile,
    calibrations: tuple[Calibration, ...],
    replicas: int = 1,
) -> Option:
    """The choice as one of `replicas` on GPUs of this kind with `free` bytes each.

    With the batch that the device likes, or a smaller one; with as many sequences as the whole host is asked for, or
    with the replica's own share of them where that does not fit.
    """
    allowed, own = (
        ceil_div(count, parallel.data) for count in (request.workload.concurrency, request.per_replica(replicas))
    )
    situation = (request, choice, parallel, kind, free, engine, calibrations, replicas, own)
    first = _attempt(*situation, allowed, batched_tokens(kind, allowed))
    if first.fits or first.unable:
        return first
    for sequences in dict.fromkeys((allowed, own)):
        batch = max(SMALL_BATCH, sequences)
        if (sequences, batch) != (allowed, first.arguments.max_num_batched_tokens):
            smaller = _attempt(*situation, sequences, batch)
            if smaller.fits:
                return smaller
    return first


def _attempt(
    request: ModelRequest,
    choice: Choice,
    parallel: Parallel,
    kind: Kind,
    free: int,
    engine: EngineProfile,
    calibrations: tuple[Calibration, ...],
    replicas: int,
    own: int,
    sequences: int,
    batch: int,
) -> Option:
    variant = choice.variant
    arguments = _arguments(request, choice, sequences, batch, engine)
    need = demand(
        variant.architecture,
        variant.quantization,
        parallel,
        arguments,
        engine,
        flashinfer=kind.capability is None or kind.capability >= FLASHINFER_CAPABILITY,
        switched=kind.switched,
        unified=kind.unified,
        known=known_weights(variant, parallel, encoder=arguments.encoder),
    )
    measured = _measured(variant, parallel, arguments, kind, engine, calibrations)
    if measured is not None:
        need = calibrated(need, measured, engine)
    usable = max(free - startup_bytes(parallel.gpus), 0)
    device = Device(kind.total, usable, kind.total_band, kind.capability, kind.unified)
    sequences_bytes = need.request_blocks * own * need.geometry.block_bytes
    if variant.architecture.approximate:
        sequences_bytes += int(sequences_bytes * APPROXIMATE_BAND)
    needed = sequences_bytes + engine.null_blocks * need.geometry.block_bytes
    most = _most(device, need, engine)
    prediction = predict(need, device, most, engine)
    margin = prediction.band
    utilization = most
    if request.share and prediction.available > needed + margin:
        spare = prediction.available - needed - margin
        utilization = math.ceil((most - spare / kind.total) * 100) / 100
        prediction = predict(need, device, min(utilization, most), engine)
    unable = _unable(choice, kind)
    reason = unable or _shortage(prediction, needed, margin)
    fits = not reason
    return Option(
        choice,
        kind,
        parallel,
        arguments,
        device,
        min(utilization, most),
        need,
        prediction,
        margin,
        needed,
        fits,
        bool(unable),
        reason or "it fits",
        replicas,
        own,
    )


def _arguments(request: ModelRequest, choice: Choice, sequences: int, batch: int, engine: EngineProfile) -> Arguments:
    """What the engine of one data parallel rank is started with."""
    context, speculation = request.workload.context, request.speculation
    # An encoder attends to whole sequences, so its batch holds at least one.
    whole = all(layer.attention is None for layer in choice.variant.architecture.layers)
    return Arguments(
        max_model_len=context,
        max_num_seqs=sequences,
        max_num_batched_tokens=max(batch, sequences, context if whole else 0),
        kv_cache_dtype=choice.kv_cache_dtype,
        enforce_eager=engine.build == "cpu",
        prefix_caching=engine.state_prefix_caching,
        encoder=request.sees,
        pooling=request.model.kind in ("embed", "rerank"),
        adapters=len(request.adapters),
        adapter_rank=max((slot_rank(adapter.rank) for adapter in request.adapters), default=0),
        speculation=speculation,
        speculative=speculation.tokens if speculation else 0,
        draft_layers=1 if speculation and is_drafted(speculation) else 0,
    )


def _unable(choice: Choice, kind: Kind) -> str:
    """Why no kernel runs the choice on this kind of GPU; empty where one does."""
    capability, least = kind.capability, choice.variant.min_capability
    if choice.kv_cache_dtype.startswith("fp8") and (capability is None or capability < FP8_CACHE_CAPABILITY):
        return "an fp8 cache needs compute capability 8.9"
    if capability is not None and least is not None and capability < least:
        return f"{choice.variant.quantization} needs compute capability {least[0]}.{least[1]}"
    return ""


def _shortage(prediction: Prediction, needed: int, margin: int) -> str:
    """What the option lacks; empty where everything fits with the margin."""
    if prediction.refusal:
        return prediction.reason
    if needed + margin > prediction.available:
        return "the cache for all sequences does not fit with the margin"
    blocks = prediction.demand.geometry.blocks(prediction.available - margin)
    if prediction.demand.has_state and prediction.demand.arguments.max_num_seqs > blocks:
        return "there are fewer state blocks than sequences"
    return ""


def _most(device: Device, need: Demand, engine: EngineProfile) -> float:
    """The largest share of memory that leaves what others use, what the engine needs before it measures, and the
    graphs that it does not count."""
    free = device.free - (UNIFIED_RESERVE if device.unified else 0)
    if not engine.graphs_in_budget:
        free -= need.graphs.bytes + need.graphs.band_bytes
    share = math.floor(max(free, 0) / device.total * 100) / 100 if device.total else 0.0
    return max(min(engine.utilization, share), 0.0)


def known_weights(variant: Variant, parallel: Parallel, *, encoder: bool) -> KnownWeights | None:
    """Weights from the variant's own files: their headers where they were read, else their size where it is known."""
    if variant.checkpoint:
        stages = variant.checkpoint.stages(variant.architecture, parallel)
        return KnownWeights(stages, KNOWN_SIZE_BAND, "safetensors headers")
    if variant.checkpoint_bytes:
        return from_size(
            variant.architecture, variant.quantization, parallel, variant.checkpoint_bytes, encoder=encoder
        )
    return None


def _measured(
    variant: Variant,
    parallel: Parallel,
    arguments: Arguments,
    kind: Kind,
    engine: EngineProfile,
    calibrations: tuple[Calibration, ...],
) -> Calibration | None:
    if not calibrations:
        return None
    key = CalibrationKey(
        repository=variant.repository,
        quantization=variant.quantization,
        engine=engine.label,
        build=engine.build,
        gpu=kind.name,
        tensor_parallel_size=parallel.tensor,
        pipeline_parallel_size=parallel.pipeline,
        max_num_seqs=arguments.max_num_seqs,
        max_num_batched_tokens=arguments.max_num_batched_tokens,
        enforce_eager=arguments.enforce_eager,
        data_parallel_size=parallel.data,
    )
    # The newest measurement of a shape stands last; one of a start that compiled is the last resort.
    own = [one for one in reversed(calibrations) if one.key == key]
    return min(own, key=lambda one: one.compiled, default=None)


def with_workload(request: ModelRequest, *, context: int | None = None, concurrency: int | None = None) -> ModelRequest:
    """The request with a smaller workload."""
    workload = request.workload
    return replace(
        request,
        workload=replace(
            workload, context=context or workload.context, concurrency=concurrency or workload.concurrency
        ),
    )
