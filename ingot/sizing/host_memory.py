"""What a replica of llama.cpp takes of a host's own memory, where it computes on the processor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ingot.sizing.architecture import Architecture
from ingot.sizing.engines import llama_cpp
from ingot.sizing.engines.llama_blocks import blocks
from ingot.sizing.engines.llama_cpp import Settings
from ingot.sizing.errors import SizingError
from ingot.sizing.memory import Basis, MemoryBreakdown, Term
from ingot.sizing.plan import ReplicaPlan
from ingot.sizing.processor import Processor, ProcessorPace
from ingot.sizing.request import ModelRequest, Variant
from ingot.sizing.split import Parallel
from ingot.sizing.throughput import Throughput, estimate
from ingot.sizing.units import GIB, show_gib
from ingot.sizing.weights import stage_weights

#: Tokens that it reads of a prompt at once, and works on at once (its -b and -ub, which are the defaults).
BATCH, MICRO_BATCH = 2048, 512
#: Vectors of the model's width that an embedder's layer holds for each token beside its feed-forward.
EMBEDDER_STATES = 9
#: Of the host's memory, what the system, Docker and the gateway keep.
SYSTEM_BYTES = 2 * GIB
#: The server itself without a model: 35 to 43 MB measured with a tiny one.
PROCESS_BYTES = 128 * 1024**2
#: Files hold their weights as they are used; what else is in them (vocabulary, template) is small.
WEIGHT_BAND = 0.02


class HostMemoryError(SizingError):
    """The models that a host shall serve on its processor do not fit in its memory."""


def plan_on_host(
    host: str, memory_bytes: int, requests: Sequence[ModelRequest], processor: Processor | None = None
) -> tuple[ReplicaPlan, ...]:
    """The replicas of requests that are served on the processor: each as asked, the best variant that fits.

    `memory_bytes` is all of the host's; without its `processor` no rate is estimated.
    Raises: HostMemoryError, one sentence with the arithmetic.
    """
    left = memory_bytes - SYSTEM_BYTES
    made: list[ReplicaPlan] = []
    for request in requests:
        count = request.replicas or 1
        slots = request.per_replica(count)
        wanted = [one for one in request.model.variants if request.variant in (None, one.name)]
        step = _micro_batch(request)
        tried = [(one, _breakdown(one, request.workload.context, slots, memory_bytes, step)) for one in wanted]
        variant, memory = next(((one, found) for one, found in tried if _needed(found) * count <= left), tried[-1])
        needed = _needed(memory)
        if needed * count > left:
            raise HostMemoryError(
                f"{host}: {request.model.name} ({variant.name}) needs {show_gib(needed * count)} of the host's memory "
                f"({show_gib(memory.weights.bytes)} weights, {show_gib(memory.kv_cache.bytes)} cache for {slots} "
                f"sequences of {request.workload.context:,} tokens, {show_gib(memory.activation.bytes)} to compute"
                f"{f', {count} times' if count > 1 else ''}), {show_gib(max(left, 0))} are left of "
                f"{show_gib(memory_bytes)}; ask for less context or concurrency, or a smaller variant."
            )
        _check_context(host, request, variant)
        left -= needed * count
        made += [_replica(request, variant, memory, slots, processor)] * count
    return tuple(made)


def _micro_batch(request: ModelRequest) -> int:
    """Tokens that are worked on at once: a text that becomes numbers is read in one piece."""
    return llama_cpp.padded(request.workload.context) if request.model.kind == "embed" else MICRO_BATCH


def cache_bytes(architecture: Architecture, context: int, slots: int, micro_batch: int = MICRO_BATCH) -> int:
    """Bytes of the cache, f16 keys and values, and of states; each slot has cells of its own for `context` tokens."""
    asked = Settings(llama_cpp.padded(context) * slots, slots, micro_batch=micro_batch)
    kept = blocks(architecture)
    return llama_cpp.cache_bytes(kept, asked) + llama_cpp.state_bytes(kept, asked)


def _compute_bytes(architecture: Architecture, context: int, slots: int, micro_batch: int) -> int:
    """A bound that held in published starts: logits and states of a micro batch, and its mask; see docs/sizing.md."""
    cells = llama_cpp.padded(context)
    # An embedder works on more at once and computes no logits: a layer's states, by two starts of b11669 (14,377 bytes
    # a token at a width of 256 and a feed-forward of 768).
    layer = 2 * architecture.feed_forward + EMBEDDER_STATES * architecture.hidden_size
    width = architecture.vocab_size + architecture.hidden_size if micro_batch == MICRO_BATCH else layer
    batch = micro_batch * width * 4
    return batch + 6 * cells * micro_batch + architecture.vocab_size * slots * 4


def _needed(memory: MemoryBreakdown) -> int:
    parts = (memory.weights, memory.kv_cache, memory.activation, memory.other, memory.margin)
    return sum(part.bytes for part in parts)


def _breakdown(variant: Variant, context: int, slots: int, memory_bytes: int, micro_batch: int) -> MemoryBreakdown:
    shape = variant.architecture
    known = variant.checkpoint_bytes
    weights = known or stage_weights(shape, variant.quantization, Parallel())[0]
    cache = cache_bytes(shape, context, slots, micro_batch)
    compute = _compute_bytes(shape, context, slots, micro_batch)
    band = int(weights * WEIGHT_BAND)
    used = weights + cache + compute + PROCESS_BYTES + band

    def term(size: int, basis: Basis, formula: str, source: str, band_bytes: int = 0) -> Term:
        return Term(size, basis, band_bytes, formula, source)

    return MemoryBreakdown(
        total=term(memory_bytes, "measured", "MemTotal", "/proc/meminfo"),
        weights=term(
            weights,
            "derived",
            "size of the file" if known else "shapes in the variant's format",
            "the catalog",
            band,
        ),
        kv_cache=term(
            cache,
            "derived",
            f"{slots} slots x {llama_cpp.padded(context):,} cells x layers' keys and values in f16",
            "llama.cpp src/llama-kv-cache.cpp",
        ),
        activation=term(compute, "default", "micro batch x (vocabulary + width) x 4 + mask", "published starts"),
        graphs=term(0, "derived", "none on a processor", "llama.cpp"),
        non_torch=term(0, "derived", "none on a processor", "llama.cpp"),
        other=term(PROCESS_BYTES, "default", "the server itself", "measured with a tiny model"),
        margin=term(band, "derived", "the bands of the others", "this plan"),
        free=term(max(memory_bytes - used, 0), "derived", "what is left to the host", "this plan"),
    )


def _check_context(host: str, request: ModelRequest, variant: Variant) -> None:
    longest = variant.architecture.max_model_len
    if longest is not None and request.workload.context > longest:
        raise HostMemoryError(
            f"{host}: {request.model.name} was trained for {longest:,} tokens, {request.workload.context:,} are asked "
            "for; ask for less context."
        )


def _rates(
    request: ModelRequest, variant: Variant, memory: MemoryBreakdown, slots: int, processor: Processor | None
) -> Throughput | None:
    """What answers may come at; an embedder gives none."""
    if processor is None or request.model.kind == "embed":
        return None
    context = llama_cpp.padded(request.workload.context)
    token_bytes = memory.kv_cache.bytes / (context * slots)
    pace = ProcessorPace(variant.architecture, processor, memory.weights.bytes, token_bytes)
    return replace(estimate(pace, context=context, sequences=slots), basis=processor.basis)


def _replica(
    request: ModelRequest, variant: Variant, memory: MemoryBreakdown, slots: int, processor: Processor | None
) -> ReplicaPlan:
    context = llama_cpp.padded(request.workload.context)
    per_slot = memory.kv_cache.bytes // slots
    return ReplicaPlan(
        model=request.model.name,
        variant=variant.name,
        repository=variant.repository,
        revision=variant.revision,
        gpu_uuids=(),
        gpu_indices=(),
        tensor_parallel_size=1,
        pipeline_parallel_size=1,
        data_parallel_size=1,
        max_model_len=context,
        max_num_seqs=slots,
        max_num_batched_tokens=context if request.model.kind == "embed" else BATCH,
        gpu_memory_utilization=0.0,
        kv_cache_dtype="f16",
        quantization=variant.quantization,
        kv_cache_tokens=context * slots,
        memory=memory,
        max_concurrency=float(slots),
        kv_bytes_needed=memory.kv_cache.bytes,
        block_bytes=per_slot,
        sequence_blocks=1,
        gpu_name="processor",
        engine=request.engine,
        estimate=_rates(request, variant, memory, slots, processor),
    )
