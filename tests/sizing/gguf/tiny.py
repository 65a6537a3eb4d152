"""Tiny models that llama.cpp loads: the keys and tensors that each architecture asks for, and nothing else.

Every one was given to a real llama-server (see `data/llama_cpp_buffers.json`); weights are all zero.
"""

from __future__ import annotations

from collections.abc import Callable

Tensors = list[tuple[str, tuple[int, ...], str]]

WIDTH, VOCABULARY, FEED_FORWARD = 256, 512, 512


def keys(architecture: str, blocks: int, more: dict[str, object]) -> dict[str, object]:
    """Keys without a tokenizer; `more` are of the architecture."""
    own: dict[str, object] = {
        "block_count": blocks,
        "embedding_length": WIDTH,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "feed_forward_length": FEED_FORWARD,
        "context_length": 8192,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 10000.0,
        "vocab_size": VOCABULARY,
        **more,
    }
    plain = {"general.architecture": architecture, "tokenizer.ggml.model": "no_vocab"}
    return plain | {f"{architecture}.{key}": value for key, value in own.items()}


def matrix(index: int, name: str, *shape: int) -> Tensors:
    return [(f"blk.{index}.{name}.weight", shape, "f16")]


def vector(index: int, name: str, *shape: int) -> Tensors:
    return [(f"blk.{index}.{name}", shape, "f32")]


def norms(index: int, *names: str, width: int = WIDTH) -> Tensors:
    return [one for name in names for one in vector(index, f"{name}.weight", width)]


def attention(index: int, query: int = 256, *, head_norms: bool = False) -> Tensors:
    found = norms(index, "attn_norm") + matrix(index, "attn_q", WIDTH, query)
    found += matrix(index, "attn_k", WIDTH, 128) + matrix(index, "attn_v", WIDTH, 128)
    found += matrix(index, "attn_output", 256, WIDTH)
    return found + (norms(index, "attn_q_norm", "attn_k_norm", width=64) if head_norms else [])


def feed_forward(index: int, norm: str = "ffn_norm") -> Tensors:
    found = norms(index, norm) if norm else []
    found += matrix(index, "ffn_gate", WIDTH, FEED_FORWARD) + matrix(index, "ffn_up", WIDTH, FEED_FORWARD)
    return found + matrix(index, "ffn_down", FEED_FORWARD, WIDTH)


def experts(index: int) -> Tensors:
    found = vector(index, "ffn_gate_inp.weight", WIDTH, 4) + matrix(index, "ffn_down_exps", 64, WIDTH, 4)
    return found + matrix(index, "ffn_gate_exps", WIDTH, 64, 4) + matrix(index, "ffn_up_exps", WIDTH, 64, 4)


def gemma(index: int, *, head_norms: bool) -> Tensors:
    found = attention(index, head_norms=head_norms) + feed_forward(index)
    return found + norms(index, "post_attention_norm", "post_ffw_norm")


def gpt_oss(index: int) -> Tensors:
    found = attention(index) + experts(index) + norms(index, "post_attention_norm")
    found += vector(index, "attn_q.bias", 256) + vector(index, "attn_k.bias", 128) + vector(index, "attn_v.bias", 128)
    found += vector(index, "attn_output.bias", WIDTH) + vector(index, "attn_sinks.weight", 4)
    found += vector(index, "ffn_gate_inp.bias", 4) + vector(index, "ffn_down_exps.bias", WIDTH, 4)
    return found + vector(index, "ffn_gate_exps.bias", 64, 4) + vector(index, "ffn_up_exps.bias", 64, 4)


def qwen35(index: int) -> Tensors:
    beside = norms(index, "post_attention_norm") + feed_forward(index, "")
    if (index + 1) % 4 == 0:
        return attention(index, 512, head_norms=True) + beside
    found = norms(index, "attn_norm") + matrix(index, "attn_qkv", WIDTH, 512) + matrix(index, "attn_gate", WIDTH, 256)
    found += vector(index, "ssm_conv1d.weight", 4, 512) + vector(index, "ssm_dt.bias", 8) + vector(index, "ssm_a", 8)
    found += matrix(index, "ssm_beta", WIDTH, 8) + matrix(index, "ssm_alpha", WIDTH, 8)
    return found + norms(index, "ssm_norm", width=32) + matrix(index, "ssm_out", 256, WIDTH) + beside


def latent(index: int) -> Tensors:
    found = norms(index, "attn_norm") + norms(index, "attn_q_a_norm", "attn_kv_a_norm", width=64)
    found += matrix(index, "attn_q_a", WIDTH, 64) + matrix(index, "attn_q_b", 64, 4 * 96)
    found += matrix(index, "attn_kv_a_mqa", WIDTH, 64 + 32) + matrix(index, "attn_output", 256, WIDTH)
    return found + matrix(index, "attn_k_b", 64, 64, 4) + matrix(index, "attn_v_b", 64, 64, 4) + feed_forward(index)


def lfm2(index: int) -> Tensors:
    if index % 2:
        return attention(index, head_norms=True) + feed_forward(index)
    found = norms(index, "attn_norm") + vector(index, "shortconv.conv.weight", 3, WIDTH)
    found += matrix(index, "shortconv.in_proj", WIDTH, 3 * WIDTH) + matrix(index, "shortconv.out_proj", WIDTH, WIDTH)
    return found + feed_forward(index)


def mamba(index: int) -> Tensors:
    found = (
        norms(index, "attn_norm") + matrix(index, "ssm_in", WIDTH, 1024) + vector(index, "ssm_conv1d.weight", 4, 512)
    )
    found += vector(index, "ssm_conv1d.bias", 512) + matrix(index, "ssm_x", 512, 48) + matrix(index, "ssm_dt", 16, 512)
    found += vector(index, "ssm_dt.bias", 512) + vector(index, "ssm_a", 16, 512) + vector(index, "ssm_d", 512)
    return found + matrix(index, "ssm_out", 512, WIDTH)


def ends(*, separate: bool = False, norm: str = "output_norm") -> Tensors:
    found: Tensors = [("token_embd.weight", (WIDTH, VOCABULARY), "f16"), (f"{norm}.weight", (WIDTH,), "f32")]
    return [*found, *([("output.weight", (WIDTH, VOCABULARY), "f16")] if separate else [])]


HEADS = {"attention.key_length": 64, "attention.value_length": 64}
ROPE = {"rope.dimension_count": 64}
EXPERTS = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 64}
SCALES = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
STATE = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 256,
    "ssm.state_size": 32,
    "ssm.group_count": 4,
    "ssm.time_step_rank": 8,
}
LATENT = {
    "attention.head_count_kv": 1,
    "attention.key_length": 96,
    "attention.value_length": 64,
    "attention.key_length_mla": 96,
    "attention.value_length_mla": 64,
    "attention.kv_lora_rank": 64,
    "attention.q_lora_rank": 64,
    "rope.dimension_count": 32,
    "leading_dense_block_count": 2,
    "expert_count": 0,
    "expert_used_count": 0,
    "expert_feed_forward_length": 64,
    "expert_shared_count": 0,
    "expert_weights_scale": 1.0,
    "rope.scaling.yarn_log_multiplier": 0.1,
}
MAMBA = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 512,
    "ssm.state_size": 16,
    "ssm.time_step_rank": 16,
    "attention.head_count": 0,
    "attention.head_count_kv": 0,
}


def model(
    architecture: str, blocks: int, more: dict[str, object], block: Callable[[int], Tensors], outer: Tensors
) -> tuple[dict[str, object], Tensors]:
    return keys(architecture, blocks, more), [*outer, *(one for index in range(blocks) for one in block(index))]


#: Architecture -> its keys and tensors.
MODELS = {
    "llama": model("llama", 3, ROPE, lambda i: attention(i) + feed_forward(i), ends(separate=True)),
    "qwen3": model("qwen3", 3, HEADS, lambda i: attention(i, head_norms=True) + feed_forward(i), ends()),
    "gemma2": model(
        "gemma2", 4, {**HEADS, **SCALES, "attention.sliding_window": 512}, lambda i: gemma(i, head_norms=False), ends()
    ),
    "gemma3": model(
        "gemma3", 8, {**HEADS, "attention.sliding_window": 512}, lambda i: gemma(i, head_norms=True), ends()
    ),
    "cohere2": model(
        "cohere2",
        8,
        {**ROPE, "attention.sliding_window": 512, "logit_scale": 0.5, "attention.layer_norm_epsilon": 1e-5},
        lambda i: attention(i) + feed_forward(i, ""),
        ends(),
    ),
    "gpt-oss": model("gpt-oss", 4, {**HEADS, **EXPERTS, "attention.sliding_window": 128}, gpt_oss, ends(separate=True)),
    "smallthinker": model(
        "smallthinker",
        8,
        {**ROPE, **EXPERTS, "attention.sliding_window": 512, "expert_gating_func": 2},
        lambda i: attention(i) + norms(i, "ffn_norm") + experts(i),
        ends(),
    ),
    "qwen35": model(
        "qwen35",
        4,
        {**HEADS, **STATE, "rope.dimension_count": 32, "rope.dimension_sections": [8, 4, 4, 0]},
        qwen35,
        ends(),
    ),
    "deepseek2": model("deepseek2", 2, LATENT, latent, ends(separate=True)),
    "lfm2": model(
        "lfm2",
        4,
        {**ROPE, "attention.head_count_kv": [0, 2, 0, 2], "shortconv.l_cache": 3},
        lfm2,
        ends(norm="token_embd_norm"),
    ),
    "mamba": model("mamba", 2, MAMBA, mamba, ends()),
}
