"""Bytes, their names, and the element sizes of the number formats that weights and caches come in."""

from __future__ import annotations

MIB = 1024**2
GIB = 1024**3

# Bytes per element. Sub-byte formats are fractions; their scales are counted where the format is described.
DTYPE_BYTES = {
    "float64": 8.0,
    "float32": 4.0,
    "float": 4.0,
    "float16": 2.0,
    "half": 2.0,
    "bfloat16": 2.0,
    "fp8": 1.0,
    "fp8_e4m3": 1.0,
    "fp8_e5m2": 1.0,
    "fp8_inc": 1.0,
    "float8_e4m3fn": 1.0,
    "float8_e5m2": 1.0,
    "int8": 1.0,
    "uint8": 1.0,
}


def gib(amount: float) -> int:
    """Bytes of `amount` GiB."""
    return int(amount * GIB)


def show_gib(amount: float) -> str:
    """`amount` bytes as people read it: GiB with two digits, or MiB where GiB would read 0.00.

    >>> show_gib(16 * 1024**3)
    '16.00 GiB'
    """
    if abs(amount) < GIB / 20:
        return f"{amount / MIB:.1f} MiB"
    return f"{amount / GIB:.2f} GiB"


def ceil_div(amount: int, divisor: int) -> int:
    """`amount / divisor`, rounded up."""
    return -(-amount // divisor)
