"""Cache geometry against numbers that real engines logged."""

from __future__ import annotations

from typing import Any

import pytest

from ingot.catalog import load_models
from ingot.sizing import Architecture, architecture_from_config, vllm
from ingot.sizing.engine import EngineProfile
from ingot.sizing.kv import CacheSettings, Geometry, geometry
from ingot.sizing.split import Parallel

from .conftest import GIB

pytestmark = pytest.mark.sizing


def shape(name: str) -> Architecture:
    return load_models()[name].variants[0].architecture


def pool(
    architecture: Architecture, tensor: int = 1, pipeline: int = 1, engine: EngineProfile | None = None, **settings: Any
) -> Geometry:
    return geometry(architecture, Parallel(tensor, pipeline), CacheSettings(**settings), engine or vllm("0.32.0"))


def test_grouped_query_attention_takes_144_kib_per_token_of_qwen3_8b() -> None:
    assert pool(shape("qwen3-8b")).block_bytes == 16 * 144 * 1024


def test_eight_bit_cache_takes_half() -> None:
    assert pool(shape("qwen3-8b"), element_bytes=1.0).block_bytes == 16 * 72 * 1024


def test_key_value_heads_are_copied_where_there_are_fewer_than_ranks() -> None:
    four, eight = pool(shape("qwen2.5-7b-instruct"), 4), pool(shape("qwen2.5-7b-instruct"), 8)
    assert four.block_bytes == eight.block_bytes == 16 * 28 * 128 * 2 * 2


def test_latent_attention_is_the_same_on_every_rank() -> None:
    assert pool(shape("deepseek-r1"), 1).block_bytes == pool(shape("deepseek-r1"), 8).block_bytes == 64 * 61 * 576 * 2


@pytest.mark.parametrize(
    ("name", "tensor", "tokens"),
    [("qwen3.5-27b", 4, 784), ("qwen3.5-27b", 1, 784), ("qwen3.5-9b", 4, 528)],
)
def test_blocks_beside_delta_net_states_have_the_logged_size(name: str, tensor: int, tokens: int) -> None:
    assert {group.block_size for group in pool(shape(name), tensor).groups} == {tokens}


NEMOTRON = {
    "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "num_hidden_layers": 56,
    "hidden_size": 4480, "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 131072, "intermediate_size": 15680, "mamba_num_heads": 128, "mamba_head_dim": 80,
    "ssm_state_size": 128, "n_groups": 8, "conv_kernel": 4,
    "hybrid_override_pattern": "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-",
}  # fmt: skip


def test_nemotron_h_has_blocks_of_672_tokens_while_its_states_had_16_bits() -> None:
    # vllm-project/vllm#24280 states 672; 32-bit states came with 0.20.
    architecture = architecture_from_config(NEMOTRON)
    assert {group.block_size for group in pool(architecture, engine=vllm("0.10.2")).groups} == {672}
    assert {group.block_size for group in pool(architecture).groups} == {1312}


def test_layers_of_two_kinds_are_grouped_by_the_smaller_kind() -> None:
    gemma = pool(shape("gemma-3-27b-it"))
    assert len(gemma.groups) == 7  # 52 sliding and 10 full: one group of 10 full, six of up to 10 sliding
    assert gemma.block_bytes == 10 * 16 * 16 * 128 * 2 * 2


def test_kinds_of_nearly_equal_number_share_the_larger_group() -> None:
    gpt_oss = pool(shape("gpt-oss-20b"))
    assert [group.layers for group in gpt_oss.groups] == [12, 12]


def test_before_hybrid_caches_every_layer_was_charged_in_full() -> None:
    old = pool(shape("gemma-3-27b-it"), engine=vllm("0.8.0"))
    assert len(old.groups) == 1
    assert old.block_bytes == 62 * 16 * 16 * 128 * 2 * 2


def test_a_sliding_window_holds_its_window_and_what_is_in_flight() -> None:
    gpt_oss = shape("gpt-oss-20b")
    sliding = {"0.20.0": (127 + 2048, 1), "0.32.0": (127 + 2 * 2048, 1)}
    for version, (tokens, extra) in sliding.items():
        expected = -(-tokens // 16) + extra + 131072 // 16
        assert pool(gpt_oss, engine=vllm(version)).blocks_per_request(131072, 2048) == expected


def test_one_request_of_minimax_length_needs_what_the_engine_said() -> None:
    # v1-refused-minimax-m27-offload: 48.44 GiB for 204,800 tokens of 62 layers, 8 heads of 128.
    config = {"model_type": "minimax_m2", "num_hidden_layers": 62, "hidden_size": 3072, "num_attention_heads": 48,
              "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 200064, "intermediate_size": 1536,
              "num_local_experts": 256, "num_experts_per_tok": 8}  # fmt: skip
    need = pool(architecture_from_config(config)).request_bytes(204800, 8192)
    assert round(need / GIB, 2) == 48.44


def test_the_longest_sequence_is_found_as_the_engine_finds_it() -> None:
    # v1-refused-qwen3coder480b-dp8-h20-095: 55.65 GiB available, estimated maximum length 235,296.
    config = {"model_type": "qwen3_moe", "num_hidden_layers": 62, "hidden_size": 6144, "num_attention_heads": 96,
              "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "intermediate_size": 8192}  # fmt: skip
    cache = pool(architecture_from_config(config), engine=vllm("0.10.1"))
    assert abs(cache.longest(int(55.65 * GIB), 262144, 8192) - 235296) <= 32


def test_pipeline_stages_divide_the_cache_by_layers() -> None:
    whole, half = pool(shape("qwen3-8b")), pool(shape("qwen3-8b"), pipeline=2)
    assert half.block_bytes * 2 == whole.block_bytes


def test_mtp_layers_and_guessed_tokens_are_counted() -> None:
    # v1-qwen38-27b-int4-gb10: 80.17 GiB, three guessed tokens, blocks of 800 tokens, 4.54 sequences of 262,144.
    cache = pool(
        shape("qwen3.5-27b"), engine=vllm("0.25.1"), block_size=800, prefix_caching=False, speculative=3, draft_layers=1
    )
    assert round(cache.concurrency(int(80.17 * GIB), 262144, 8192), 2) == 4.54


def test_wording_follows_the_version() -> None:
    gemma, available = shape("gemma-3-27b-it"), 20 * GIB
    old, new = pool(gemma, engine=vllm("0.13.0")), pool(gemma)
    assert old.tokens(available, 8192, 2048) == old.blocks(available) // 7 * 16
    assert new.tokens(available, 8192, 2048) == int(new.concurrency(available, 8192, 2048) * 8192)


def test_a_model_without_cache_needs_none() -> None:
    bert = {"model_type": "bert", "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12,
            "vocab_size": 30522, "intermediate_size": 3072, "max_position_embeddings": 512}  # fmt: skip
    cache = pool(architecture_from_config(bert))
    assert cache.groups == ()
    assert cache.tokens(GIB, 512, 2048) == 0


def test_a_start_of_the_cpu_build_on_a_test_host() -> None:
    # vLLM 0.32.0 on a test host: 0.25 GiB given, "174,720 tokens, Maximum concurrency for 4,096 tokens per request:
    # 42.66x", 1365 blocks in vllm:cache_config_info; the sandbox's tiny model.
    tiny = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "num_hidden_layers": 3, "hidden_size": 256,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "intermediate_size": 768,
            "vocab_size": 320}  # fmt: skip
    cache = pool(architecture_from_config(tiny), engine=vllm("0.32.0", "cpu"))
    assert cache.blocks(GIB // 4) == 1365
    assert cache.tokens(GIB // 4, 4096, 2048) == 174720
    assert round(cache.concurrency(GIB // 4, 4096, 2048), 2) == 42.66


def test_latent_attention_was_cached_uncompressed_before_0_7_1() -> None:
    # v0-refused-deepseek-coder-v2-v054: 2,368 tokens were left on eight GPUs of which weights take most.
    old = pool(shape("deepseek-r1"), 8, engine=vllm("0.5.4"), block_size=16)
    assert old.block_bytes == 16 * 61 * (128 // 8) * 2 * 256 * 2
