"""Dialects of config.json, small: what is read of each, number by number, or the sentence that refuses it.

The numbers are judged elsewhere, on models whose size is published (test_weights.py, test_config.py). Here each field
that a family may write, under each of its names, changes something that is written down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

from ingot.sizing import Architecture, SizingError, architecture_from_config
from ingot.sizing.architecture import WeightGroup
from tests.sizing.conftest import as_written, titles

pytestmark = pytest.mark.sizing

BASE: dict[str, Any] = {
    "architectures": ["SmallForCausalLM"], "model_type": "llama", "num_hidden_layers": 4, "hidden_size": 64,
    "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 128,
    "max_position_embeddings": 4096, "torch_dtype": "bfloat16",
}  # fmt: skip
EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
MAMBA: dict[str, Any] = {
    "mamba_n_heads": 4, "mamba_d_head": 32, "mamba_n_groups": 2, "mamba_d_state": 16, "mamba_d_conv": 4,
    "mamba_expand": 3,
}  # fmt: skip
LATENT: dict[str, Any] = {
    "model_type": "deepseek_v3", "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 12,
}  # fmt: skip
DELTA: dict[str, Any] = {
    "model_type": "qwen3_next", "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
    "linear_value_head_dim": 16, "linear_conv_kernel_dim": 3,
}  # fmt: skip
WHISPER: dict[str, Any] = {
    "model_type": "whisper", "d_model": 32, "decoder_layers": 2, "encoder_layers": 3, "decoder_attention_heads": 4,
    "decoder_ffn_dim": 80, "encoder_ffn_dim": 48, "vocab_size": 100, "max_target_positions": 448,
    "max_source_positions": 50, "num_mel_bins": 20, "torch_dtype": "float16",
}  # fmt: skip
TOWER: dict[str, Any] = {"hidden_size": 16, "depth": 3, "intermediate_size": 40}


def but(base: dict[str, Any], *left_out: str, **changed: Any) -> dict[str, Any]:
    return {key: value for key, value in {**base, **changed}.items() if key not in left_out}


def base(*left_out: str, **changed: Any) -> dict[str, Any]:
    return but(BASE, *left_out, **changed)


def sliding(model_type: str, **changed: Any) -> dict[str, Any]:
    return base(model_type=model_type, sliding_window=32, num_hidden_layers=6, **changed)


def renamed(old: str, *names: str) -> Iterator[dict[str, Any]]:
    for name in names:
        yield base(old, **{name: BASE[old]})


#: The families' fields, a line each; where several stand together, each is another name of the same.
CASES: dict[str, list[dict[str, Any]]] = {
    "plain": [
        base(), base("num_key_value_heads"), base("intermediate_size"), base("torch_dtype"), base("architectures"),
    ],
    "its name": [
        base(architectures="SmallForCausalLM"), base("architectures", "model_type"), base(architectures=[]),
        base(architectures=7), base("model_type", text_config=base("model_type"), model_type="llama"),
    ],
    "sizes by other names": [
        *renamed("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers"),
        *renamed("hidden_size", "n_embd", "d_model", "dim", "model_dim"),
        *renamed("num_attention_heads", "n_head", "n_heads", "num_heads"),
        *renamed("num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num", "num_attention_groups"),
        *renamed("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "d_ff"),
        *renamed("vocab_size", "padded_vocab_size", "n_vocab"),
        *renamed("max_position_embeddings", "n_positions", "seq_length", "model_max_length", "max_seq_len"),
    ],
    "head sizes": [
        base(head_dim=16), base(hidden_size_per_head=16), base(attention_head_dim=16), base(head_dim=0),
        base(head_dim=None, hidden_size=65),
    ],
    "numbers": [
        base(hidden_size=64.0), base(hidden_size=64.5), base(hidden_size="64"), base(hidden_size=True),
        base(hidden_size=float("inf")), base(vocab_size=None), base(vocab_size=2**40), base(vocab_size=2**40 - 1),
        base(intermediate_size=[96, 96]), base(intermediate_size=[96, 97]), base(intermediate_size=[]),
        base(num_hidden_layers=0), base(num_hidden_layers=1), base(num_hidden_layers=2048),
        base(num_hidden_layers=2049), base(num_key_value_heads=3),
    ],
    "number formats": [
        base(torch_dtype="float32"), base(torch_dtype="torch.float16"), base("torch_dtype", dtype="half"),
        base(torch_dtype="int3"),
    ],
    "tied": [
        base(tie_word_embeddings=True), base(tie_word_embeddings=False, model_type="gemma"), base(model_type="gemma"),
    ],
    "quantized": [
        base(quantization_config={"quant_method": "fp8", "kv_cache_scheme": "fp8"}),
        base(compression_config={"quant_method": "mxfp4"}), base(quantization_config="a note"),
        base(text_config=base(quantization_config={"quant_method": "awq"}), model_type="llava"),
        base(quantization_config={}, compression_config={"quant_method": "mxfp4"}), base(quantization_config={}),
        base(quantization_config={"quant_method": "gptq", "bits": 4}, compression_config={"quant_method": "mxfp4"}),
    ],
    "nested": [
        {"model_type": "llava", name: base()}
        for name in ("thinker_config", "text_config", "llm_config", "language_config", "llm", "language_model")
    ] + [{"model_type": "omni", "thinker_config": {"text_config": base()}}, base(text_config="none"), {"llm": base()}],
    "biases": [
        base(attention_bias=True), base(qkv_bias=True), base(model_type="qwen2"),
        base(model_type="qwen2", attention_bias=False),
    ],
    "gates": [base(attn_output_gate=True), base(model_type="opt"), base(model_type="nemotron")],
    "embeddings of layers": [
        base(hidden_size_per_layer_input=8), base(hidden_size_per_layer_input=8, vocab_size_per_layer_input=96),
    ],
    "caches of others": [base(num_kv_shared_layers=1), base(num_kv_shared_layers=4)],
    "heads of falcon": [
        base(model_type=name, multi_query=True, **more)
        for name in ("falcon", "RefinedWeb", "RefinedWebModel") for more in ({}, {"new_decoder_architecture": True})
    ] + [base(model_type="falcon"), base(multi_query=True), base(model_type="dbrx", attn_config={"kv_n_heads": 4}),
         base(attn_config={"kv_n_heads": 0}), base(attn_config={"kv_n_heads": "4"}), base(attn_config="none")],
    "global heads": [
        base(layer_types=["full_attention", "sliding_attention"] * 2, sliding_window=8, global_head_dim=32, **more)
        for more in ({}, {"num_global_key_value_heads": 4})
    ],
    "layers by name": [
        base(layer_types=[name] * 4, sliding_window=8, attention_chunk_size=16, **DELTA, **MAMBA)
        for name in ("full_attention", "attention", "global_attention", "sliding_attention", "local_attention",
                     "chunked_attention", "linear_attention", "mamba", "mamba2", "retention")
    ] + [base(layers_block_type=["attention"] * 4), base(layer_types=["full_attention"] * 3)],
    "layers by letter": [
        base(hybrid_override_pattern="M*-E", model_type="nemotron_h", **MAMBA),
        base(hybrid_override_pattern="M*-", model_type="nemotron_h", **MAMBA),
        base(hybrid_override_pattern="M*-X", model_type="nemotron_h", **MAMBA),
    ],
    "layers by family": [
        sliding("llama"), sliding("mistral"), sliding("gemma2"), sliding("gpt_oss"), sliding("gemma3"),
        sliding("gemma3_text"), sliding("cohere2"), sliding("gemma3n_text"), sliding("olmo3"), sliding("exaone4"),
        sliding("mistral", sliding_window_pattern=2), sliding("mistral", _sliding_window_pattern=3),
        base(model_type="gemma2"), base(model_type="llama4", attention_chunk_size=16), base(model_type="llama4_text"),
        base(model_type="granitemoehybrid"), base(model_type="nemotron_h"), base(model_type="bamba"),
    ] + [
        sliding(name, **more)
        for name in ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen2_5_vl", "qwen2_vl")
        for more in ({}, {"use_sliding_window": True}, {"use_sliding_window": True, "max_window_layers": 4})
    ],
    "lengths": [
        base("max_position_embeddings"), base(n_positions=2048), base(n_positions=8192),
        base(model_type="roberta", num_key_value_heads=8), base(model_type="xlm-roberta", pad_token_id=3),
    ],
    "rope": [
        base(rope_scaling=scaling) for scaling in (
            {"rope_type": "linear", "factor": 2}, {"type": "dynamic", "factor": 2.5}, {"factor": 2},
            {"rope_type": "default"}, {"rope_type": "linear", "factor": True}, {"rope_type": "linear", "factor": "2"},
            {"rope_type": "linear", "factor": 1}, {"rope_type": "linear", "factor": 0.5},
            {"rope_type": "linear", "factor": 2**40 + 1}, {"rope_type": "yarn", "factor": 4},
            {"rope_type": "llama3", "factor": 8}, {"rope_type": "su", "factor": 4},
            {"rope_type": "deepseek_yarn", "factor": 4}, {"rope_type": "longrope", "factor": 4}, "none",
        )
    ] + [
        base(rope_parameters={"rope_type": "linear", "factor": 2}),
        base(rope_scaling={"rope_type": "longrope"}, original_max_position_embeddings=512),
        base(rope_scaling={"rope_type": "linear", "factor": 2}, model_type="gemma3_text"),
        {"model_type": "gemma3", "text_config": base(rope_scaling={"rope_type": "linear", "factor": 2})},
    ],
    "experts": [
        base(**EXPERTS), base(**but(EXPERTS, "moe_intermediate_size")), base(**but(EXPERTS, num_experts=1)),
        base(**EXPERTS, first_k_dense_replace=2), base(**EXPERTS, mlp_only_layers=[1, 3]),
        base(**EXPERTS, mlp_only_layers=None), base(**EXPERTS, decoder_sparse_step=2),
        base(**EXPERTS, moe_layer_freq=4), base(**EXPERTS, interleave_moe_layer_step=3),
        base(**EXPERTS, intermediate_size_mlp=80, decoder_sparse_step=2),
        base(**EXPERTS, shared_expert_intermediate_size=40), base(**EXPERTS, shared_intermediate_size=40),
        base(**EXPERTS, n_shared_experts=2), base(**EXPERTS, num_shared_experts=2),
        base(**EXPERTS, n_shared_experts=2, moe_shared_expert_intermediate_size=10),
        base(**EXPERTS, shared_intermediate_size=40, n_shared_experts=1), base(**EXPERTS, model_type="llama4"),
        base(**EXPERTS, model_type="llama4_text"), base(**EXPERTS, model_type="qwen2_moe"),
        base(**EXPERTS, model_type="nemotron"),
    ] + [
        base(**but(EXPERTS, "num_experts"), **{name: 4})
        for name in ("moe_num_experts", "n_routed_experts", "num_local_experts")
    ] + [
        base(**but(EXPERTS, "num_experts_per_tok"), **{name: 2})
        for name in ("num_experts_per_token", "top_k_experts", "moe_topk", "moe_top_k", "moe_k", "experts_per_token")
    ],
    "latent": [
        base(**LATENT), base(**LATENT, q_lora_rank=24), base(**LATENT, q_lora_rank=0),
        base(**but(LATENT, model_type="llama")), base(**but(LATENT, "v_head_dim")),
        base(**but(LATENT, "qk_nope_head_dim")), base(**but(LATENT, "qk_rope_head_dim")),
        base(**but(LATENT, kv_lora_rank=0)),
    ],
    "delta nets": [
        base(**DELTA), base(**DELTA, full_attention_interval=2), base(**DELTA, mamba_ssm_dtype="float32"),
        base(**DELTA, attn_output_gate=False), base(**but(DELTA, model_type="qwen3_5")),
        base(**but(DELTA, model_type="qwen3_5_moe"), **EXPERTS), base(**DELTA, **EXPERTS),
    ] + [base(**but(DELTA, name)) for name in DELTA if name != "model_type"],
    "mamba": [
        base(model_type="mamba2", **MAMBA), base(model_type="mamba2", **but(MAMBA, "mamba_expand")),
        base(model_type="mamba2", **but(MAMBA, "mamba_expand"), expand=2.5),
        base(model_type="mamba2", **but(MAMBA, "mamba_n_groups")),
        base(model_type="mamba2", **MAMBA, mamba_ssm_cache_dtype="float32"),
        base(model_type="mamba2", **MAMBA, mamba_ssm_cache_dtype="float7"),
        base(model_type="nemotron_h", hybrid_override_pattern="MMMM", **MAMBA),
        base(model_type="nemotron_h", hybrid_override_pattern="MMMM", **MAMBA, mamba_ssm_cache_dtype="bfloat16"),
    ] + [
        base(model_type="mamba2", **but(MAMBA, old), **{new: MAMBA[old]})
        for old, *names in (
            ("mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "num_heads"),
            ("mamba_d_head", "mamba_head_dim", "mamba_headdim", "head_dim"),
            ("mamba_n_groups", "n_groups", "mamba_ngroups"), ("mamba_d_state", "ssm_state_size", "state_size"),
            ("mamba_d_conv", "conv_kernel"),
        ) for new in names
    ] + [base(model_type="mamba2", **but(MAMBA, name)) for name in ("mamba_d_state", "mamba_d_conv")],
    "encoders of texts": [base(model_type="bert"), base(model_type="modernbert", num_key_value_heads=8)],
    "speech": [
        WHISPER, but(WHISPER, "encoder_ffn_dim"), but(WHISPER, "num_mel_bins"), but(WHISPER, "max_source_positions"),
        but(WHISPER, "encoder_layers"), but(WHISPER, "decoder_layers", num_hidden_layers=5),
        but(WHISPER, encoder_layers=2048), but(WHISPER, encoder_layers=2049), but(WHISPER, num_mel_bins=True),
        but(WHISPER, d_model=2**20), but(WHISPER, d_model=2**20 - 4),
    ],
    "towers": [
        base(**{name: TOWER}) for name in ("vision_config", "audio_config", "audio_encoder")
    ] + [
        base(vision_config=tower) for tower in (
            but(TOWER, "intermediate_size"), but(TOWER, "intermediate_size", encoder_ffn_dim=24),
            but(TOWER, hidden_act="SiLU"), but(TOWER, hidden_act="gelu"), but(TOWER, "depth"),
            but(TOWER, "hidden_size"), but(TOWER, hidden_size=-1), but(TOWER, hidden_size="16"),
            but(TOWER, hidden_size=True), but(TOWER, hidden_size=2**20), but(TOWER, hidden_size=2**20 - 1),
            but(TOWER, depth=2048), but(TOWER, depth=2049), "none",
        )
    ] + [
        base(vision_config=but(TOWER, old, **{new: TOWER[old]})) for old, *names in (
            ("hidden_size", "embed_dim", "width", "d_model"),
            ("depth", "num_hidden_layers", "layers", "encoder_layers"),
        ) for new in names
    ] + [
        base(vision_config=TOWER, audio_config=but(TOWER, depth=1, hidden_size=24)),
        {"model_type": "qwen3_omni_moe", "thinker_config": {"text_config": base(), "vision_config": TOWER}},
    ],
    "not modelled": [
        base(model_type="jamba"), base(model_type="qwen9"), base(model_type=""),
        {"model_type": "minimax_m1", "text_config": base()},
    ],
}  # fmt: skip


def weights(groups: tuple[WeightGroup, ...]) -> str:
    """Each group's name, parameters and split, and what else is said of it."""
    usual = {"quantizable": True, "heads": 0, "rows": 0, "shape": (0, 0, 0)}
    return ", ".join(
        " ".join(
            (
                f"{one.name} {one.parameters} {one.split.name}",
                *(f"{name} {getattr(one, name)}" for name, value in usual.items() if getattr(one, name) != value),
            )
        )
        for one in groups
    )


def shown(read: Architecture) -> Iterator[str]:
    """Every field that is another than the plain config's, and the layers that are alike once."""
    plain = architecture_from_config(BASE)
    values = [
        f"{one.name} {getattr(read, one.name)}"
        for one in fields(read)
        if one.name not in ("layers", "embedding", "head") and getattr(read, one.name) != getattr(plain, one.name)
    ]
    yield f"    {'; '.join((f'{read.parameters} parameters', *values))}"
    if (read.layers, read.embedding, read.head) == (plain.layers, plain.embedding, plain.head):
        return
    kinds = list(dict.fromkeys(read.layers))
    pattern = "".join("abcdefgh"[kinds.index(layer)] for layer in read.layers)
    yield f"    layers {pattern if len(pattern) < 9 else f'{len(pattern)} x {pattern[0]}'}"
    for letter, layer in zip("abcdefgh", kinds, strict=False):
        yield f"      {letter}: {layer.attention}; {weights(layer.weights)}"
    yield f"    ends: {weights(read.embedding)}; {weights(read.head)}"


def said(config: dict[str, Any], *, approximate: bool = False) -> Iterator[str]:
    try:
        yield from shown(architecture_from_config(config, approximate=approximate))
    except SizingError as refusal:
        yield f"    {type(refusal).__name__}: {refusal}"


@pytest.mark.parametrize("name", CASES)
def test_each_dialect_is_read_as_written(name: str) -> None:
    lines = []
    for config in CASES[name]:
        without = [f"no {key}" for key in BASE if key not in config] if len(config) > 3 else []
        lines.append(f"  {'; '.join((*without, *(f'{key} {value}' for key, value in changes(config))))}")
        lines += said(config)
        if name in ("not modelled", "latent"):
            lines += said(config, approximate=True)
    as_written("configs.txt", name, lines)


def changes(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a config has that the plain one has not; a config within it is the plain one."""
    for key, value in config.items():
        if isinstance(value, dict) and "architectures" in value:
            yield key, dict(changes(value))
        elif BASE.get(key) != value:
            yield key, value


def test_nothing_else_is_written() -> None:
    assert titles("configs.txt") == list(CASES)


def test_what_is_no_object_is_no_config() -> None:
    with pytest.raises(SizingError, match=r"^A model's config is list, expected config.json's content, an object.$"):
        architecture_from_config([])  # type: ignore[arg-type]
