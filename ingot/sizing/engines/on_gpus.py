"""Replicas of engines besides vLLM on GPUs: each takes whole GPUs of its own, the fewest that hold it.

What each of them does with a GPU's memory is its own file beside this one; llama.cpp's, by whichever engine it is
started, is `layers_on_gpus`. What is not known exactly of the others is counted so that it can only be less: windows as
if every token stayed, caches in the model's own number format, bands at their upper end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ingot.sizing.architecture import Architecture
from ingot.sizing.attention import CrossAttention, GatedDeltaNet, LatentAttention, Mamba2
from ingot.sizing.engines import layers_on_gpus, sglang, tensorrt_llm, tgi
from ingot.sizing.errors import WorkloadError
from ingot.sizing.fit import DoesNotFit
from ingot.sizing.gguf.parts import part_names
from ingot.sizing.hardware import GPU, Hardware
from ingot.sizing.memory import MemoryBreakdown, Term
from ingot.sizing.option import BFLOAT16_CAPABILITY, known_weights
from ingot.sizing.plan import ReplicaPlan
from ingot.sizing.request import ModelRequest, Variant
from ingot.sizing.split import Parallel, tensor_sizes
from ingot.sizing.start import CONTEXT
from ingot.sizing.units import DTYPE_BYTES, GIB, ceil_div, show_gib
from ingot.sizing.weights import KNOWN_SIZE_BAND, stage_weights

#: TensorRT-LLM and TGI read a prompt in one piece, so that a step has room for the longest; at least for this many.
LEAST_STEP = 8192
#: Formats of weights that an engine was made before.
UNREAD: Mapping[str, frozenset[str]] = {"tgi": frozenset({"mxfp4", "nvfp4"})}
#: What runs llama.cpp: it splits a model by its layers, whatever the number of its heads.
BY_LAYERS = frozenset({"llama.cpp-cuda", "lmstudio", "ollama"})
#: What is given one file of a model, not the parts of one.
ONE_FILE = BY_LAYERS - {"llama.cpp-cuda"}
#: How far weights that are known by their shapes alone may be off.
SHAPES_BAND = 0.02


@dataclass(frozen=True, slots=True)
class Account:
    """One GPU of a replica: where its memory goes, the tokens of its cache, and what the engine is told of both."""

    weights: Term
    cache: Term
    work: Term
    outside: Term
    tokens: int
    share: float
    step: int

    @property
    def bytes(self) -> int:
        """Bytes in use with every band at its upper end."""
        parts = (self.weights, self.work, self.outside)
        return self.cache.bytes + sum(one.bytes + one.band_bytes for one in parts)


@dataclass(frozen=True, slots=True)
class Ask:
    """What one GPU of a replica shall hold: the model's rank, so many sequences of so many tokens."""

    architecture: Architecture
    weights: Term
    token_bytes: int
    context: int
    sequences: int
    tensor: int


def plan_on_gpus(hardware: Hardware, requests: Sequence[ModelRequest]) -> tuple[ReplicaPlan, ...]:
    """The replicas of requests for these engines, each as asked, the best variant that fits on the fewest GPUs.

    Raises: DoesNotFit, one sentence with the arithmetic; WorkloadError for a model of which they are not planned.
    """
    left, made = list(hardware.ordered), list[ReplicaPlan]()
    for request in sorted(requests, key=lambda one: one.model.name):
        count = request.replicas or 1
        for number in range(count):
            replica = _placed(hardware, left, request, count, number)
            left = [gpu for gpu in left if gpu.uuid not in replica.gpu_uuids]
            made.append(replica)
    return tuple(made)


def _placed(hardware: Hardware, left: Sequence[GPU], request: ModelRequest, count: int, number: int) -> ReplicaPlan:
    host, name, slots = hardware.host, request.model.name, request.per_replica(count)
    replica = layers_on_gpus.replica if request.engine in BY_LAYERS else _replica
    reasons: list[str] = []
    for variant in request.model.variants:
        if request.variant not in (None, variant.name):
            continue
        if variant.quantization in UNREAD.get(request.engine, ()):
            reasons.append(f"it does not read weights in {variant.quantization}")
            continue
        if request.engine in ONE_FILE and len(part_names(variant.file or "")) > 1:
            reasons.append(f"it is given one file, and {variant.file} begins a set of them")
            continue
        _check(host, request, variant)
        for gpus in _places(hardware, left, request, variant):
            try:
                made = replica(request, variant, gpus, slots)
            except WorkloadError as error:
                reasons.append(str(error).rstrip("."))
                continue
            note = f"{request.engine}'s memory is judged on published starts alone: watch its first start"
            return replace(made, notes=(*made.notes, note))
    if not reasons:
        raise DoesNotFit(
            f"{host}: {name} is asked for {count} replicas with {request.engine}, and no GPU is left for the "
            f"{'first' if not number else 'next'}: ask for fewer replicas, or serve it elsewhere.",
            binding="GPUs",
        )
    raise DoesNotFit(
        f"{host}: {name} does not fit with {request.engine}: {reasons[-1]}; ask for less context or concurrency, or a "
        "smaller variant.",
        binding="memory of a GPU",
    )


def _check(host: str, request: ModelRequest, variant: Variant) -> None:
    shape, context = variant.architecture, request.workload.context
    if shape.max_model_len is not None and context > shape.max_model_len:
        raise WorkloadError(
            f"{host}: {request.model.name} was trained for {shape.max_model_len:,} tokens, {context:,} are asked for; "
            "ask for less context."
        )
    unknown = CrossAttention if request.engine in BY_LAYERS else Mamba2 | GatedDeltaNet | CrossAttention
    if any(isinstance(layer.attention, unknown) for layer in shape.layers):
        raise WorkloadError(
            f"{host}: {request.model.name} keeps a state beside its tokens, of which {request.engine}'s arithmetic is "
            "not known here; take vllm."
        )


def _places(
    hardware: Hardware, left: Sequence[GPU], request: ModelRequest, variant: Variant
) -> Iterator[tuple[GPU, ...]]:
    """GPUs that a replica could have: the fewest first, of the smallest kind first, the emptiest of that kind.

    They are joined by NVLink where they can be, unless layers work in turn on them.
    """
    kinds: dict[tuple[int, str], list[GPU]] = {}
    for gpu in left:
        if variant.min_capability and gpu.compute_capability and gpu.compute_capability < variant.min_capability:
            continue
        kinds.setdefault((gpu.cuda_total_bytes, gpu.name), []).append(gpu)
    by_layers = request.engine in BY_LAYERS
    for size in range(1, len(left) + 1) if by_layers else tensor_sizes(variant.architecture, len(left)):
        for _, gpus in sorted(kinds.items()):
            # A process of CUDA sees one MIG instance.
            if size > len(gpus) or (size > 1 and gpus[0].mig_profile):
                continue
            islands = [] if by_layers else [[gpu for gpu in gpus if gpu.index in one] for one in hardware.islands]
            joined = next((one for one in islands if len(one) >= size), gpus)
            emptiest = sorted(joined, key=lambda gpu: (-gpu.cuda_free_bytes, gpu.index))[:size]
            yield tuple(sorted(emptiest, key=lambda gpu: gpu.index))


def _account(request: ModelRequest, variant: Variant, gpus: Sequence[GPU], sequences: int) -> Account:
    """The tightest of these GPUs. Raises: WorkloadError where the replica does not fit."""
    shape, tensor = variant.architecture, len(gpus)
    ask = Ask(
        shape, _weights(variant, tensor), _token_bytes(shape, tensor), request.workload.context, sequences, tensor
    )
    tightest = min(gpus, key=lambda gpu: gpu.cuda_free_bytes)
    account = ACCOUNTS[request.engine](ask, tightest.cuda_total_bytes, tightest.cuda_free_bytes - CONTEXT)
    wanted = request.workload.context * sequences
    where = f"on {tensor} x {tightest.name}"
    if account.tokens < wanted:
        raise WorkloadError(
            f"{where} its cache would hold {account.tokens:,} tokens, and {sequences} sequences of "
            f"{request.workload.context:,} are {wanted:,} ({show_gib(ask.weights.bytes)} weights, "
            f"{show_gib(account.work.bytes + account.outside.bytes)} to compute, "
            f"{show_gib(account.cache.bytes)} cache of {show_gib(tightest.cuda_free_bytes)} free)"
        )
    if account.bytes > tightest.cuda_free_bytes - CONTEXT:
        raise WorkloadError(
            f"{where} it would take {show_gib(account.bytes + CONTEXT)} of {show_gib(tightest.cuda_free_bytes)} free"
        )
    return account


def _weights(variant: Variant, tensor: int) -> Term:
    """Bytes of one rank."""
    parallel = Parallel(tensor)
    known = known_weights(variant, parallel, encoder=True)
    size = known.stages[0] if known else stage_weights(variant.architecture, variant.quantization, parallel)[0]
    band = int(size * (known.band if known else max(SHAPES_BAND, KNOWN_SIZE_BAND)))
    source = known.source if known else "shapes in the variant's format"
    return Term(size, "derived", band, "the checkpoint's tensors of one rank", source)


def _token_bytes(shape: Architecture, tensor: int) -> int:
    """Bytes of one token on one rank, over all layers, in the model's own number format."""
    element, total = DTYPE_BYTES[shape.dtype], 0
    for layer in shape.layers:
        kind = layer.attention
        if isinstance(kind, LatentAttention):
            total += sglang.latent_token_bytes(1, kind.kv_lora_rank, kind.rope_dim, element)
        elif kind is not None and not isinstance(kind, Mamba2 | GatedDeltaNet):
            total += sglang.token_bytes(1, kind.kv_heads, kind.head_dim, kind.head_dim_v, tensor, element)
    return total


def _step_bytes(ask: Ask, tokens: int) -> int:
    """What a step of so many tokens computes in, by the widths of a layer: an assumption, see docs/sizing.md."""
    width = 2 * ask.architecture.feed_forward // ask.tensor + 4 * ask.architecture.hidden_size
    return tokens * width * 2 + ask.sequences * ask.architecture.vocab_size * 4


def _sglang(ask: Ask, total: int, before: int) -> Account:
    settings = sglang.Settings(ask.context, ask.tensor, max_running=ask.sequences)
    latent = any(isinstance(layer.attention, LatentAttention) for layer in ask.architecture.layers)
    share = sglang.default_share(total, settings, latent=latent)
    # Told the share, so that it does not depend on which default a version has.
    settings = replace(settings, share=share)
    held = ask.weights.bytes + ask.weights.band_bytes
    found = sglang.demand(sglang.Shape(ask.token_bytes, latent=latent), settings, total, before, held)
    step, _ = sglang.by_card(total, settings)
    # What its share keeps back may be less than its table and its graphs take: it makes the cache smaller then.
    kept = before - ask.weights.bytes - ask.weights.band_bytes - found.cache.bytes
    missing = found.table.bytes + found.outside.bytes + found.outside.band_bytes - kept
    tokens = max(found.tokens - max(ceil_div(missing, ask.token_bytes), 0), 0)
    cache = replace(found.cache, bytes=tokens * ask.token_bytes)
    return Account(ask.weights, cache, found.table, found.outside, tokens, share, step)


def _tensorrt_llm(ask: Ask, total: int, before: int) -> Account:
    step = max(LEAST_STEP, ask.context)
    more = max(_step_bytes(ask, step) - tensorrt_llm.PEAK, 0)
    held = ask.weights.bytes + ask.weights.band_bytes
    found = tensorrt_llm.demand(before - more, held, ask.token_bytes, tensorrt_llm.Settings())
    outside = Term(more, "default", 0, "prompts that are longer than a trial run's", "an assumption")
    return Account(found.weights, found.cache, found.peak, outside, found.tokens, tensorrt_llm.SHARE, step)


def _tgi(ask: Ask, total: int, before: int) -> Account:
    step = max(LEAST_STEP, ask.context)
    work = _step_bytes(ask, step)
    # Nobody published what a prefill takes: half as much again, and what libraries keep.
    peak = Term(work, "default", work // 2 + GIB // 2, "a prefill of the longest prompt", "an assumption")
    left = before - ask.weights.bytes - ask.weights.band_bytes - peak.bytes - peak.band_bytes
    tokens = tgi.blocks(total, left, 0, ask.token_bytes)
    cache = Term(tokens * ask.token_bytes, "derived", 0, "free after a prefill - total / 10", "flash_causal_lm.py")
    none = Term(0, "derived", 0, "in the prefill", "flash_causal_lm.py")
    return Account(ask.weights, cache, peak, none, tokens, tgi.WIGGLE_ROOM, step)


#: Engine -> what it does with one GPU's memory, of so many bytes in all and before its weights.
ACCOUNTS: Mapping[str, Callable[[Ask, int, int], Account]] = {
    "sglang": _sglang,
    "tensorrt-llm": _tensorrt_llm,
    "tgi": _tgi,
}


def _replica(request: ModelRequest, variant: Variant, gpus: Sequence[GPU], sequences: int) -> ReplicaPlan:
    """A replica on these GPUs. Raises: WorkloadError where it does not fit."""
    account, context = _account(request, variant, gpus, sequences), request.workload.context
    capability = gpus[0].compute_capability
    old = capability is not None and capability < BFLOAT16_CAPABILITY
    return ReplicaPlan(
        model=request.model.name,
        variant=variant.name,
        repository=variant.repository,
        revision=variant.revision,
        gpu_uuids=tuple(gpu.uuid for gpu in gpus),
        gpu_indices=tuple(gpu.index for gpu in gpus),
        tensor_parallel_size=len(gpus),
        pipeline_parallel_size=1,
        data_parallel_size=1,
        max_model_len=context,
        max_num_seqs=sequences,
        max_num_batched_tokens=account.step,
        gpu_memory_utilization=account.share,
        kv_cache_dtype="auto",
        quantization=variant.quantization,
        kv_cache_tokens=account.tokens,
        memory=_breakdown(account, min(gpus, key=lambda gpu: gpu.cuda_free_bytes)),
        max_concurrency=round(account.tokens / context, 2),
        kv_bytes_needed=context * sequences * (account.cache.bytes // max(account.tokens, 1)),
        dtype="float16" if old and variant.architecture.dtype == "bfloat16" else "auto",
        gpu_name=gpus[0].name,
        engine=request.engine,
    )


def _breakdown(account: Account, gpu: GPU) -> MemoryBreakdown:
    band = sum(one.band_bytes for one in (account.weights, account.work, account.outside))
    total = gpu.cuda_total_bytes
    used = account.bytes + CONTEXT

    def term(size: int, formula: str) -> Term:
        return Term(size, "derived", 0, formula, "this plan")

    return MemoryBreakdown(
        total=term(total, "the driver's total, less what it keeps"),
        weights=account.weights,
        kv_cache=account.cache,
        activation=account.work,
        graphs=account.outside,
        non_torch=Term(CONTEXT, "default", 0, "what a process takes before it allocates anything", "published starts"),
        other=term(0, "none"),
        margin=term(band, "the bands of the others"),
        free=term(max(total - used, 0), "what it is told not to take"),
    )
