"""One start of an engine, predicted: what each rank holds, what is left for the cache, and whether it comes up.

The order is that of vLLM: take memory, load weights, profile one pass, size the cache, capture graphs
(`v1/worker/gpu_worker.py`). What depends on the model and the arguments alone is computed once (`demand`); a GPU adds
only subtractions (`predict`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from ingot.sizing import overheads
from ingot.sizing.adapters import ADAPTER_BAND, DRAFT_BAND, adapter_bytes, draft_bytes
from ingot.sizing.architecture import Architecture
from ingot.sizing.attention import GatedDeltaNet, Mamba2
from ingot.sizing.calibration import Calibration
from ingot.sizing.engine import EngineProfile
from ingot.sizing.kv import CacheSettings, Geometry, cache_dtype, geometry
from ingot.sizing.memory import MemoryBreakdown, Term
from ingot.sizing.overheads import Estimate
from ingot.sizing.quantization import SCHEMES, Scheme
from ingot.sizing.serving import Speculation
from ingot.sizing.split import Parallel
from ingot.sizing.units import DTYPE_BYTES, GIB, MIB, show_gib
from ingot.sizing.weights import KnownWeights, stage_weights

FLASHINFER_CAPABILITY = (8, 0)
# GPUs of this generation are built behind an NVSwitch, in whose memory NCCL reduces.
SWITCHED_CAPABILITY = (9, 0)
# How much of its own estimate a measurement on the same shape may still miss.
MEASURED_BAND = 64 * MIB

# What logs call weights beyond all tensors of the files: buffers, rotary tables, alignment (about thirty logs).
EXTRA_WEIGHTS = 60 * MIB
# The same where kernels pad and repack experts.
EXTRA_PADDED_WEIGHTS = 150 * MIB
# How far weights and activations of a design that is not modelled may be off, as a share.
APPROXIMATE_BAND = 0.25

# What a process takes of a GPU before it allocates anything: 0.49 to 0.61 GiB of free memory are missing in logs.
CONTEXT = GIB // 2

RefusalKind = Literal["R1", "R2", "R3", "R4", "R5", "R6", "R7"]


@dataclass(frozen=True, slots=True)
class Arguments:
    """What an engine is started with, as far as its memory goes.

    `encoder` False serves text only; `pooling` embeds and never samples. `compiles` False finds the code that an
    earlier start compiled. `adapters` are LoRA slots of `adapter_rank`. `speculation` drafts tokens ahead.
    """

    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache_dtype: str = "auto"
    enforce_eager: bool = False
    prefix_caching: bool = True
    block_size: int | None = None
    speculative: int = 0
    draft_layers: int = 0
    context_parallel: int = 1
    encoder: bool = True
    pooling: bool = False
    compiles: bool = True
    adapters: int = 0
    adapter_rank: int = 0
    speculation: Speculation | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """The tightest GPU of a replica as the engine sees it, in bytes."""

    total: int
    free: int
    total_band: int = 0
    capability: tuple[int, int] | None = None
    unified: bool = False


@dataclass(frozen=True)
class Demand:
    """What one rank needs before its cache, at the pipeline stage where weights and activations are most.

    `spare` is how much less the activations may be for a reason that cannot be seen (a sampler library).
    """

    weights: Term
    activation: Term
    graphs: Term
    non_torch: Term
    geometry: Geometry
    arguments: Arguments
    request_blocks: int
    spare: int
    has_state: bool

    @property
    def fixed(self) -> int:
        """Bytes that are gone before the cache is sized, graphs not among them."""
        return self.weights.bytes + self.activation.bytes + self.non_torch.bytes


@dataclass(frozen=True, slots=True)
class Prediction:
    """One start. `available` is what is left for the cache.

    The truth lies within `band` of it on either side, or up to `spare` further above.
    """

    total: int
    requested: int
    available: int
    band: int
    spare: int
    demand: Demand
    refusal: RefusalKind | None
    reason: str

    def holds(self, available: int) -> bool:
        """Whether `available` bytes lie in the stated band."""
        return self.available - self.band <= available <= self.available + self.band + self.spare

    @property
    def blocks(self) -> int:
        """Cache blocks."""
        return self.demand.geometry.blocks(self.available)


@lru_cache(maxsize=16384)
def demand(
    architecture: Architecture,
    quantization: str,
    parallel: Parallel,
    arguments: Arguments,
    engine: EngineProfile,
    *,
    flashinfer: bool,
    switched: bool = False,
    unified: bool = False,
    known: KnownWeights | None = None,
) -> Demand:
    """What each rank needs, from the shapes alone.

    `flashinfer` says whether the GPU runs FlashInfer's sampler, `switched` whether GPUs are joined by an NVSwitch,
    `unified` whether GPU and host share their memory.
    `known` are weights that the files themselves tell. Raises WorkloadError for a draft whose memory is not described.
    """
    element = DTYPE_BYTES.get(cache_dtype(architecture, arguments.kv_cache_dtype), 2.0)
    settings = CacheSettings(
        element_bytes=element,
        block_size=arguments.block_size,
        prefix_caching=arguments.prefix_caching,
        speculative=arguments.speculative,
        draft_layers=arguments.draft_layers,
        context_parallel=arguments.context_parallel,
    )
    pool = geometry(architecture, parallel, settings, engine)
    scheme = SCHEMES[quantization]
    stages = known.stages if known else stage_weights(architecture, quantization, parallel, encoder=arguments.encoder)
    tokens = _profiled_tokens(arguments, engine)
    one = overheads.forward(architecture, parallel, tokens, engine, enforce_eager=arguments.enforce_eager)
    passes: list[tuple[str, Estimate]] = [("forward pass", one)]
    sampled: list[tuple[str, Estimate]] = []
    chunked = arguments.max_model_len > engine.profiles_context_to
    if not arguments.pooling and (engine.samples_chunks or not chunked):
        rows = overheads.sampler(architecture, arguments.max_num_seqs, engine, flashinfer=flashinfer)
        sampled.append(("sampler", rows))
    seen = overheads.encoder(architecture, arguments.max_num_seqs, tokens) if arguments.encoder else None
    images = [] if seen is None else [("encoder", seen)]
    candidates = []
    for stage, weights in enumerate(stages):
        here = [*passes, *(images if stage == 0 else []), *(sampled if stage == len(stages) - 1 else [])]
        name, peak = max(here, key=lambda item: item[1].bytes)
        # The largest pass decides, so its neighbours' bands can only push the peak up.
        high = max(item.bytes + item.band_bytes for _, item in here)
        band = max(peak.band_bytes, high - peak.bytes)
        least = max(item.bytes if item.least_bytes is None else item.least_bytes for _, item in here)
        candidates.append((weights + peak.bytes, weights, replace(peak, band_bytes=band), name, least))
    _, weights, peak, name, least = max(candidates, key=lambda item: item[0])
    if architecture.experts and engine.experts_add and name != "forward pass":
        peak, least = overheads.added(peak, one), least + one.bytes
    if arguments.compiles and not arguments.enforce_eager:
        peak = overheads.compiling(peak, engine)
    if architecture.approximate:
        peak = replace(peak, band_bytes=peak.band_bytes + int(peak.bytes * APPROXIMATE_BAND))
    return Demand(
        weights=_weights(architecture, scheme, weights, parallel, arguments, known, len(stages)),
        activation=Term(peak.bytes, "default", peak.band_bytes, f"{name}: {peak.formula}", peak.source),
        graphs=overheads.graphs(
            len(architecture.layers),
            arguments.max_num_seqs * (1 + arguments.speculative),
            enforce_eager=arguments.enforce_eager,
            unswitched_ranks=1 if switched else parallel.tensor,
            twice=bool(arguments.adapters),
        ).term(),
        non_torch=overheads.non_torch(
            parallel.tensor * parallel.data, parallel.pipeline, engine, switched=switched, unified=unified
        ).term(),
        geometry=pool,
        arguments=arguments,
        request_blocks=pool.blocks_per_request(arguments.max_model_len, arguments.max_num_batched_tokens),
        spare=max(peak.bytes - least, 0),
        has_state=any(isinstance(group.attention, Mamba2 | GatedDeltaNet) for group in pool.groups),
    )


def _profiled_tokens(arguments: Arguments, engine: EngineProfile) -> int:
    """Tokens of the profiling pass: a batch of chunks, or a whole sequence where prompts are not chunked."""
    batch, length = arguments.max_num_batched_tokens, arguments.max_model_len
    return max(batch, length) if length <= engine.profiles_context_to else batch


def calibrated(need: Demand, measured: Calibration, engine: EngineProfile) -> Demand:
    """The demand with every number that was measured on this very shape in place of its estimate.

    Where the engine logged only what was left for the cache, all that is neither weights nor cache is measured as
    one amount, which takes the activations' place.
    """

    def term(own: Term, value: int | None) -> Term:
        if value is None:
            return own
        source = f"measured on {measured.key.gpu} by {measured.key.engine}"
        if measured.measured_at:
            source += f" at {measured.measured_at}"
        return Term(max(value, 0), "measured", MEASURED_BAND, "the engine's own log", source)

    weights = term(need.weights, measured.weights_bytes)
    if measured.compiled:
        return replace(need, weights=weights)
    graphs, non_torch = term(need.graphs, measured.graphs_bytes), term(need.non_torch, measured.non_torch_bytes)
    activation = term(need.activation, measured.activation_bytes)
    logged = (measured.available_kv_bytes, measured.gpu_total_bytes, measured.gpu_memory_utilization)
    if activation.basis != "measured" and engine.build == "cuda" and None not in logged:
        available, total, utilization = (value or 0 for value in logged)
        counted = graphs.bytes if engine.graphs_in_budget else 0
        rest = math.ceil(total * utilization) - weights.bytes - int(available) - non_torch.bytes - counted
        activation = term(need.activation, rest)
        non_torch, graphs = replace(non_torch, band_bytes=0), replace(graphs, band_bytes=0)
    return replace(
        need,
        weights=weights,
        activation=activation,
        graphs=graphs,
        non_torch=non_torch,
        spare=need.spare if activation.basis != "measured" else 0,
    )


def predict(need: Demand, device: Device, utilization: float, engine: EngineProfile) -> Prediction:
    """One start on one GPU. `utilization` is the share of total memory that the engine may take."""
    requested = math.ceil(device.total * utilization)
    graphs = need.graphs.bytes if engine.graphs_in_budget else 0
    available = requested - need.fixed - graphs
    terms = (need.weights, need.activation, need.non_torch)
    squares = sum(term.band_bytes**2 for term in terms) + int(device.total_band * utilization) ** 2
    if engine.graphs_in_budget:
        squares += need.graphs.band_bytes**2
    band = math.isqrt(squares)
    refusal, reason = _refusal(need, device, requested, available, engine)
    return Prediction(device.total, requested, available, band, need.spare, need, refusal, reason)


def _refusal(
    need: Demand, device: Device, requested: int, available: int, engine: EngineProfile
) -> tuple[RefusalKind | None, str]:
    pool, arguments = need.geometry, need.arguments
    if device.free < requested:
        return "R1", f"{show_gib(device.free)} free at the start, {show_gib(requested)} asked for"
    if need.weights.bytes + need.non_torch.bytes > device.free:
        return "R2", f"weights take {show_gib(need.weights.bytes)} of {show_gib(device.free)} free"
    if need.fixed > device.free:
        return "R3", f"weights and one pass take {show_gib(need.fixed)} of {show_gib(device.free)} free"
    if not pool.groups:
        return None, "no cache is needed"
    usable = available - engine.null_blocks * pool.block_bytes
    if available < 0:
        return "R4", f"nothing is left for the cache, {show_gib(-available)} are missing"
    if usable <= 0:
        return "R4", f"{show_gib(available)} are left for the cache"
    needed = need.request_blocks * pool.block_bytes
    if needed > usable:
        return "R5", (
            f"one sequence of {arguments.max_model_len} tokens needs {show_gib(needed)} of cache, "
            f"{show_gib(usable)} are left"
        )
    if need.has_state and not arguments.enforce_eager and arguments.max_num_seqs > pool.blocks(available):
        return "R6", (
            f"{arguments.max_num_seqs} sequences need a state block each, {pool.blocks(available)} blocks are left"
        )
    if not engine.graphs_in_budget:
        # What is certain of an estimate with so wide a band: plans keep all of it free (`ingot.sizing.option`).
        graphs = need.graphs.bytes - need.graphs.band_bytes // 2
        room = min(device.free, device.total - CONTEXT) - requested
        if graphs > room:
            return "R7", (
                f"CUDA graphs take at least {show_gib(graphs)} beyond what the engine may take, and "
                f"{show_gib(max(room, 0))} are left there"
            )
    return None, "it starts"


def breakdown(
    prediction: Prediction, device: Device, margin: int, startup: int, engine: EngineProfile
) -> MemoryBreakdown:
    """The prediction as terms that add up to the GPU's memory.

    `margin` is kept back from the cache; `startup` of what is not free is taken by the engine before it measures.
    """
    need = prediction.demand
    total = prediction.total
    margin = min(margin, max(prediction.available, 0))
    kv = prediction.available - margin
    used = total - device.free
    graphs = need.graphs
    free = total - prediction.requested - used
    if not engine.graphs_in_budget:
        free -= graphs.bytes
    basis: Literal["measured", "derived"] = "measured" if need.activation.basis == "measured" else "derived"
    return MemoryBreakdown(
        total=Term(total, "derived", device.total_band, "what CUDA reports as total", "the GPU's driver"),
        weights=need.weights,
        kv_cache=Term(
            kv,
            basis,
            prediction.band,
            "memory the engine may take - weights - activation - non-torch - graphs - margin",
            "vLLM v1/worker/gpu_worker.py, determine_available_memory",
        ),
        activation=need.activation,
        graphs=graphs,
        non_torch=need.non_torch,
        other=Term(
            used,
            "default",
            startup // 3,
            f"{show_gib(max(used - startup, 0))} of others + {show_gib(min(startup, used))} of driver context and "
            "collectives, gone before the engine measures",
            "the GPU's driver; free memory at the start in published logs",
        ),
        margin=Term(margin, "derived", 0, "the bands of all estimates, as a root of squares", "docs/sizing.md"),
        free=Term(free, "derived", 0, "total - what the engine may take - other", "gpu_memory_utilization"),
    )


def _weights(
    architecture: Architecture,
    scheme: Scheme,
    held: int,
    parallel: Parallel,
    arguments: Arguments,
    known: KnownWeights | None,
    stages: int,
) -> Term:
    """The weights of the fullest stage with what adapters and a draft add to them."""
    band = int(held * (known.band if known else scheme.band))
    if architecture.approximate and not known:
        band = max(band, int(held * APPROXIMATE_BAND))
    if architecture.encoder and arguments.encoder and not known:
        band += GIB // 5 // parallel.tensor
    amount = held + (EXTRA_PADDED_WEIGHTS if scheme.pads != (1, 1) else EXTRA_WEIGHTS)
    formula = _weights_formula(architecture, scheme, parallel, stages)
    source = known.source if known else "config.json, vLLM's own split per layer"
    if arguments.adapters:
        slots = arguments.adapters * adapter_bytes(architecture, arguments.adapter_rank, parallel)
        amount, band = amount + slots, band + int(slots * ADAPTER_BAND)
        formula += f" + {arguments.adapters} LoRA slots of rank {arguments.adapter_rank} ({show_gib(slots)})"
    if arguments.speculation is not None and (draft := draft_bytes(architecture, arguments.speculation, parallel)):
        amount, band = amount + draft, band + int(draft * DRAFT_BAND)
        formula += f" + the draft of {arguments.speculation.method} ({show_gib(draft)})"
    return Term(amount, "derived", band, formula, source)


def _weights_formula(architecture: Architecture, scheme: Scheme, parallel: Parallel, stages: int) -> str:
    element = scheme.element_bytes or DTYPE_BYTES[architecture.dtype]
    text = f"{architecture.parameters / 1e9:.2f} billion parameters at {element:.3g} bytes"
    if scheme.name != "none":
        text += f" ({scheme.name}; embeddings, norms and routers at {DTYPE_BYTES[architecture.dtype]:g})"
    if parallel.tensor > 1:
        text += f", over {parallel.tensor} ranks"
    if parallel.expert and architecture.experts:
        text += f", the experts over {parallel.tensor * parallel.data}"
    if stages > 1:
        text += f", the heaviest of {stages} stages"
    return text
