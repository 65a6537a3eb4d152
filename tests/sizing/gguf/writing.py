"""Headers of GGUF files, written here: so small that a test reads what it asserts."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from ingot.sizing.gguf.tensor_types import BY_NAME, TYPES

NUMBER_OF = {one.name: number for number, one in TYPES.items()}


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value_of(value: object) -> bytes:
    """A value with its type: whole numbers as u32, lists by their first element."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    assert isinstance(value, list)
    first = value[0]
    if isinstance(first, str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(text(one) for one in value)
    kind, code = (7, "?") if isinstance(first, bool) else (5, "i")
    return struct.pack("<IIQ", 9, kind, len(value)) + struct.pack(f"<{len(value)}{code}", *value)


def gguf(
    keys: Mapping[str, object], tensors: Sequence[tuple[str, tuple[int, ...], str]] = (), *, data: bool = True
) -> bytes:
    """A file of these keys and tensors, their data all zero; `data` False leaves the data out."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(text(key) + value_of(value) for key, value in keys.items())
    at = 0
    for name, shape, kind in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", NUMBER_OF[kind], at)
        size = BY_NAME[kind].row_bytes(shape[0])
        for other in shape[1:]:
            size *= other
        at += -(-size // 32) * 32
    head += b"\0" * (-len(head) % 32)
    return head + (b"\0" * at if data else b"")


def qwen3(blocks: int = 2, **more: object) -> dict[str, object]:
    """Keys of a small model of plain attention."""
    return {
        "general.architecture": "qwen3",
        "qwen3.block_count": blocks,
        "qwen3.embedding_length": 256,
        "qwen3.attention.head_count": 4,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 64,
        "qwen3.attention.value_length": 64,
        "qwen3.feed_forward_length": 512,
        "tokenizer.ggml.tokens": [f"t{index}" for index in range(320)],
        **more,
    }


def tensors(blocks: int = 2, kind: str = "q8_0") -> list[tuple[str, tuple[int, ...], str]]:
    """Tensors of the same model."""
    named: list[tuple[str, tuple[int, ...], str]] = [
        ("token_embd.weight", (256, 320), kind),
        ("output_norm.weight", (256,), "f32"),
    ]
    for index in range(blocks):
        named.append((f"blk.{index}.attn_q.weight", (256, 256), kind))
        named.append((f"blk.{index}.attn_norm.weight", (256,), "f32"))
    return named
