"""Replicas of SGLang, TensorRT-LLM and TGI: whole GPUs of their own, the fewest that hold what is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.catalog import hardware_from_name, load_models
from ingot.sizing import DoesNotFit, Hardware, ModelRequest, ReplicaPlan, SizingError, Workload, plan_on_gpus
from ingot.sizing.engines.on_gpus import ACCOUNTS
from ingot.sizing.units import GIB

pytestmark = [pytest.mark.sizing, pytest.mark.engines]

MODELS = load_models()


def request(model: str, engine: str, context: int = 8192, concurrency: int = 16, **more: object) -> ModelRequest:
    return ModelRequest(MODELS[model], Workload(context, concurrency), engine=engine, **more)  # type: ignore[arg-type]


def planned(gpus: str, *requests: ModelRequest) -> tuple[ReplicaPlan, ...]:
    return plan_on_gpus(hardware_from_name(gpus), requests)


@pytest.mark.parametrize("engine", ACCOUNTS)
def test_its_cache_holds_what_is_asked(engine: str) -> None:
    (made,) = planned("h100x2", request("qwen3-8b", engine))
    assert (made.engine, made.tensor_parallel_size, made.variant) == (engine, 1, "bf16")
    # 36 layers of 8 heads of 128, keys and values in bfloat16.
    assert made.memory.kv_cache.bytes == made.kv_cache_tokens * 36 * 8 * 128 * 2 * 2
    assert made.kv_cache_tokens >= 16 * 8192
    assert sum(term.bytes for _, term in made.memory.items()) <= made.memory.total.bytes


def test_sglang_is_told_its_own_default_share() -> None:
    (made,) = planned("rtx4090x1", request("qwen3-0.6b", "sglang"))
    total = hardware_from_name("rtx4090x1").gpus[0].cuda_total_bytes
    # What is kept back: 1,536 MiB and 128 MiB for each GPU (arg_groups/memory_hook.py).
    assert made.gpu_memory_utilization == round(1 - (1536 + 128) * 2**20 / total, 3)
    assert made.max_num_batched_tokens == 4096


@pytest.mark.parametrize("engine", ["tensorrt-llm", "tgi"])
def test_a_step_holds_the_longest_prompt(engine: str) -> None:
    short, long = (planned("h100x1", request("qwen3-8b", engine, context, 2))[0] for context in (4096, 32768))
    assert (short.max_num_batched_tokens, long.max_num_batched_tokens) == (8192, 32768)
    # What a trial run is assumed to take is room for such a step as well.
    assert long.kv_cache_tokens <= short.kv_cache_tokens


def test_more_gpus_are_taken_where_one_is_too_few() -> None:
    (made,) = planned("a10gx4", request("qwen3-8b", "sglang"))
    assert made.tensor_parallel_size == 2 and made.gpu_indices == (0, 1)
    (alone,) = planned("h100x2", request("qwen3-8b", "sglang"))
    # Each of two holds half of the heads, and of the weights about half.
    assert made.memory.weights.bytes == pytest.approx(alone.memory.weights.bytes / 2, rel=0.01)


def test_no_two_replicas_share_a_gpu() -> None:
    made = planned("a10gx4", request("qwen3-0.6b", "sglang", replicas=3), request("qwen3-4b", "tgi", 4096, 4))
    taken = [uuid for one in made for uuid in one.gpu_uuids]
    assert len(made) == 4 and len(taken) == len(set(taken))
    assert {one.max_num_seqs for one in made if one.engine == "sglang"} == {6}


def test_more_replicas_than_gpus_are_refused() -> None:
    with pytest.raises(DoesNotFit, match="asked for 3 replicas with sglang, and no GPU is left for the next"):
        planned("rtx4090x2", request("qwen3-0.6b", "sglang", replicas=3))


@pytest.mark.parametrize("engine", ACCOUNTS)
def test_what_does_not_fit_is_refused_with_its_sums(engine: str) -> None:
    with pytest.raises(DoesNotFit) as refused:
        planned("rtx4090x1", request("qwen3-32b", engine, 32768, 16))
    said = str(refused.value)
    assert said.startswith(f"rtx4090x1: qwen3-32b does not fit with {engine}: ") and said.count(" GiB") >= 2


def test_what_others_hold_is_not_planned_with() -> None:
    hardware = hardware_from_name("h100x1")
    held = tuple(replace(gpu, free_bytes=24 * GIB) for gpu in hardware.gpus)
    (free,) = plan_on_gpus(hardware, [request("qwen3-8b", "sglang", 4096, 4)])
    (less,) = plan_on_gpus(Hardware("used", held), [request("qwen3-8b", "sglang", 4096, 4)])
    assert less.kv_cache_tokens < free.kv_cache_tokens / 4


def test_the_emptiest_gpus_are_taken() -> None:
    hardware = hardware_from_name("h100x4")
    held = tuple(replace(gpu, free_bytes=60 * GIB if gpu.index < 2 else None) for gpu in hardware.gpus)
    (made,) = plan_on_gpus(Hardware("used", held), [request("qwen3-8b", "sglang")])
    assert made.gpu_indices == (2,)


def test_a_model_with_states_is_refused() -> None:
    name = next(name for name, model in MODELS.items() if "qwen3-next" in name or "nemotron-h" in name)
    with pytest.raises(SizingError, match="keeps a state beside its tokens"):
        planned("h100x8", request(name, "sglang", 4096, 1))


def test_tgi_reads_no_format_that_is_younger() -> None:
    with pytest.raises(DoesNotFit, match="does not read weights in mxfp4"):
        planned("h100x1", request("gpt-oss-20b", "tgi", 4096, 1))


def test_a_context_beyond_the_models_is_refused() -> None:
    with pytest.raises(SizingError, match="was trained for"):
        planned("h100x1", request("qwen3-8b", "sglang", 1_000_000, 1))
