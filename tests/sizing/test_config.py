"""Every dialect of config.json is read; what cannot be true is refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from ingot.sizing import ConfigError, UnknownArchitecture, architecture_from_config, vllm
from ingot.sizing.attention import (
    ChunkedLocal,
    CrossAttention,
    FullAttention,
    GatedDeltaNet,
    LatentAttention,
    Mamba2,
    SlidingWindow,
)
from ingot.sizing.kv import CacheSettings, geometry
from ingot.sizing.quantization import scheme_of_config
from ingot.sizing.split import Parallel

pytestmark = pytest.mark.sizing


def kinds(config: dict[str, Any]) -> list[str]:
    return [type(layer.attention).__name__ for layer in architecture_from_config(config).layers]


@pytest.mark.parametrize(
    ("keys", "kv_heads"),
    [
        ({"num_key_value_heads": 4}, 4),
        ({"num_kv_heads": 4}, 4),
        ({"multi_query_group_num": 2}, 2),
        ({"num_attention_groups": 2}, 2),
        ({"n_head_kv": 1}, 1),
        ({}, 32),
        ({"model_type": "falcon", "multi_query": True}, 1),
        ({"model_type": "falcon", "multi_query": True, "new_decoder_architecture": True, "num_kv_heads": 8}, 8),
        ({"model_type": "dbrx", "attn_config": {"kv_n_heads": 8}}, 8),
    ],
)
def test_key_value_heads_have_many_names(qwen3: dict[str, Any], keys: dict[str, Any], kv_heads: int) -> None:
    del qwen3["num_key_value_heads"]
    attention = architecture_from_config(qwen3 | keys).layers[0].attention
    assert isinstance(attention, FullAttention)
    assert attention.kv_heads == kv_heads


def test_sizes_have_many_names(qwen3: dict[str, Any]) -> None:
    for old, new in (
        ("num_hidden_layers", "n_layer"),
        ("hidden_size", "n_embd"),
        ("num_attention_heads", "n_head"),
        ("vocab_size", "padded_vocab_size"),
        ("intermediate_size", "ffn_hidden_size"),
        ("max_position_embeddings", "seq_length"),
    ):
        qwen3[new] = qwen3.pop(old)
    architecture = architecture_from_config(qwen3)
    assert (len(architecture.layers), architecture.hidden_size, architecture.max_model_len) == (36, 4096, 40960)


def test_head_size_is_derived_only_where_it_is_not_stated(qwen3: dict[str, Any]) -> None:
    del qwen3["head_dim"]
    assert architecture_from_config(qwen3 | {"hidden_size": 2048}).layers[0].attention.head_dim == 64  # type: ignore[union-attr]
    assert architecture_from_config(qwen3 | {"head_dim": 128, "hidden_size": 2048}).layers[0].attention.head_dim == 128  # type: ignore[union-attr]


@pytest.mark.parametrize("key", ["text_config", "llm_config", "language_config"])
def test_nested_text_configs_are_found(qwen3: dict[str, Any], key: str) -> None:
    assert architecture_from_config({"model_type": "some_vl", key: qwen3}).vocab_size == 151936


def test_twice_nested_configs_are_found(qwen3: dict[str, Any]) -> None:
    nested = {"model_type": "omni", "thinker_config": {"text_config": qwen3}}
    assert architecture_from_config(nested).hidden_size == 4096


@pytest.mark.parametrize(
    ("keys", "pattern"),
    [
        ({"model_type": "gemma2", "sliding_window": 4096}, "SFSF"),
        ({"model_type": "gemma3_text", "sliding_window": 512, "sliding_window_pattern": 3}, "SSFS"),
        ({"model_type": "cohere2", "sliding_window": 4096}, "SSSF"),
        ({"model_type": "mistral", "sliding_window": 4096}, "SSSS"),
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False}, "FFFF"),
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 2}, "FFSS"),
        ({"model_type": "llama4_text", "attention_chunk_size": 8192}, "CCCF"),
        (
            {"model_type": "llama", "layer_types": ["full_attention", "sliding_attention"] * 2, "sliding_window": 8},
            "FSFS",
        ),
    ],
)
def test_each_family_has_its_pattern(qwen3: dict[str, Any], keys: dict[str, Any], pattern: str) -> None:
    letters = {FullAttention.__name__: "F", SlidingWindow.__name__: "S", ChunkedLocal.__name__: "C"}
    assert "".join(letters[kind] for kind in kinds(qwen3 | {"num_hidden_layers": 4} | keys)) == pattern


def test_delta_net_layers_lie_between_full_ones(qwen3: dict[str, Any]) -> None:
    states = {"linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
              "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4}  # fmt: skip
    found = kinds(qwen3 | states | {"model_type": "qwen3_next", "num_hidden_layers": 4})
    assert found == [GatedDeltaNet.__name__] * 3 + [FullAttention.__name__]


def test_patterns_of_letters_are_read(qwen3: dict[str, Any]) -> None:
    states = {"model_type": "nemotron_h", "mamba_num_heads": 8, "mamba_head_dim": 64, "ssm_state_size": 128,
              "n_groups": 8, "conv_kernel": 4}  # fmt: skip
    found = kinds(qwen3 | states | {"num_hidden_layers": 3, "hybrid_override_pattern": "M-*"})
    assert found == [Mamba2.__name__, "NoneType", FullAttention.__name__]


def test_latent_attention_caches_one_vector(qwen3: dict[str, Any]) -> None:
    keys = {"model_type": "deepseek_v3", "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
            "v_head_dim": 128}  # fmt: skip
    assert architecture_from_config(qwen3 | keys).layers[0].attention == LatentAttention(512, 64)


def test_layers_that_read_anothers_cache_have_none(qwen3: dict[str, Any]) -> None:
    found = kinds(qwen3 | {"num_hidden_layers": 4, "num_kv_shared_layers": 2})
    assert found == [FullAttention.__name__] * 2 + ["NoneType"] * 2


@pytest.mark.parametrize(
    ("scaling", "longest"),
    [
        (None, 40960),
        ({"rope_type": "yarn", "factor": 4.0}, 40960),
        ({"type": "linear", "factor": 4.0}, 163840),
        ({"rope_type": "dynamic", "factor": 2}, 81920),
        ({"rope_type": "longrope", "factor": 32, "original_max_position_embeddings": 4096}, 40960),
    ],
)
def test_rope_scaling_extends_what_is_not_extended_yet(
    qwen3: dict[str, Any], scaling: dict[str, Any] | None, longest: int
) -> None:
    assert architecture_from_config(qwen3 | {"rope_scaling": scaling}).max_model_len == longest


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0"),
        ({"num_hidden_layers": -3}, "expected a whole number"),
        ({"num_hidden_layers": 10**9}, "at most"),
        ({"hidden_size": "4096"}, "hidden_size = '4096'"),
        ({"hidden_size": float("nan")}, "hidden_size = nan"),
        ({"num_key_value_heads": 5}, "multiple"),
        ({"vocab_size": None}, "none of vocab_size"),
        ({"torch_dtype": "int3"}, "torch_dtype"),
        ({"head_dim": None, "hidden_size": 4097}, "does not divide"),
        ({"quantization_config": {"quant_method": "new"}}, "new"),
    ],
)
def test_a_config_that_cannot_be_true_is_refused(qwen3: dict[str, Any], change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        architecture_from_config(qwen3 | change)


@pytest.mark.parametrize("model_type", ["deepseek_v32", "glm_moe_dsa", "kimi_linear", "jamba", "zamba2"])
def test_what_is_not_modelled_is_refused_with_its_reason(qwen3: dict[str, Any], model_type: str) -> None:
    with pytest.raises(UnknownArchitecture, match="not modelled: it"):
        architecture_from_config(qwen3 | {"model_type": model_type})


@pytest.mark.parametrize("model_type", ["foobar", "mimo_v2_flash", "nemotron-nas", "plamo2", "", "qwen9"])
def test_what_is_on_no_list_is_refused_and_says_how_to_plan_it_all_the_same(
    qwen3: dict[str, Any], model_type: str
) -> None:
    with pytest.raises(UnknownArchitecture, match="`approximate: true`"):
        architecture_from_config(qwen3 | {"model_type": model_type})
    read = architecture_from_config(qwen3 | {"model_type": model_type}, approximate=True)
    assert read.approximate
    assert read.layers == architecture_from_config(qwen3).layers
    assert not architecture_from_config(qwen3, approximate=True).approximate


BGE_M3: dict[str, Any] = {
    "architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "num_hidden_layers": 24, "hidden_size": 1024,
    "num_attention_heads": 16, "intermediate_size": 4096, "vocab_size": 250002, "max_position_embeddings": 8194,
    "pad_token_id": 1, "torch_dtype": "float32",
}  # fmt: skip
WHISPER: dict[str, Any] = {
    "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "d_model": 1280,
    "decoder_layers": 4, "encoder_layers": 32, "num_hidden_layers": 32, "decoder_attention_heads": 20,
    "decoder_ffn_dim": 5120, "encoder_ffn_dim": 5120, "vocab_size": 51866, "max_source_positions": 1500,
    "max_target_positions": 448, "num_mel_bins": 128, "torch_dtype": "float16",
}  # fmt: skip


def test_an_encoder_keeps_nothing_and_weighs_all_its_layers() -> None:
    bge = architecture_from_config(BGE_M3)
    assert {layer.attention for layer in bge.layers} == {None}
    assert bge.parameters == pytest.approx(568e6, rel=0.02)  # as its card says
    assert bge.max_model_len == 8192


def test_a_speech_decoder_keeps_what_its_encoder_saw() -> None:
    turbo = architecture_from_config(WHISPER)
    assert turbo.parameters == pytest.approx(809e6, rel=0.02)  # whisper-large-v3-turbo, as its card says
    assert turbo.max_model_len == 448
    assert [type(layer.attention).__name__ for layer in turbo.layers] == ["FullAttention", "CrossAttention"] * 4
    assert turbo.layers[1].attention == CrossAttention(20, 64, 64, 1500)
    pool = geometry(turbo, Parallel(), CacheSettings(), vllm())
    # 448 tokens of its own in 28 blocks, 1,500 frames in 94, each for four layers.
    assert pool.blocks_per_request(448, 2048) == 28 + 94
    assert pool.block_bytes == 4 * 16 * 20 * 2 * 64 * 2


def test_audio_towers_are_counted_beside_image_towers(qwen3: dict[str, Any]) -> None:
    audio = {"d_model": 1280, "encoder_layers": 32, "encoder_ffn_dim": 5120}
    heard = architecture_from_config(
        {"model_type": "omni", "thinker_config": {"text_config": qwen3, "audio_config": audio}}
    )
    assert heard.encoder is not None
    assert heard.encoder.parameters == 32 * 12 * 1280**2 + 1280 * 4096 + 4096**2


def test_unknown_kinds_of_layers_are_refused(qwen3: dict[str, Any]) -> None:
    with pytest.raises(UnknownArchitecture, match="retention"):
        architecture_from_config(qwen3 | {"layer_types": ["retention"] * 36})


@pytest.mark.parametrize(
    ("section", "scheme", "cache"),
    [
        (None, "none", None),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block", None),
        ({"quant_method": "fbgemm_fp8"}, "fp8", None),
        ({"quant_method": "awq", "bits": 4}, "awq-int4", None),
        ({"quant_method": "gptq", "bits": 8}, "int8", None),
        ({"quant_method": "mxfp4"}, "mxfp4", None),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bnb-nf4", None),
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}},
         "nvfp4", "fp8"),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "type": "int"}}}},
         "int4", None),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8},
          "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float"}}}}, "fp8", "fp8"),
    ],
)  # fmt: skip
def test_quantization_sections_name_scheme_and_cache(
    section: dict[str, Any] | None, scheme: str, cache: str | None
) -> None:
    assert scheme_of_config({"quantization_config": section}) == (scheme, cache)
