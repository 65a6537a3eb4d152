"""llama.cpp on GPUs, by itself, Ollama or LM Studio: what each GPU holds against published starts, the fewest of them,
and what does not fit.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingot.catalog import hardware_from_name, load_models
from ingot.sizing import DoesNotFit, Model, ModelRequest, ReplicaPlan, SizingError, Variant, Workload, plan_on_gpus
from ingot.sizing.engines.layers_on_gpus import demands
from ingot.sizing.engines.llama_cpp import CUDA_CONTEXT, CUDA_CONTEXT_BAND
from ingot.sizing.units import GIB, MIB

pytestmark = [pytest.mark.sizing, pytest.mark.engines]

STARTS = {one["id"]: one for one in json.loads((Path(__file__).parent / "data/engine_starts.json").read_text())}
MODELS = load_models()


def gguf(model: str, size: float, quantization: str = "gguf-q8") -> Variant:
    """A catalog's model as a file of so many GiB."""
    first = MODELS[model].variants[0]
    return replace(
        first, name="file", quantization=quantization, checkpoint_bytes=int(size * GIB), file="m.gguf", checkpoint=None
    )


def request(variant: Variant, context: int, slots: int, *, engine: str = "llama.cpp-cuda", **more: Any) -> ModelRequest:
    model = Model("tiny", (variant,))
    return ModelRequest(model, Workload(context, slots), engine=engine, **more)


def planned(gpus: str, *requests: ModelRequest) -> tuple[ReplicaPlan, ...]:
    return plan_on_gpus(hardware_from_name(gpus), requests)


def test_weights_of_a_published_start() -> None:
    """Qwen3-14B Q8_0 on an RTX 3090: all of the file but its embedding is on the GPU."""
    observed = STARTS["lc-qwen3-14b-q8-3090"]["observed"]
    (needed,) = demands(gguf("qwen3-14b", observed["file_size_gib"]), 32768, 1, 1)
    assert needed.weights.bytes == pytest.approx(observed["model_gpu_mib"] * MIB, rel=0.005)
    # f16, where that start had a cache of 34 / 32 bytes.
    assert needed.cache.bytes == pytest.approx(observed["kv_gpu_mib"] * MIB * 2 / (34 / 32), rel=1e-9)
    assert needed.most >= (observed["model_gpu_mib"] + 5120 + observed["compute_gpu_mib"]) * MIB + CUDA_CONTEXT


def test_no_more_than_the_file_is_counted_on_one_gpu() -> None:
    (needed,) = demands(gguf("qwen3-14b", 9), 4096, 1, 1)
    assert needed.weights.bytes + needed.weights.band_bytes <= 9 * GIB


def test_an_output_that_is_the_embedding_is_there_twice() -> None:
    variant = gguf("qwen3-0.6b", 0.6)
    assert variant.architecture.tied
    (needed,) = demands(variant, 4096, 1, 1)
    assert needed.weights.bytes == pytest.approx(0.6 * GIB, rel=1e-6)


def test_a_file_that_is_known_by_shapes_alone_has_a_wider_band() -> None:
    variant = gguf("qwen3-0.6b", 0.6)
    (known,), (unknown,) = (demands(one, 4096, 1, 1) for one in (variant, replace(variant, checkpoint_bytes=None)))
    assert known.weights.band_bytes == 0
    assert unknown.weights.band_bytes == int(unknown.weights.bytes * 0.02)


def test_layers_and_their_cache_are_split() -> None:
    variant = gguf("qwen3-14b", 14.61)
    (alone,) = demands(variant, 8192, 4, 1)
    first, second = demands(variant, 8192, 4, 2)
    assert first.cache.bytes + second.cache.bytes == alone.cache.bytes == 40 * 8 * 128 * 2 * 2 * 8192 * 4
    assert first.weights.bytes + second.weights.bytes == pytest.approx(alone.weights.bytes, rel=1e-6)
    assert second.weights.band_bytes > 0


def test_the_fewest_gpus_are_taken() -> None:
    (one,) = planned("rtx3090x2", request(gguf("qwen3-14b", 9), 8192, 4))
    assert (one.gpu_indices, one.engine, one.pipeline_parallel_size) == ((0,), "llama.cpp-cuda", 1)
    assert (one.max_model_len, one.max_num_seqs, one.kv_cache_tokens) == (8192, 4, 4 * 8192)
    assert sum(term.bytes for _, term in one.memory.items()) == one.memory.total.bytes
    (two,) = planned("rtx3090x2", request(gguf("qwen3-14b", 14.61), 8192, 8))
    assert (two.gpu_indices, two.pipeline_parallel_size, two.tensor_parallel_size) == ((0, 1), 2, 1)
    assert "more GPUs give room, not speed" in two.notes[0]


def test_it_is_split_over_any_number_of_gpus() -> None:
    # 64 heads are not divided by three.
    (made,) = planned("a10gx4", request(gguf("qwen3-32b", 50), 4096, 1))
    assert (made.pipeline_parallel_size, made.gpu_indices) == (3, (0, 1, 2))


@pytest.mark.parametrize("engine", ["ollama", "lmstudio"])
@pytest.mark.parametrize(("gpus", "size"), [("rtx3090x2", 9), ("rtx3090x2", 30), ("a10gx4", 50)])
def test_whichever_engine_starts_it_it_takes_the_same(engine: str, gpus: str, size: float) -> None:
    variant = gguf("qwen3-32b", size)
    (alone,), (made,) = (planned(gpus, request(variant, 5000, 2, engine=one)) for one in ("llama.cpp-cuda", engine))
    # 5,000 as llama.cpp rounds it up; every slot has as much.
    assert (made.max_model_len, made.max_num_seqs, made.kv_cache_tokens) == (5120, 2, 2 * 5120)
    # It works on fewer tokens at once, which are as many as llama.cpp's own micro-batch.
    assert (made.engine, alone.max_num_batched_tokens, made.max_num_batched_tokens) == (engine, 2048, 512)
    assert made.memory == alone.memory and made.gpu_indices == alone.gpu_indices
    assert made.kv_bytes_needed == alone.kv_bytes_needed == 64 * 8 * 128 * 2 * 2 * made.kv_cache_tokens


def test_ollama_computes_in_more_on_gpus_that_it_uses_no_flash_attention_on() -> None:
    hardware = hardware_from_name("rtx4090x1")
    old = replace(hardware, gpus=tuple(replace(gpu, compute_capability=(6, 1)) for gpu in hardware.gpus))
    asked = request(gguf("qwen3-8b", 5), 8192, 4, engine="ollama")
    new, more = (plan_on_gpus(one, [asked])[0].memory.activation.bytes for one in (hardware, old))
    # Scores of 32 heads over the contexts of a micro-batch.
    assert more - new > 512 * 8192 * 32 * 4 * 0.9
    # llama.cpp itself is told to use it.
    (told,) = plan_on_gpus(old, [replace(asked, engine="llama.cpp-cuda")])
    assert told.memory.activation.bytes == new


def test_ollama_serves_states_one_at_a_time() -> None:
    variant = gguf(next(name for name in MODELS if "qwen3-next" in name), 50)
    with pytest.raises(DoesNotFit, match="recurrent states one request after the other"):
        planned("h100x8", request(variant, 8192, 4, engine="ollama"))
    assert planned("h100x8", request(variant, 8192, 1, engine="ollama"))[0].max_num_seqs == 1
    assert planned("h100x8", request(variant, 8192, 4))[0].max_num_seqs == 4


@pytest.mark.parametrize("engine", ["ollama", "lmstudio"])
def test_parts_of_a_file_are_llama_cpps_alone(engine: str) -> None:
    variant = replace(gguf("qwen3-8b", 5), file="m-00001-of-00002.gguf")
    with pytest.raises(DoesNotFit, match=r"it is given one file, and m-00001-of-00002\.gguf begins a set of them"):
        planned("rtx4090x1", request(variant, 8192, 4, engine=engine))
    assert planned("rtx4090x1", request(variant, 8192, 4))


def test_the_fullest_gpu_decides() -> None:
    """Which of its GPUs comes last, with the output, is the driver's order."""
    hardware = hardware_from_name("rtx3090x2")
    asked = request(gguf("qwen3-14b", 14.61), 8192, 8)
    assert len(plan_on_gpus(hardware, [asked])[0].gpu_indices) == 2
    for full in (0, 1):
        gpus = tuple(replace(gpu, free_bytes=8 * GIB if gpu.index == full else None) for gpu in hardware.gpus)
        with pytest.raises(DoesNotFit, match=r"on 2 x NVIDIA GeForce RTX 3090 needs .* of 8\.00 GiB free"):
            plan_on_gpus(replace(hardware, gpus=gpus), [asked])


def test_what_something_else_holds_is_left_alone() -> None:
    hardware = hardware_from_name("rtx3090x1")
    busy = replace(hardware, gpus=(replace(hardware.gpus[0], free_bytes=10 * GIB),))
    asked = request(gguf("qwen3-14b", 9), 8192, 2)
    assert plan_on_gpus(hardware, [asked])
    with pytest.raises(DoesNotFit, match=r"file on 1 x NVIDIA GeForce RTX 3090 needs .* of 10\.00 GiB free"):
        plan_on_gpus(busy, [asked])


def test_bands_are_kept_free() -> None:
    (one,) = planned("rtx3090x1", request(gguf("qwen3-14b", 9), 8192, 2))
    memory = one.memory
    assert memory.margin.bytes >= memory.activation.bytes + CUDA_CONTEXT_BAND
    assert memory.non_torch.bytes == CUDA_CONTEXT


def test_no_two_replicas_share_a_gpu() -> None:
    made = planned("rtx3090x3", request(gguf("qwen3-14b", 9), 4096, 4, replicas=2))
    assert len({uuid for one in made for uuid in one.gpu_uuids}) == 2
    with pytest.raises(DoesNotFit, match="no GPU is left for the next"):
        planned("rtx3090x1", request(gguf("qwen3-14b", 9), 4096, 4, replicas=2))


def test_a_context_beyond_the_training_is_refused() -> None:
    with pytest.raises(SizingError, match="was trained for"):
        planned("h100x8", request(gguf("qwen3-14b", 9), 1_000_000, 1))
