"""A replica of llama.cpp on GPUs of its own, among which its layers are split, whichever engine starts it.

Cache and states are exact. Weights are the file's size by each layer's share of the parameters: a file mixes types of
numbers, so that a layer may weigh more than its share, and the tensor table is not at hand where plans are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ingot.sizing.architecture import Architecture, stored_parameters
from ingot.sizing.engines import llama_cpp, ollama
from ingot.sizing.engines.llama_blocks import blocks
from ingot.sizing.engines.llama_cpp import Demand, Settings, Shape
from ingot.sizing.errors import WorkloadError
from ingot.sizing.hardware import GPU
from ingot.sizing.host_memory import BATCH
from ingot.sizing.memory import MemoryBreakdown, Term
from ingot.sizing.plan import ReplicaPlan
from ingot.sizing.request import ModelRequest, Variant
from ingot.sizing.split import Parallel
from ingot.sizing.units import show_gib
from ingot.sizing.weights import stage_weights

#: How much heavier than its share a layer may be, and an output: files keep these in more bits (tools/quantize).
LAYER_BAND, OUTPUT_BAND = 0.15, 0.4
#: How far a file may be off whose size is known by the model's shapes alone.
SHAPES_BAND = 0.02


def replica(request: ModelRequest, variant: Variant, gpus: Sequence[GPU], slots: int) -> ReplicaPlan:
    """A replica on these GPUs, which are of one kind. Raises: WorkloadError where it does not fit."""
    flash = request.engine == "llama.cpp-cuda" or ollama.uses_flash_attention(gpus)
    if request.engine == "ollama":
        ollama.check(variant.architecture, slots)
    found = demands(variant, request.workload.context, slots, len(gpus), flash=flash)
    # Which of them has which layers is the driver's order: the fullest may have most.
    needed, free = max(found, key=lambda one: one.most), min(gpu.cuda_free_bytes for gpu in gpus)
    if needed.most > free:
        raise WorkloadError(_words(variant, gpus, free, needed, slots, request.workload.context))
    return _replica(request, variant, gpus, needed, sum(one.cache.bytes + one.state.bytes for one in found), slots)


def demands(variant: Variant, context: int, slots: int, gpus: int, *, flash: bool = True) -> tuple[Demand, ...]:
    """What each of so many alike GPUs must hold, with the bands of weights that are known by their shares alone."""
    shape = shape_of(variant)
    settings = Settings(llama_cpp.padded(context) * slots, slots, flash_attention=flash)
    shares = (1.0,) * gpus
    found = []
    for held, one in zip(llama_cpp.placed(shape, shares), llama_cpp.demands(shape, settings, shares), strict=True):
        layers = sum(shape.layer_weights[index] for index in held if index < len(shape.layers))
        last = shape.output_weights if len(shape.layers) in held else 0
        band = int(layers * LAYER_BAND + last * OUTPUT_BAND)
        if gpus == 1:
            # What is not in one place is in the other: no more than all of the file.
            band = min(band, shape.input_weights - shape.tied_weights)
        if not variant.checkpoint_bytes:
            band += int(one.weights.bytes * SHAPES_BAND)
        formula = "size of the file, by the layers' shares of its parameters, without its embedding"
        found.append(replace(one, weights=Term(one.weights.bytes, "derived", band, formula, "the catalog")))
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


def _words(variant: Variant, gpus: Sequence[GPU], free: int, needed: Demand, slots: int, context: int) -> str:
    return (
        f"{variant.name} on {len(gpus)} x {gpus[0].name} needs {show_gib(needed.most)} of {show_gib(free)} free "
        f"({show_gib(needed.weights.bytes)} weights, {show_gib(needed.cache.bytes + needed.state.bytes)} cache for "
        f"{slots} sequences of {context:,}, {show_gib(needed.compute.bytes + needed.context.bytes)} to compute, "
        f"{show_gib(_margin(needed))} of margin)"
    )


def _margin(needed: Demand) -> int:
    return needed.most - needed.buffers - needed.context.bytes


def _replica(
    request: ModelRequest, variant: Variant, gpus: Sequence[GPU], needed: Demand, cache: int, slots: int
) -> ReplicaPlan:
    context = llama_cpp.padded(request.workload.context)
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
        max_num_batched_tokens=BATCH if request.engine == "llama.cpp-cuda" else ollama.BATCH,
        gpu_memory_utilization=0.0,
        kv_cache_dtype="f16",
        quantization=variant.quantization,
        kv_cache_tokens=context * slots,
        memory=_breakdown(gpus[0].cuda_total_bytes, needed),
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


def _breakdown(total: int, needed: Demand) -> MemoryBreakdown:
    def term(size: int, formula: str) -> Term:
        return Term(size, "derived", 0, formula, "this plan")

    cache = needed.cache
    if needed.state.bytes:
        cache = replace(
            cache, bytes=cache.bytes + needed.state.bytes, formula=f"{cache.formula}; {needed.state.formula}"
        )
    return MemoryBreakdown(
        total=term(total, "the driver's total, less what it keeps"),
        weights=needed.weights,
        kv_cache=cache,
        activation=needed.compute,
        graphs=term(0, "in what CUDA takes"),
        non_torch=needed.context,
        other=term(0, "none"),
        margin=term(_margin(needed), "the bands of the others"),
        free=term(max(total - needed.most, 0), "what is left"),
    )
