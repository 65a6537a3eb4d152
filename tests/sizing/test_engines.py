"""The arithmetic of engines besides vLLM, formula by formula, on lines of published starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.sizing.engines import llama_cpp, sglang, tensorrt_llm, tgi
from ingot.sizing.engines.llama_cpp import CacheLayer, Settings, Shape, StateLayer
from ingot.sizing.errors import WorkloadError
from ingot.sizing.units import GIB, MIB, gib

pytestmark = pytest.mark.engines

LLAMA_8B = Shape(
    4096,
    128_256,
    ((CacheLayer(1024, 1024),),) * 32,
    heads=32,
    feed_forward=14_336,
    layer_weights=(100 * MIB,) * 32,
    output_weights=500 * MIB,
    tied_weights=500 * MIB,
    input_weights=500 * MIB,
)


def test_slots_that_share_a_cache_may_use_all_of_it() -> None:
    apart, shared = Settings(10_000, 4), Settings(10_000, 4, unified=True)
    assert (apart.cells, apart.streams) == (2560, 4)
    assert (shared.cells, shared.streams) == (10_240, 1)


@pytest.mark.parametrize(
    ("settings", "cells"),
    [
        # gemma4 12B with 4 slots: "creating SWA KV cache, size = 6144 cells".
        (Settings(8192, 4, unified=True, micro_batch=2048), 6144),
        (Settings(131_072, 1, micro_batch=512), 1536),
        (Settings(1024, 1), 1024),
        (Settings(131_072, 4, micro_batch=512), 1536),
    ],
)
def test_cells_of_a_window(settings: Settings, cells: int) -> None:
    assert settings.window_cells(1024) == cells


@pytest.mark.parametrize(("kind", "mib"), [("f16", 1024), ("q8_0", 544), ("q4_0", 288), ("f32", 2048)])
def test_types_of_the_cache(kind: str, mib: int) -> None:
    settings = Settings(8192, key_type=kind, value_type=kind)
    assert llama_cpp.cache_bytes(LLAMA_8B.layers, settings) == mib * MIB


def test_a_state_is_kept_for_each_slot() -> None:
    blocks = ((StateLayer(30_720, 786_432),),) * 48
    assert llama_cpp.state_bytes(blocks, Settings(4096, 4)) == 598.5 * MIB


def test_scores_are_held_where_flash_attention_is_off() -> None:
    """The two rows of one model differ by micro-batch x (heads + 1) x 4 per token: 164 and 2144 MiB."""
    short, long = (
        llama_cpp.compute_bytes(LLAMA_8B, Settings(context, flash_attention=False)).bytes for context in (2048, 32_768)
    )
    assert long - short == (2144 - 164) * MIB


def test_builds_that_keep_logits_of_every_token() -> None:
    """Qwen3-14B: CUDA0 compute buffer size = 306.75 MiB."""
    shape = replace(LLAMA_8B, width=5120, vocabulary=151_936, feed_forward=17_408)
    assert llama_cpp.compute_bytes(shape, Settings(32_768, logits_for_all=True)).bytes == 306.75 * MIB


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"key_type": "q6_K"}, "cannot be of type 'q6_K', expected f32, f16"),
        ({"value_type": "q8_0", "flash_attention": False}, "needs flash attention"),
        ({"parallel": 0}, "from 1 on"),
    ],
)
def test_settings_that_llama_cpp_refuses(settings: dict[str, object], words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        Settings(4096, **settings)  # type: ignore[arg-type]


def test_layers_are_split_by_free_memory() -> None:
    """Twelve of 40 layers on the first card and 28 on the second, as a start on two unlike cards printed."""
    shape = replace(LLAMA_8B, layers=((CacheLayer(8192, 8192),),) * 40, layer_weights=(0,) * 40)
    split = llama_cpp.placed(shape, (11.5, 28.5))
    assert [len([block for block in held if block < 40]) for held in split] == [12, 28]
    caches = [one.cache.bytes for one in llama_cpp.demands(shape, Settings(4096), (11.5, 28.5))]
    assert caches == [1536 * MIB, 3584 * MIB]
    assert [list(held)[-1:] for held in llama_cpp.placed(shape, (1, 1, 1))][-1] == [40]


def test_one_gpu_holds_everything_but_the_embedding() -> None:
    (demand,) = llama_cpp.demands(LLAMA_8B, Settings(8192))
    assert demand.weights.bytes == 3700 * MIB
    assert demand.buffers == (3700 + 1024) * MIB + demand.compute.bytes
    assert demand.most > demand.buffers + 450 * MIB


def test_a_host_without_gpus_holds_everything() -> None:
    with_gpu = llama_cpp.host_terms(LLAMA_8B, Settings(8192, prompt_cache_bytes=GIB), gpus=True)
    without = llama_cpp.host_terms(LLAMA_8B, Settings(8192), gpus=False)
    assert with_gpu["prompt cache"].bytes == GIB and "weights" not in with_gpu
    # The embedding is tied: one copy serves both ends.
    assert without["weights"].bytes + without["inputs"].bytes == 3700 * MIB
    assert without["cache"].bytes == 1024 * MIB


def test_sglang_cache_of_qwq_on_four_l4() -> None:
    """avail mem 21.63 before, 15.54 of weights, share 0.85: #tokens 46611, K and V 1.42 GB each."""
    shape = sglang.Shape(sglang.token_bytes(64, 8, 128, 128, 4, 2))
    settings = sglang.Settings(131_072, tensor_parallel=4, share=0.85, max_running=2049, graph_batch=80, version=(0, 4))
    found = sglang.demand(shape, settings, gib(24), gib(21.63), gib(15.54))
    assert found.tokens == pytest.approx(46_611, rel=0.005)
    assert found.cache.bytes / GIB == pytest.approx(2.84, abs=0.01)
    # Memory pool end. avail mem=2.09 GB: the table of requests takes one more GiB.
    assert (found.before - found.buffers) / GIB == pytest.approx(2.09, abs=0.2)


def test_sglang_refuses_weights_above_its_share() -> None:
    settings = sglang.Settings(8192, share=0.6)
    with pytest.raises(
        WorkloadError, match=r"15\.00 GiB of 24\.00 GiB free, more than its share of 0\.60: .*above 0\.62"
    ):
        sglang.demand(sglang.Shape(131_072), settings, gib(24), gib(24), gib(15))


@pytest.mark.parametrize(
    ("version", "tp", "gpu", "share"),
    [((0, 4, 1), 1, 80, 0.88), ((0, 4, 9), 4, 24, 0.85), ((0, 4), 2, 24, 0.87)],
)
def test_sglang_shares_by_version(version: tuple[int, ...], tp: int, gpu: int, share: float) -> None:
    settings = sglang.Settings(8192, tensor_parallel=tp, version=version)
    assert sglang.default_share(gib(gpu), settings) == share


def test_sglang_refuses_a_share_that_leaves_nothing_for_graphs() -> None:
    """Before the pool was resized after capture, such a start ran out of memory while it captured."""
    settings = sglang.Settings(131_072, share=0.95, version=(0, 4, 9))
    with pytest.raises(
        WorkloadError, match=r"keeps 1\.20 GiB back, less than its table of 2048 requests .*share smaller"
    ):
        sglang.demand(sglang.Shape(131_072), settings, gib(24), gib(24), gib(15))
    fitting = replace(settings, context=8192, graph_batch=8)
    assert sglang.demand(sglang.Shape(131_072), fitting, gib(24), gib(24), gib(15)).outside.bytes > gib(0.4)


def test_sglang_keeps_more_back_on_large_cards_before_the_pool_is_resized() -> None:
    settings = sglang.Settings(8192, version=(0, 5, 3))
    assert sglang.default_share(gib(80), settings) == 0.836
    assert sglang.default_share(gib(80), replace(settings, chunk=2048, graph_batch=8)) == 0.875
    assert sglang.default_share(gib(80), replace(settings, version=(0, 5, 23))) == pytest.approx(0.98, abs=0.001)
    assert sglang.default_share(gib(80), replace(settings, version=(0, 5, 23)), latent=True) == 0.817


def test_sglang_running_requests() -> None:
    assert sglang.running_requests(46_611, 131_072) == 2048
    assert sglang.running_requests(1000, 8192) == 500
    assert sglang.running_requests(10**6, 8192) == 4096


def test_sglang_latent_attention_is_the_same_on_every_rank() -> None:
    assert sglang.latent_token_bytes(61, 512, 64, 2) == 61 * 576 * 2


def test_tensorrt_llm_takes_a_share_of_what_is_free() -> None:
    """total 31.84 GiB, available 17.83 GiB: 8219 blocks of 32 tokens with an 8-bit cache, 16.05 GiB."""
    per_token = tensorrt_llm.token_bytes(32, 8, 128, 1, 1)
    tokens, held = tensorrt_llm.cache(gib(17.83), per_token, tensorrt_llm.Settings())
    assert tokens == pytest.approx(263_008, rel=0.0005)
    assert held / GIB == pytest.approx(16.05, abs=0.01)
    assert tensorrt_llm.cache(gib(17.83), per_token, tensorrt_llm.Settings(max_tokens=1000))[0] == 992


def test_tensorrt_llm_refuses_weights_that_leave_nothing() -> None:
    with pytest.raises(WorkloadError, match="the cache would have nothing"):
        tensorrt_llm.demand(gib(24), gib(20), 131_072, tensorrt_llm.Settings())
    assert tensorrt_llm.demand(gib(80), gib(16), 131_072, tensorrt_llm.Settings()).tokens % 32 == 0


def test_tgi_keeps_a_tenth_back() -> None:
    size = tgi.block_bytes(32, 8, 128, 1, 256, 2)
    assert tgi.blocks(gib(80), gib(60), 10, size) == int(gib(60) - 0.1 * gib(80)) // size + 10
    with pytest.raises(WorkloadError, match="max-batch-prefill-tokens smaller"):
        tgi.blocks(gib(80), gib(5), 0, size)
