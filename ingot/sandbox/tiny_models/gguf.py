"""The small Qwen3 as one GGUF file, which llama.cpp serves (GGUF 3, ggml-org/ggml docs/gguf.md)."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ingot.sandbox.tiny_models import directory, generator, qwen3
from ingot.sandbox.tiny_models.tokenizer import byte_level
from ingot.sandbox.tiny_models.weights import Tensor

NAME = "tiny-gguf"
FILE = "tiny-bf16.gguf"
CONFIG = generator.CONFIG
HIDDEN = qwen3.HIDDEN

VERSION, ALIGNMENT = 3, 32
#: Types of values, and of tensors.
UINT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 2, 4, 5, 6, 7, 8, 9
F32, BF16 = 0, 30
#: What a token is: text, something that a decoded text leaves out, something that it shows, nothing.
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def make(models: Path) -> Path:
    """Writes the model under `models/tiny-gguf/<revision>` unless it is there, and returns that directory."""
    return directory.make(models, NAME, files())


def files() -> dict[str, bytes]:
    """The content of the model's one file."""
    return {FILE: written(metadata(), list(tensors()))}


def metadata() -> dict[str, tuple[int, Any]]:
    """Every key of the file: a type and a value; an array's value is its own type and values."""
    tokens, kinds = _tokens()
    return {
        "general.architecture": (STRING, "qwen3"),
        "general.name": (STRING, NAME),
        "general.file_type": (UINT32, 32),
        "qwen3.block_count": (UINT32, qwen3.LAYERS),
        "qwen3.context_length": (UINT32, qwen3.POSITIONS),
        "qwen3.embedding_length": (UINT32, qwen3.HIDDEN),
        "qwen3.feed_forward_length": (UINT32, qwen3.INTERMEDIATE),
        "qwen3.attention.head_count": (UINT32, qwen3.HEADS),
        "qwen3.attention.head_count_kv": (UINT32, qwen3.KV_HEADS),
        "qwen3.attention.key_length": (UINT32, qwen3.HEAD_DIM),
        "qwen3.attention.value_length": (UINT32, qwen3.HEAD_DIM),
        "qwen3.attention.layer_norm_rms_epsilon": (FLOAT32, 1e-6),
        "qwen3.rope.freq_base": (FLOAT32, 1e6),
        "tokenizer.ggml.model": (STRING, "gpt2"),
        "tokenizer.ggml.pre": (STRING, "qwen2"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, tokens)),
        "tokenizer.ggml.token_type": (ARRAY, (INT32, kinds)),
        # One that never applies: a tokenizer without merges is refused.
        "tokenizer.ggml.merges": (ARRAY, (STRING, ["\u0100 \u0101"])),
        "tokenizer.ggml.bos_token_id": (UINT32, qwen3.PAD_ID),
        "tokenizer.ggml.eos_token_id": (UINT32, qwen3.END_ID),
        "tokenizer.ggml.padding_token_id": (UINT32, qwen3.PAD_ID),
        "tokenizer.ggml.add_bos_token": (BOOL, False),
        "tokenizer.chat_template": (STRING, generator.CHAT_TEMPLATE),
    }


def tensors() -> Iterator[tuple[str, int, Tensor]]:
    """Every weight by its name in GGUF, with its type: vectors in 32 bits, which llama.cpp wants of norms."""
    for name, (shape, data) in generator.tensors():
        if len(shape) == 1:
            yield _name(name), F32, (shape, b"".join(bytes(2) + data[at : at + 2] for at in range(0, len(data), 2)))
        else:
            yield _name(name), BF16, (shape, data)


def written(values: Mapping[str, tuple[int, Any]], weights: Sequence[tuple[str, int, Tensor]]) -> bytes:
    """The file: a header, the keys, the table of tensors, and their data, each at a multiple of ALIGNMENT."""
    head = b"GGUF" + struct.pack("<IQQ", VERSION, len(weights), len(values))
    for key, (kind, value) in values.items():
        head += _string(key) + struct.pack("<I", kind) + _value(kind, value)
    body = bytearray()
    for name, kind, (shape, data) in weights:
        # The dimension whose values lie side by side comes first.
        head += _string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += struct.pack("<IQ", kind, len(body))
        body += data + bytes(-len(data) % ALIGNMENT)
    return head + bytes(-len(head) % ALIGNMENT) + bytes(body)


def _name(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    _, _, layer, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{layer}.{_LAYER_NAMES[part]}.weight"


def _tokens() -> tuple[list[str], list[int]]:
    """Tokens by their ids with what each is; ids beyond the tokenizer's are of nothing."""
    read = byte_level(qwen3.SPECIAL_TOKENS, qwen3.MARKS)
    tokens = [f"[unused{index}]" for index in range(qwen3.VOCABULARY)]
    kinds = [UNUSED] * qwen3.VOCABULARY
    for text, index in read["model"]["vocab"].items():
        tokens[index], kinds[index] = text, NORMAL
    for token in read["added_tokens"]:
        tokens[token["id"]] = token["content"]
        kinds[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    return tokens, kinds


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return _string(value)
    if kind == ARRAY:
        inner, values = value
        return struct.pack("<IQ", inner, len(values)) + b"".join(_value(inner, one) for one in values)
    return struct.pack({UINT16: "<H", UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)
