"""Hosts and what they are asked for, of every kind that the planner tells apart: each plan as a whole, and what else
there would be; or the refusal with its sums and what would fit instead.

The rules are judged elsewhere, one by one (test_planner.py, test_options.py, test_alternatives.py). Here a change of
one shows whatever else it changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from ingot.catalog import hardware_from_name, load_models
from ingot.catalog.load import peaks
from ingot.sizing import (
    GPU,
    Adapter,
    Calibration,
    CalibrationKey,
    DoesNotFit,
    EngineArguments,
    Hardware,
    HostPlan,
    Model,
    ModelRequest,
    SizingError,
    Speculation,
    Workload,
    alternatives,
    fits,
    plan_host,
    vllm,
)
from tests.sizing.conftest import GIB, as_written, hardware, model, titles

pytestmark = pytest.mark.sizing

#: Makes a request when its test runs, so that nothing is read before.
Asked = Callable[[], ModelRequest]

#: Small models of several designs, read anew in each test; the values in the middle are their layers and widths.
SMALL = {
    "vocab_size": 32000, "num_hidden_layers": 16, "hidden_size": 2048, "num_attention_heads": 16,
    "num_key_value_heads": 4, "intermediate_size": 8192, "max_position_embeddings": 32768, "torch_dtype": "bfloat16",
}  # fmt: skip
DESIGNS: dict[str, dict[str, Any]] = {
    "dense": {"model_type": "llama"},
    "window": {"model_type": "gemma2", "sliding_window": 1024},
    "experts": {
        "model_type": "qwen3_moe", "num_experts": 32, "num_experts_per_tok": 4, "moe_intermediate_size": 1024,
    },
    "latent": {
        "model_type": "deepseek_v3", "n_routed_experts": 32, "num_experts_per_tok": 4, "moe_intermediate_size": 1024,
        "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128, "q_lora_rank": 768,
    },
    "states": {
        "model_type": "qwen3_next", "linear_num_key_heads": 16, "linear_num_value_heads": 32,
        "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "head_dim": 256,
    },
    "mamba": {
        "model_type": "nemotron_h", "hybrid_override_pattern": "M-M*" * 4, "mamba_num_heads": 64, "mamba_head_dim": 64,
        "ssm_state_size": 128, "n_groups": 8, "conv_kernel": 4,
    },
    "sees": {"model_type": "qwen2_5_vl", "vision_config": {"hidden_size": 1280, "depth": 32}},
    "odd": {"model_type": "qwen9"},
    "many heads": {"model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 2},
    "uneven": {
        "model_type": "nemotron_h", "hybrid_override_pattern": "M-M*" * 4, "mamba_num_heads": 6, "mamba_head_dim": 64,
        "ssm_state_size": 128, "n_groups": 2, "conv_kernel": 4,
    },
    "chunks": {
        "model_type": "llama4_text", "attention_chunk_size": 1024, "num_experts": 8, "num_experts_per_tok": 1,
        "moe_intermediate_size": 2048,
    },
    "sees each": {"model_type": "mllama", "vision_config": {"hidden_size": 1280, "depth": 32}},
    "sees one size": {"model_type": "gemma3", "vision_config": {"hidden_size": 1152, "depth": 27}},
    "sees videos": {"model_type": "gemma4", "vision_config": {"hidden_size": 1152, "depth": 27}},
    "sees somehow": {"model_type": "pixtral", "vision_config": {"hidden_size": 1024, "depth": 24}},
    "keeps for others": {"model_type": "gemma3n", "num_kv_shared_layers": 6, "hidden_size_per_layer_input": 64},
    "embeds": {"model_type": "bert", "max_position_embeddings": 8192},
}  # fmt: skip
FOUR_LINKED = hardware(4, nvlink=True)
MIXED = Hardware(
    "mixed",
    (
        *(replace(gpu, name="NVIDIA A10G", compute_capability=(8, 6)) for gpu in hardware(2, total_gib=23).gpus),
        *(replace(gpu, index=gpu.index + 2, uuid=f"{gpu.uuid}-b") for gpu in hardware(2, total_gib=48).gpus),
    ),
)


def built(name: str, **changes: Any) -> Model:
    """A small model in two schemes, the lighter one of less quality."""
    made = model(
        {**SMALL, **DESIGNS[name]} if name != "odd" else SMALL | {"model_type": "llama"}, name, none=100, fp8=90
    )
    variants = made.variants
    if name == "odd":
        variants = tuple(replace(one, architecture=replace(one.architecture, approximate=True)) for one in variants)
    return replace(made, **{"variants": variants, **changes})


def ask(name: str, context: int = 4096, concurrency: int = 4, rate: float | None = None, **more: Any) -> Asked:
    return lambda: ModelRequest(built(name), Workload(context, concurrency, rate), **more)


def catalog(name: str, context: int, concurrency: int) -> Asked:
    return lambda: ModelRequest(load_models()[name], Workload(context, concurrency))


def with_weights(**changes: Any) -> Asked:
    """What is asked of a model whose best weights differ."""

    def asked() -> ModelRequest:
        best, *others = built("dense").variants
        return ModelRequest(built("dense", variants=(replace(best, **changes), *others)), Workload(4096, 4))

    return asked


def adapters(count: int, rank: int = 16) -> tuple[Adapter, ...]:
    return tuple(Adapter(f"a{index}", f"example/a{index}", None, rank) for index in range(count))


def measured(sequences: int, batch: int = 2048, **values: Any) -> Calibration:
    key = CalibrationKey(
        "example/dense-none", "none", "vllm 0.32.0", "cuda", "NVIDIA GeForce RTX 4090", 1, 1, sequences, batch
    )
    return Calibration(key, **values)


def others(used_gib: float, count: int = 1) -> Hardware:
    """GPUs of which other programs use some memory."""
    return hardware(count, free_gib=24 - used_gib)


@dataclass(frozen=True)
class Case:
    """What is planned: a host, what is asked of it, and with which engine and measurements."""

    host: Hardware
    requests: tuple[Asked, ...]
    engine: str = "0.32.0"
    build: Any = "cuda"
    calibrations: tuple[Calibration, ...] = ()
    rated: bool = True


def cases() -> Iterator[tuple[str, Case]]:
    one, two, four, eight = (hardware(count) for count in (1, 2, 4, 8))

    def case(name: str, host: Hardware, *requests: Asked, **more: Any) -> tuple[str, Case]:
        return name, Case(host, requests, **more)

    for name in DESIGNS:
        yield case(f"{name} on one", one, ask(name))
        yield case(f"{name} on four joined", FOUR_LINKED, ask(name, 16384, 64))
        yield case(f"{name} by an early engine", four, ask(name, 8192, 32), engine="0.8.0")
        yield case(f"{name} by a middle engine", two, ask(name, 8192, 32), engine="0.27.1")
    for goal in ("throughput", "latency"):
        yield case(f"for {goal}", four, ask("dense", 8192, 64, goal=goal))
        yield case(f"for {goal}, joined", FOUR_LINKED, ask("experts", 8192, 64, goal=goal))
        yield case(f"for {goal}, one at a time", four, ask("dense", 8192, 1, goal=goal))
        yield case(f"for {goal} with two replicas", four, ask("dense", 8192, 64, goal=goal, replicas=2))
    yield case("a rate is enough", four, ask("dense", 2048, 64, rate=1500.0))
    yield case("a rate is not reached", two, ask("dense", 2048, 64, rate=1e6))
    yield case("a rate for two models", four, ask("dense", 2048, 16, rate=100.0), ask("window", 2048, 16))
    yield case("two models take turns", eight, ask("dense", 8192, 64), ask("experts", 8192, 8))
    yield case("two models that share", one, ask("dense", share=True), ask("window", share=True))
    yield case("shares of two GPUs", two, ask("dense", share=True, replicas=2), ask("window"))
    yield case("two models that do not fit together", one, ask("dense"), ask("window"))
    yield case("three models on two", two, ask("dense"), ask("window"), ask("states"))
    yield case("kinds of GPUs", MIXED, ask("dense", 8192, 64))
    yield case("kinds of GPUs for two", MIXED, ask("dense", 8192, 64), ask("experts", 8192, 8))
    yield case("a variant", one, ask("dense", variant="fp8"))
    yield case("a cache of 8 bits", one, ask("dense", kv_cache_dtype="fp8"))
    old = Hardware("old", tuple(replace(gpu, compute_capability=(7, 5)) for gpu in two.gpus))
    yield case("GPUs without bfloat16", old, ask("dense"))
    yield case("GPUs without a cache of 8 bits", old, ask("dense", kv_cache_dtype="fp8"))
    yield case("adapters", one, ask("dense", adapters=adapters(4)))
    yield case(
        "adapters beside a draft", two, ask("experts", adapters=adapters(2, 64), speculation=Speculation("ngram", 3))
    )
    yield case("adapters over four", FOUR_LINKED, ask("experts", adapters=adapters(3, 20), replicas=1, goal="latency"))
    yield case("adapters beside a latent cache", four, ask("latent", 8192, 64, adapters=adapters(3, 8)))
    yield case(
        "the same model twice", four, ask("dense", replicas=1), ask("dense", replicas=2), ask("dense", variant="fp8")
    )
    yield case("a fixed cache that does not help", one, ask("dense", 32768, 512, kv_cache_dtype="fp8"))
    yield case("a fixed variant that does not help", one, ask("dense", 32768, 512, variant="fp8"))
    yield case("a built-in draft", one, ask("latent", speculation=Speculation("mtp", 2)))
    yield case("a draft's head", four, ask("dense", speculation=Speculation("eagle3", 3), replicas=2))
    yield case("no such draft", one, ask("dense", speculation=Speculation("medusa", 3)))
    yield case("text alone", one, ask("sees", arguments=EngineArguments(language_model_only=True)))
    yield case("no images", one, ask("sees", arguments=EngineArguments(limit_mm_per_prompt={"image": 0})))
    yield case("a cache in host memory", replace(one, host_memory_bytes=64 * GIB), ask("dense", kv_offload_gib=32.0))
    yield case("a cache in unknown memory", one, ask("dense", kv_offload_gib=32.0))
    yield case(
        "a cache in too little memory", replace(two, host_memory_bytes=64 * GIB), ask("dense", kv_offload_gib=32.0)
    )
    yield case("a cache that no engine offloads", one, ask("dense", kv_offload_gib=1.0), engine="0.18.0")
    yield case("others use memory", others(6), ask("dense", 8192, 16))
    yield case("others use nearly all memory", others(23), ask("dense"))
    yield case("weights are too large", one, catalog("llama-3.3-70b-instruct", 8192, 8))
    yield case("weights need stages", hardware(3), catalog("llama-3.3-70b-instruct", 4096, 1), rated=False)
    yield case("a cache that is too large", one, ask("dense", 32768, 512))
    yield case("a cache that is too large for its sequences", two, ask("states", 32768, 4096))
    yield case("images beside too large a cache", one, ask("sees", 32768, 64))
    yield case("images that leave too little room", one, ask("sees", 8192, 110))
    yield case("adapters that leave no room", others(20), ask("dense", adapters=adapters(1, 512)))
    yield case("too many adapters", others(4), ask("dense", 8192, 16, adapters=adapters(64, 256)))
    yield case(
        "a draft beside too large a cache", others(12), ask("dense", 16384, 30, speculation=Speculation("eagle3", 3))
    )
    yield case("a fixed variant that is too large", others(14), ask("dense", 8192, 42, variant="none"))
    yield case("a fixed cache that is too large", others(12), ask("dense", 16384, 24, kv_cache_dtype="auto"))
    yield case("heads that no split suits", hardware(3), catalog("qwen2.5-72b-instruct", 8192, 8))
    yield case("memory that is shared with the host", hardware_from_name("gb10"), catalog("gpt-oss-20b", 8192, 8))
    yield case("behind a switch", hardware_from_name("h100x8"), catalog("deepseek-v3.1", 32768, 64))
    yield case("over PCIe", hardware_from_name("l40sx8"), catalog("llama-3.3-70b-instruct", 32768, 64))
    yield case("tight", hardware_from_name("a10g"), catalog("qwen3-8b", 16384, 2))
    yield case("on processors", Hardware("cpu", (GPU(0, "CPU", "CPU", 64 * GIB, 48 * GIB),)), ask("dense"), build="cpu")
    yield case("measured", one, ask("dense"), calibrations=(
        measured(4, weights_bytes=6 * GIB, activation_bytes=GIB, non_torch_bytes=GIB // 5, graphs_bytes=GIB // 4),
        measured(4, weights_bytes=7 * GIB, activation_bytes=GIB, compiled=True),
        measured(5, weights_bytes=9 * GIB),
    ))  # fmt: skip
    logged = {"available_kv_bytes": 10 * GIB, "gpu_total_bytes": 24 * GIB, "gpu_memory_utilization": 0.92}
    yield case("measured as a rest", one, ask("dense"), calibrations=(
        measured(4, weights_bytes=7 * GIB, measured_at="2026-01-01", **logged),
    ))  # fmt: skip
    yield case("measured as a rest by a middle engine", one, ask("dense"), engine="0.27.0", calibrations=(
        replace(measured(4, weights_bytes=7 * GIB, **logged), key=replace(measured(4).key, engine="vllm 0.27.0")),
    ))  # fmt: skip
    yield case("measured while it compiled", one, ask("dense"), calibrations=(
        measured(4, weights_bytes=7 * GIB, activation_bytes=GIB, compiled=True),
    ))  # fmt: skip
    yield case("not pinned", one, with_weights(revision=None))
    yield case("of a known size", two, with_weights(checkpoint_bytes=5 * GIB))
    yield case("no GPU", Hardware("bare", ()), ask("dense"))
    yield case("no such variant", one, ask("dense", variant="int3"))
    yield case("no replicas", one, ask("dense", replicas=0))
    yield case("no cache in host memory", one, ask("dense", kv_offload_gib=0.0))
    yield case("a huge cache in host memory", one, ask("dense", kv_offload_gib=16384.0))
    yield case("a large cache in host memory", one, ask("dense", kv_offload_gib=16383.0))
    yield case("too long a context", one, ask("dense", 32769))
    yield case("pieces of a GPU", pieces(), ask("dense", 4096, 8))
    yield case("pieces that are too small", pieces(5), ask("dense", 4096, 8))


def pieces(memory_gib: int = 20) -> Hardware:
    return Hardware("mig", tuple(replace(gpu, mig_profile="2g.20gb") for gpu in hardware(3, total_gib=memory_gib).gpus))


def told(plan: HostPlan) -> Iterator[str]:
    """Each replica; those that are like another one on other GPUs in short."""
    known: dict[str, str] = {}
    for replica in plan.replicas:
        where = f"{replica.gpu_indices} {' '.join(replica.gpu_uuids)}"
        values = [
            f"{one.name} {getattr(replica, one.name)}"
            for one in fields(replica)
            if one.name not in ("gpu_indices", "gpu_uuids", "memory") and getattr(replica, one.name) != one.default
        ]
        terms = [
            f"    {one.name} {term.bytes} ± {term.band_bytes} {term.basis}: {term.formula}"
            for one in fields(replica.memory)
            for term in (getattr(replica.memory, one.name),)
        ]
        text = "\n".join([", ".join(values), *terms])
        yield f"  {where}: {f'as {known[text]}' if text in known else text}"
        known.setdefault(text, where)


def refused(error: SizingError) -> Iterator[str]:
    yield f"  {type(error).__name__}: {error}"
    if isinstance(error, DoesNotFit):
        yield f"    binding: {error.binding}; nearest: {'; '.join(error.nearest)}"
        yield from (f"    {what:<24}{value:>14}  {formula}" for what, value, formula in error.table)


def answered(case: Case) -> Iterator[str]:
    engine, requests = vllm(case.engine, case.build), [asked() for asked in case.requests]
    known: Mapping[str, Any] = peaks() if case.rated else {}
    options: dict[str, Any] = {"engine": engine, "calibrations": case.calibrations, "peaks": known}
    try:
        plan = plan_host(case.host, requests, **options)
    except SizingError as error:
        yield from refused(error)
        return
    assert plan == plan_host(case.host, requests[::-1], **options), "the order of requests says nothing"
    assert HostPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    assert case.calibrations or fits(case.host, requests, engine=engine)
    yield from told(plan)
    yield from (f"  or {one}" for one in alternatives(case.host, requests, **options))


CASES = dict(cases())


@pytest.mark.parametrize("name", CASES)
def test_each_situation_is_answered_as_written(name: str) -> None:
    as_written("situations.txt", name, answered(CASES[name]))


def test_nothing_else_is_written() -> None:
    assert titles("situations.txt") == list(CASES)
