"""A plan as rows that terminal and HTML show alike: what, how much, how it is known, and the formula behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ingot.sizing import Alternative, Calibration, HostPlan, ReplicaPlan, Term
from ingot.sizing.units import show_gib

# Name of a term, what people call it, and its colour (the same in terminal and HTML).
PARTS: Mapping[str, tuple[str, str]] = {
    "weights": ("weights", "#4269d0"),
    "kv_cache": ("KV cache", "#3ca951"),
    "activation": ("activation", "#efb118"),
    "graphs": ("CUDA graphs", "#ff725c"),
    "non_torch": ("non-torch", "#a463f2"),
    "other": ("other", "#9c6b4e"),
    "margin": ("margin", "#97bbf5"),
    "free": ("free", "#c9c9c9"),
}
BASES = {"measured": "measured", "derived": "derived", "default": "estimate"}


@dataclass(frozen=True, slots=True)
class Row:
    """One term of the arithmetic as text."""

    key: str
    label: str
    colour: str
    bytes: int
    size: str
    band: str
    basis: str
    formula: str
    source: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One number as predicted and as an engine measured it, as text."""

    label: str
    predicted: str
    measured: str
    difference: str


def rows(replica: ReplicaPlan) -> tuple[Row, ...]:
    """The terms of a replica's tightest GPU, in the order of its bar; empty terms are left out."""
    return tuple(
        _row(key, term) for key, term in replica.memory.items() if term.bytes or key in ("weights", "kv_cache")
    )


def _row(key: str, term: Term) -> Row:
    label, colour = PARTS[key]
    band = f"± {show_gib(term.band_bytes)}" if term.band_bytes else ""
    return Row(key, label, colour, term.bytes, show_gib(term.bytes), band, BASES[term.basis], term.formula, term.source)


def placement(replica: ReplicaPlan) -> str:
    """Where it runs: `GPU 0, 1 (2 x NVIDIA A10G), tensor parallel 2`."""
    if not replica.gpu_indices:
        return f"the host's processor, by {replica.engine}"
    indices = ", ".join(map(str, replica.gpu_indices))
    text = f"GPU {indices} ({len(replica.gpu_indices)} x {replica.gpu_name or 'GPU'})"
    if replica.tensor_parallel_size > 1:
        text += f", tensor parallel {replica.tensor_parallel_size}"
    if replica.pipeline_parallel_size > 1:
        text += f", {replica.pipeline_parallel_size} pipeline stages"
    if replica.data_parallel_size > 1:
        text += f", {replica.data_parallel_size} data parallel ranks that share the experts"
    if replica.hosts:
        text += f", on each of {', '.join(replica.hosts)}: one replica, whose head is {replica.hosts[0]}"
    return text


def arguments(replica: ReplicaPlan) -> tuple[tuple[str, str], ...]:
    """The engine's arguments that the plan decided."""
    chosen = [
        ("max_model_len", f"{replica.max_model_len}"),
        ("max_num_seqs", f"{replica.max_num_seqs}"),
        ("max_num_batched_tokens", f"{replica.max_num_batched_tokens}"),
        ("gpu_memory_utilization", f"{replica.gpu_memory_utilization:g}"),
        ("kv_cache_dtype", replica.kv_cache_dtype),
        ("quantization", replica.quantization),
    ]
    if replica.dtype != "auto":
        chosen.append(("dtype", replica.dtype))
    return tuple(chosen)


def capacity(replica: ReplicaPlan) -> str:
    """What the cache holds, in tokens and in sequences of full length."""
    text = f"{replica.kv_cache_tokens * replica.data_parallel_size:,} tokens"
    if replica.max_concurrency:
        text += f", {replica.max_concurrency:g} sequences of {replica.max_model_len:,}"
    return text


def speed(replica: ReplicaPlan, benchmarks: Mapping[str, str], measured: Calibration | None) -> str:
    """What a benchmark measured, by model; else its first start; else the estimated rates, labelled so.

    Empty where nothing was measured, and the GPU's peaks are not known.
    """
    if replica.model in benchmarks:
        return benchmarks[replica.model]
    if measured and measured.decode_tokens_per_s and measured.prefill_tokens_per_s:
        return (
            f"{measured.decode_tokens_per_s:,.3g} tokens/s for one sequence, {measured.prefill_tokens_per_s:,.3g} "
            f"tokens/s prefill; measured by its start at {measured.measured_at}"
        )
    rates = replica.estimate
    if rates is None:
        return ""
    sequences = rates.sequences or replica.max_num_seqs * replica.data_parallel_size
    return (
        f"{rates.output_tokens_per_s:,.0f} tokens/s for {sequences} sequences whose prompts are three times as long as "
        f"their answers, {rates.decode_tokens_per_s:,.0f} while no prompt is read ({rates.bound}), "
        f"{rates.prefill_tokens_per_s:,.0f} tokens/s prefill, first token of a full context after "
        f"{rates.first_token_s:g} s; {rates.basis}"
    )


def loading(replica: ReplicaPlan, measured: Calibration | None) -> str:
    """How a start reads its weights and why, and how long the last one took; empty where the engine decides."""
    parts = []
    if chosen := replica.loading:
        free = f"{show_gib(chosen.free_bytes)} of the host's memory free"
        if chosen.way == "prefetch":
            parts.append(f"{show_gib(chosen.file_bytes)} of files read ahead, {free}")
        else:
            parts.append(f"mapped and read as used: {show_gib(chosen.file_bytes)} of files, {free}")
    if measured and measured.loading_s is not None:
        ways = {"prefetch": "read ahead", "lazy": "mapped", None: "the engine's own way"}
        parts.append(f"the last start took {measured.loading_s:g} s ({ways.get(measured.loading, measured.loading)})")
    return "; ".join(parts)


def alternatives_of(found: Sequence[Alternative]) -> list[str]:
    """The next best ways to serve each model and why they lost, one line each."""
    lines = []
    for one in found:
        rates = ""
        if one.tokens_per_s is not None and one.request_s is not None:
            rates = f" ({one.tokens_per_s:,.0f} tokens/s, {one.request_s:g} s for a request alone)"
        lines.append(f"{one.model} instead by {one.what}{rates}: {one.why}")
    return lines


def differences(replica: ReplicaPlan, measured: Calibration) -> tuple[Difference, ...]:
    """Prediction beside measurement, where the engine said a number."""
    memory = replica.memory
    pairs = (
        ("weights", memory.weights.bytes, measured.weights_bytes),
        ("available for the cache", memory.kv_cache.bytes + memory.margin.bytes, measured.available_kv_bytes),
        ("activation", memory.activation.bytes, measured.activation_bytes),
        ("CUDA graphs", memory.graphs.bytes, measured.graphs_bytes),
        ("non-torch", memory.non_torch.bytes, measured.non_torch_bytes),
    )
    found = [
        Difference(label, show_gib(own), show_gib(real), _signed(show_gib, real - own))
        for label, own, real in pairs
        if real is not None
    ]
    blocks, tokens = measured.num_gpu_blocks, measured.kv_cache_tokens
    if blocks and tokens and replica.sequence_blocks:
        # The number of blocks follows the memory, what a block holds follows the model: the latter must be exact.
        own = int(blocks / replica.sequence_blocks * replica.max_model_len)
        found.append(
            Difference(f"tokens in {blocks:,} blocks", f"{own:,}", f"{tokens:,}", _signed(_number, tokens - own))
        )
    return tuple(found)


def _number(amount: float) -> str:
    return f"{amount:,.0f}"


def _signed(show: Callable[[float], str], amount: int) -> str:
    return f"{'+' if amount >= 0 else '-'}{show(abs(amount))}"


def measurement(plan: HostPlan, replica: ReplicaPlan, measured: tuple[Calibration, ...]) -> Calibration | None:
    """What was measured on this replica's shape, the newest of several."""
    for one in reversed(measured):
        key = one.key
        if (
            key.repository == replica.repository
            and key.quantization == replica.quantization
            and key.engine == plan.engine_of(replica)
            and key.tensor_parallel_size == replica.tensor_parallel_size
            and key.pipeline_parallel_size == replica.pipeline_parallel_size
            and key.data_parallel_size == replica.data_parallel_size
            and key.max_num_seqs == replica.max_num_seqs
            and key.max_num_batched_tokens == replica.max_num_batched_tokens
        ):
            return one
    return None
