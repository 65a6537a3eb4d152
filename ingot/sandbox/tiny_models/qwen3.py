"""The body of a small Qwen3, which generates, or ranks with another head."""

from collections.abc import Iterator
from typing import Any

from ingot.sandbox.tiny_models import weights
from ingot.sandbox.tiny_models.weights import Tensor

LAYERS = 3
HIDDEN = 256
INTERMEDIATE = 768
HEADS = 4
KV_HEADS = 2
HEAD_DIM = 64
VOCABULARY = 320
POSITIONS = 32768

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
#: What parsers of reasoning and of tool calls look for: text to a caller, one token each.
MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
PAD_ID, START_ID, END_ID = 256, 257, 258

#: The first hidden dimension of every token carries this constant, and no layer writes there, so that a head can prefer
#: tokens by its first column whatever the random rest computes.
CARRIER = 8.0

CONFIG: dict[str, Any] = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": PAD_ID,
    "eos_token_id": END_ID,
    "head_dim": HEAD_DIM,
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "initializer_range": 0.02,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": POSITIONS,
    "model_type": "qwen3",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": KV_HEADS,
    "pad_token_id": PAD_ID,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": VOCABULARY,
}

#: What tokenizer_config.json says of every model of this shape.
TOKENIZER: dict[str, Any] = {
    "clean_up_tokenization_spaces": False,
    "eos_token": SPECIAL_TOKENS[2],
    "model_max_length": POSITIONS,
    "pad_token": SPECIAL_TOKENS[0],
    "tokenizer_class": "PreTrainedTokenizerFast",
}


def body(name: str) -> Iterator[tuple[str, Tensor]]:
    """Every weight but the head's: its name and its values; `name` is the model's, which seeds them."""
    embedding = weights.random(f"{name} embed", VOCABULARY, HIDDEN)
    yield "model.embed_tokens.weight", weights.with_column(embedding, [CARRIER] * VOCABULARY)
    yield "model.norm.weight", weights.ones(HIDDEN)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", weights.ones(HIDDEN)
        yield prefix + "post_attention_layernorm.weight", weights.ones(HIDDEN)
        yield prefix + "self_attn.q_norm.weight", weights.ones(HEAD_DIM)
        yield prefix + "self_attn.k_norm.weight", weights.ones(HEAD_DIM)
        for part, rows, columns in (
            ("self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN),
            ("self_attn.k_proj", KV_HEADS * HEAD_DIM, HIDDEN),
            ("self_attn.v_proj", KV_HEADS * HEAD_DIM, HIDDEN),
            ("self_attn.o_proj", HIDDEN, HEADS * HEAD_DIM),
            ("mlp.gate_proj", INTERMEDIATE, HIDDEN),
            ("mlp.up_proj", INTERMEDIATE, HIDDEN),
            ("mlp.down_proj", HIDDEN, INTERMEDIATE),
        ):
            shape, data = weights.random(f"{name} {layer}.{part}", rows, columns)
            if part in ("self_attn.o_proj", "mlp.down_proj"):
                data = bytes(2 * columns) + data[2 * columns :]
            yield f"{prefix}{part}.weight", (shape, data)
