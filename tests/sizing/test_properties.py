"""No config and no list of GPUs makes the planner crash, exceed memory, or answer differently when reordered."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.sizing import (
    GPU,
    DoesNotFit,
    Hardware,
    Model,
    ModelRequest,
    SizingError,
    Variant,
    Workload,
    architecture_from_config,
    plan_host,
    vllm,
)
from ingot.sizing.config import LAYER_KEYS
from ingot.sizing.layers import KINDS
from ingot.sizing.quantization import SCHEMES

from .conftest import GIB, QWEN3_8B, model

pytestmark = pytest.mark.sizing

ENGINE = vllm("0.32.0")

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-10, 10**13), st.floats(), st.text(max_size=5), st.just([]), st.just({})
)
FIELDS = sorted({
    *QWEN3_8B, *LAYER_KEYS, "layer_types", "sliding_window", "kv_lora_rank", "num_experts", "rope_scaling",
    "vision_config", "text_config", "quantization_config", "n_shared_experts", "head_dim_v", "attention_chunk_size",
    "hybrid_override_pattern", "mamba_num_heads", "linear_num_key_heads",
})  # fmt: skip


@st.composite
def damaged_configs(draw: st.DrawFn) -> dict[str, Any]:
    config = dict(QWEN3_8B)
    config["model_type"] = draw(
        st.sampled_from(["qwen3", "llama", "gemma3", "deepseek_v3", "nemotron_h", "x", "qwen3_5"])
    )
    for field in draw(st.lists(st.sampled_from(FIELDS), max_size=6, unique=True)):
        config[field] = draw(JUNK)
    for field in draw(st.lists(st.sampled_from(sorted(config)), max_size=3, unique=True)):
        del config[field]
    return config


@st.composite
def sound_configs(draw: st.DrawFn) -> dict[str, Any]:
    heads = draw(st.sampled_from([1, 2, 4, 6, 8, 14, 32, 64]))
    kv_heads = draw(st.sampled_from([count for count in (1, 2, 4, 8) if heads % count == 0]))
    depth = draw(st.integers(1, 40))
    config: dict[str, Any] = {
        "architectures": ["AnyForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": depth,
        "hidden_size": heads * draw(st.sampled_from([32, 64, 128])),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": draw(st.integers(64, 30000)),
        "vocab_size": draw(st.integers(10, 300000)),
        "tie_word_embeddings": draw(st.booleans()),
    }
    kind = draw(st.sampled_from(["full", "sliding", "hybrid", "experts"]))
    if kind == "sliding":
        config |= {"sliding_window": draw(st.integers(1, 5000)), "sliding_window_pattern": draw(st.integers(1, 7))}
    if kind == "hybrid":
        kinds = [name for name in KINDS if KINDS[name] in ("full", "delta")]
        config["layer_types"] = draw(st.lists(st.sampled_from(kinds), min_size=depth, max_size=depth))
        config |= {"linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
                   "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4}  # fmt: skip
    if kind == "experts":
        config |= {"num_experts": draw(st.integers(2, 64)), "num_experts_per_tok": 2, "moe_intermediate_size": 512}
    return config


@st.composite
def gpu_lists(draw: st.DrawFn) -> tuple[GPU, ...]:
    count = draw(st.integers(0, 8))
    gpus = []
    for index in range(count):
        total = draw(st.integers(-1, 200)) * GIB
        gpus.append(
            GPU(
                index=index,
                uuid=f"GPU-{index}",
                name=draw(st.sampled_from(["NVIDIA A", "NVIDIA B"])),
                vram_bytes=total,
                free_bytes=draw(st.one_of(st.none(), st.integers(0, 210).map(lambda size: size * GIB))),
                compute_capability=draw(st.sampled_from([None, (7, 5), (8, 0), (9, 0)])),
                nvlink_peers=frozenset(draw(st.lists(st.integers(0, 9), max_size=4))),
                unified_memory=draw(st.booleans()),
            )
        )
    return tuple(gpus)


def requests_for(config: dict[str, Any], context: int, concurrency: int, *, share: bool) -> list[ModelRequest]:
    architecture = architecture_from_config(config)
    variants = tuple(
        Variant(scheme, f"example/{scheme}", "r", scheme, architecture, quality=SCHEMES[scheme].quality)
        for scheme in ("none", "fp8", "awq-int4")
    )
    one = ModelRequest(Model("one", variants), Workload(context, concurrency), share=share)
    other = ModelRequest(Model("other", variants[1:]), Workload(max(context // 2, 1), concurrency), share=share)
    return [one, other]


@settings(max_examples=300, deadline=None)
@given(damaged_configs())
def test_any_config_is_read_or_refused_in_a_sentence(config: dict[str, Any]) -> None:
    try:
        architecture = architecture_from_config(config)
    except SizingError as refused:
        assert len(str(refused)) > 20
    else:
        assert architecture.parameters > 0


@settings(max_examples=120, deadline=None)
@given(sound_configs(), gpu_lists(), st.integers(1, 100_000), st.integers(1, 300), st.booleans(), st.integers(0, 99))
def test_a_plan_fits_its_gpus_whatever_they_are_and_in_any_order(
    config: dict[str, Any], gpus: tuple[GPU, ...], context: int, concurrency: int, share: bool, seed: int
) -> None:
    requests = requests_for(config, context, concurrency, share=share)
    shuffled, reordered = list(gpus), list(requests)
    random.Random(seed).shuffle(shuffled)
    reordered.reverse()
    try:
        plan = plan_host(Hardware("h", gpus), requests, engine=ENGINE)
    except SizingError as refused:
        with pytest.raises(type(refused)):
            plan_host(Hardware("h", tuple(shuffled)), reordered, engine=ENGINE)
        return
    assert plan == plan_host(Hardware("h", tuple(shuffled)), reordered, engine=ENGINE)
    by_uuid = {gpu.uuid: gpu for gpu in gpus}
    taken = dict.fromkeys(by_uuid, 0)
    for replica in plan.replicas:
        memory = replica.memory
        assert sum(term.bytes for _, term in memory.items()) == memory.total.bytes
        assert all(term.bytes >= 0 for _, term in memory.items())
        assert memory.kv_cache.bytes >= replica.kv_bytes_needed
        assert len(replica.gpu_uuids) == replica.tensor_parallel_size * replica.pipeline_parallel_size
        assert len(set(replica.gpu_uuids)) == len(replica.gpu_uuids)
        for uuid in replica.gpu_uuids:
            taken[uuid] += int(memory.total.bytes * replica.gpu_memory_utilization)
            assert memory.total.bytes <= by_uuid[uuid].vram_bytes
    for uuid, used in taken.items():
        assert used <= by_uuid[uuid].cuda_free_bytes


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(6, 96), st.integers(1, 40960), st.integers(1, 64))
def test_what_is_suggested_instead_does_fit(count: int, total_gib: int, context: int, concurrency: int) -> None:
    gpus = tuple(
        GPU(index, f"GPU-{index}", "NVIDIA A", total_gib * GIB, compute_capability=(9, 0)) for index in range(count)
    )
    host = Hardware("h", gpus)
    request = ModelRequest(model(none=100, awq_int4=84), Workload(context, concurrency))
    try:
        plan_host(host, [request], engine=ENGINE)
    except DoesNotFit as error:
        for one in error.nearest:
            words = one.split()
            if "tokens of context" in one:
                plan_host(host, [ModelRequest(request.model, Workload(int(words[2]), concurrency))], engine=ENGINE)
            elif "at once" in one:
                plan_host(host, [ModelRequest(request.model, Workload(context, int(words[2])))], engine=ENGINE)
