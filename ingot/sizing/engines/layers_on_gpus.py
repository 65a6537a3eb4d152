"""Replicas of llama.cpp on GPUs: whole GPUs of their own, the fewest among which its layers can be split.

Cache and states are exact. Weights are the file's size by each layer's share of the parameters: a file mixes types of
numbers, so that a layer may weigh more than its share, and the tensor table is not at hand where plans are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ingot.sizing.architecture import Architecture, stored_parameters
from ingot.sizing.engines import llama_cpp
from ingot.sizing.engines.llama_blocks import blocks
from ingot.sizing.engines.llama_cpp import Demand, Settings, Shape
from ingot.sizing.errors import WorkloadError
from ingot.sizing.fit import DoesNotFit
from ingot.sizing.hardware import GPU, Hardware
from ingot.sizing.host_memory import BATCH
from ingot.sizing.memory import MemoryBreakdown, Term
from ingot.sizing.plan import ReplicaPlan
from ingot.sizing.request import ModelRequest, Variant
from ingot.sizing.split import Parallel
from ingot.sizing.units import show_gib
from ingot.sizing.weights import stage_weights

#: How much heavier than its share a layer may be, and an output: files keep these in more bits (tools/quantize).
LAYER_BAND, OUTPUT_BAND = 0.15, 0.4


def placed(hardware: Hardware, left: Sequence[GPU], request: ModelRequest, count: int, number: int) -> ReplicaPlan:
    """The next replica on GPUs that are left. Raises: DoesNotFit, WorkloadError."""
    host, name, slots = hardware.host, request.model.name, request.per_replica(count)
    said = ""
    for variant in request.model.variants:
        if request.variant not in (None, variant.name):
            continue
        _check(host, request, variant)
        for gpus in _places(left):
            needed = demands(variant, request.workload.context, slots, len(gpus))
            short = next((pair for pair in zip(gpus, needed, strict=True) if pair[1].most > _free(pair[0])), None)
            if short is None:
                return _replica(request, variant, gpus, needed, slots)
            said = _words(variant, short[0], short[1], len(gpus), slots, request.workload.context)
    if not said:
        raise DoesNotFit(
            f"{host}: {name} is asked for {count} replicas with {request.engine}, and no GPU is left for the "
            f"{'first' if not number else 'next'}: ask for fewer replicas, or serve it elsewhere.",
            binding="GPUs",
        )
    raise DoesNotFit(
        f"{host}: {name} does not fit with {request.engine}: {said}; ask for less context or concurrency, or a smaller "
        "variant.",
        binding="memory of a GPU",
    )


def demands(variant: Variant, context: int, slots: int, gpus: int) -> tuple[Demand, ...]:
    """What each of so many alike GPUs must hold, with the bands of weights that are known by their shares alone."""
    shape = shape_of(variant)
    settings = Settings(llama_cpp.padded(context) * slots, slots)
    shares = (1.0,) * gpus
    found = []
    for held, one in zip(llama_cpp.placed(shape, shares), llama_cpp.demands(shape, settings, shares), strict=True):
        layers = sum(shape.layer_weights[index] for index in held if index < len(shape.layers))
        last = shape.output_weights if len(shape.layers) in held else 0
        band = int(layers * LAYER_BAND + last * OUTPUT_BAND)
        if gpus == 1:
            # What is not in one place is in the other: no more than all of the file.
            band = min(band, shape.input_weights - shape.tied_weights)
        formula = "size of the file, by the layers' shares of its parameters, without its embedding"
        found.append(replace(one, weights=Term(one.weights.bytes, "derived", max(band, 0), formula, "the catalog")))
    return tuple(found)


def shape_of(variant: Variant) -> Shape:
    """A variant as llama.cpp loads it, its file's bytes spread over its layers by their parameters."""
    shape = variant.architecture
    known = variant.checkpoint_bytes or stage_weights(shape, variant.quantization, Parallel())[0]
    layers = [stored_parameters(layer.weights) for layer in shape.layers]
    embedding, head = stored_parameters(shape.embedding), 0 if shape.tied else stored_parameters(shape.head)
    each = known / (sum(layers) + embedding + head)
    inputs = int(embedding * each)
    return Shape(
        width=shape.hidden_size,
        vocabulary=shape.vocab_size,
        layers=blocks(shape),
        heads=shape.attention_heads,
        feed_forward=_widest(shape),
        layer_weights=tuple(int(one * each) for one in layers),
        output_weights=inputs if shape.tied else int(head * each),
        tied_weights=inputs if shape.tied else 0,
        input_weights=inputs,
        trained_context=shape.max_model_len,
    )


def _widest(shape: Architecture) -> int:
    return max(shape.feed_forward, shape.expert_width * max(shape.experts_per_token, 1))


def _free(gpu: GPU) -> int:
    return gpu.cuda_free_bytes


def _places(left: Sequence[GPU]) -> Iterator[tuple[GPU, ...]]:
    """GPUs that a replica could have: the fewest first, of one kind, the smallest kind first."""
    kinds: dict[tuple[int, str], list[GPU]] = {}
    for gpu in left:
        kinds.setdefault((gpu.cuda_total_bytes, gpu.name), []).append(gpu)
    for size in range(1, len(left) + 1):
        for _, gpus in sorted(kinds.items()):
            # A process of CUDA sees one MIG instance.
            if size <= len(gpus) and (size == 1 or not gpus[0].mig_profile):
                yield tuple(sorted(gpus, key=lambda gpu: (-_free(gpu), gpu.index))[:size])


def _check(host: str, request: ModelRequest, variant: Variant) -> None:
    longest = variant.architecture.max_model_len
    if longest is not None and request.workload.context > longest:
        raise WorkloadError(
            f"{host}: {request.model.name} was trained for {longest:,} tokens, {request.workload.context:,} are asked "
            "for; ask for less context."
        )


def _words(variant: Variant, gpu: GPU, needed: Demand, gpus: int, slots: int, context: int) -> str:
    band = needed.most - needed.buffers - needed.context.bytes
    return (
        f"{variant.name} on {gpus} x {gpu.name} needs {show_gib(needed.most)} of {show_gib(_free(gpu))} free "
        f"({show_gib(needed.weights.bytes)} weights, {show_gib(needed.cache.bytes + needed.state.bytes)} cache for "
        f"{slots} sequences of {context:,}, {show_gib(needed.compute.bytes + needed.context.bytes)} to compute, "
        f"{show_gib(band)} of margin)"
    )


def _replica(
    request: ModelRequest, variant: Variant, gpus: Sequence[GPU], needed: Sequence[Demand], slots: int
) -> ReplicaPlan:
    context = llama_cpp.padded(request.workload.context)
    tightest = max(zip(gpus, needed, strict=True), key=lambda pair: pair[1].most - _free(pair[0]))
    cache = sum(one.cache.bytes + one.state.bytes for one in needed)
    split = len(gpus) > 1
    return ReplicaPlan(
        model=request.model.name,
        variant=variant.name,
        repository=variant.repository,
        revision=variant.revision,
        gpu_uuids=tuple(gpu.uuid for gpu in gpus),
        gpu_indices=tuple(gpu.index for gpu in gpus),
        tensor_parallel_size=1,
        pipeline_parallel_size=len(gpus),
        data_parallel_size=1,
        max_model_len=context,
        max_num_seqs=slots,
        max_num_batched_tokens=BATCH,
        gpu_memory_utilization=0.0,
        kv_cache_dtype="f16",
        quantization=variant.quantization,
        kv_cache_tokens=context * slots,
        memory=_breakdown(*tightest),
        max_concurrency=float(slots),
        kv_bytes_needed=cache,
        block_bytes=cache // slots,
        sequence_blocks=1,
        gpu_name=gpus[0].name,
        notes=("its layers are split over these GPUs, which work in turn: more GPUs give room, not speed",)
        if split
        else (),
        engine=request.engine,
    )


def _breakdown(gpu: GPU, needed: Demand) -> MemoryBreakdown:
    def term(size: int, formula: str) -> Term:
        return Term(size, "derived", 0, formula, "this plan")

    total, cache = gpu.cuda_total_bytes, needed.cache
    if needed.state.bytes:
        cache = replace(
            cache, bytes=cache.bytes + needed.state.bytes, formula=f"{cache.formula}; {needed.state.formula}"
        )
    margin = needed.most - needed.buffers - needed.context.bytes
    return MemoryBreakdown(
        total=term(total, "the driver's total, less what it keeps"),
        weights=needed.weights,
        kv_cache=cache,
        activation=needed.compute,
        graphs=term(0, "in what CUDA takes"),
        non_torch=needed.context,
        other=term(0, "none"),
        margin=term(margin, "the bands of the others"),
        free=term(max(total - needed.most, 0), "what is left"),
    )
