"""Random weights out of SHAKE streams, and the safetensors file that holds them."""

import hashlib
import json
import math
import struct
from typing import Any

#: A weight's shape, and its bfloat16 values in little-endian bytes.
Tensor = tuple[tuple[int, ...], bytes]


def random(seed: str, *shape: int) -> Tensor:
    """Values between 1/32 and 1/8, of either sign.

    A bfloat16 is a sign, eight bits of exponent and seven of mantissa: fixing the seven high bits of the exponent
    bounds the value, and the stream gives the rest.
    """
    size = math.prod(shape)
    low = hashlib.shake_128(f"{seed} low".encode()).digest(size)
    high = hashlib.shake_128(f"{seed} high".encode()).digest(size)
    data = bytearray(2 * size)
    data[0::2] = low
    data[1::2] = high.translate(bytes(0x3D | (byte & 0x80) for byte in range(256)))
    return shape, bytes(data)


def with_column(matrix: Tensor, column: list[float]) -> Tensor:
    """The matrix with other values in its first column."""
    (rows, columns), data = matrix
    changed = bytearray(data)
    for row, value in enumerate(column):
        start = 2 * row * columns
        changed[start : start + 2] = bfloat16(value)
    return (rows, columns), bytes(changed)


def vector(values: list[float]) -> Tensor:
    """A vector of these values."""
    return (len(values),), b"".join(bfloat16(value) for value in values)


def ones(size: int) -> Tensor:
    """A vector of ones."""
    return (size,), bfloat16(1.0) * size


def zeros(size: int) -> Tensor:
    """A vector of zeros."""
    return (size,), bytes(2 * size)


def bfloat16(value: float) -> bytes:
    """The upper half of a float32: a bfloat16, rounded towards zero."""
    return struct.pack("<f", value)[2:]


def safetensors(weights: dict[str, Tensor]) -> bytes:
    """The safetensors file: eight bytes with the header's length, the header as JSON, then the values in its order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = bytearray()
    for name, (shape, data) in sorted(weights.items()):
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(body)
