"""The header of one GGUF file: keys and tensor table, read from its beginning, with bounded memory.

Every count is held against the bytes that the file has left before anything of it is read, so a header of a few bytes
costs a few bytes. Lists of texts (a tokenizer's) are counted and passed over. Source of the format: ggml,
`docs/gguf.md`; of the limits: llama.cpp, `ggml/src/gguf.cpp`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from ingot.sizing.gguf.errors import AbsurdCount, CutShort, GgufError
from ingot.sizing.gguf.tensor_types import TYPES, TensorType

MAGIC = b"GGUF"
#: Version 1 had other widths and was never written by a release; 3 adds files in big-endian order.
VERSIONS = (2, 3)
#: The largest headers known hold 30 MB of tokenizer and 60,000 tensors.
LARGEST_HEADER = 256 * 1024**2
MOST_KEYS = 65_536
MOST_TENSORS = 262_144
MOST_TEXTS = 4_194_304
LONGEST_NAME = 65_535
LONGEST_TEXT = 4 * 1024**2
#: A list of numbers up to this length is kept: one for each layer, not one for each token.
KEPT_NUMBERS = 4096
DIMENSIONS = 4
DEFAULT_ALIGNMENT = 32
_MOST_ELEMENTS = 2**63 - 1

_TEXT, _LIST = 8, 9
#: Number of a plain type -> its struct code; 7 is one byte, zero or one.
_PLAIN = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

Plain = int | float | bool
Value = Plain | str | tuple[Plain, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its name, its dimensions (the row first) and its number format."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int

    @property
    def elements(self) -> int:
        """The number of weights."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes in the file, and in memory."""
        return self.type.row_bytes(self.shape[0]) * math.prod(self.shape[1:])


@dataclass(frozen=True)
class Header:
    """What one file says of itself.

    `keys` hold every number, text and short list of numbers; `lengths` the length of each list that was passed over.
    `data_start` is where tensors begin.
    """

    keys: Mapping[str, Value]
    lengths: Mapping[str, int]
    tensors: tuple[Tensor, ...]
    data_start: int
    version: int

    @property
    def data_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.bytes for tensor in self.tensors)


def read(stream: BinaryIO, size: int, name: str = "The file") -> Header:
    """The header at the beginning of `stream`, of a file of `size` bytes that is called `name` in sentences.

    A stream that holds only the beginning of the file will do, where it holds the header whole.

    Raises: GgufError, CutShort or AbsurdCount; never anything else.
    """
    return _Reader(stream, size, name).header()


class _Reader:
    def __init__(self, stream: BinaryIO, size: int, name: str) -> None:
        self.stream, self.size, self.name, self.at = stream, size, name, 0

    def header(self) -> Header:
        if self.take(4, "its first four bytes") != MAGIC:
            self.wrong("does not begin with GGUF: it is another kind of file, or an error page saved under its name")
        version = self.number("I", "its version")
        if version & 0xFFFF == 0 and version:
            self.wrong(
                "is in big-endian order, which no GPU host reads: convert it with llama.cpp's gguf_convert_endian"
            )
        if version not in VERSIONS:
            self.wrong(f"has GGUF version {version}, expected {VERSIONS[0]} or {VERSIONS[1]}")
        tensors = self.count("Q", "tensors", 8 + 4 + 8 + 4 + 8, MOST_TENSORS)
        keys = self.count("Q", "keys", 8 + 4 + 1, MOST_KEYS)
        values: dict[str, Value] = {}
        lengths: dict[str, int] = {}
        for _ in range(keys):
            key = self.text("a key", LONGEST_NAME)
            if key in values or key in lengths:
                self.wrong(f"has the key {key!r} twice")
            value = self.value(key)
            if isinstance(value, _Passed):
                lengths[key] = value.length
            else:
                values[key] = value
        table = tuple(self.tensor() for _ in range(tensors))
        if len({tensor.name for tensor in table}) != len(table):
            self.wrong("names a tensor twice")
        alignment = values.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment > 2**20 or alignment & (alignment - 1):
            self.wrong(f"has an alignment of {alignment!r}, expected a power of two")
        start = -(-self.at // alignment) * alignment
        for tensor in table:
            if tensor.offset % alignment or start + tensor.offset + tensor.bytes > self.size:
                self.cut(f"tensor {tensor.name!r}, which ends at byte {start + tensor.offset + tensor.bytes}")
        return Header(values, lengths, table, start, version)

    def tensor(self) -> Tensor:
        name = self.text("a tensor's name", LONGEST_NAME)
        dimensions = self.number("I", "a tensor's dimensions")
        if not 1 <= dimensions <= DIMENSIONS:
            self.wrong(f"gives tensor {name!r} {dimensions} dimensions, expected 1 to {DIMENSIONS}")
        shape = tuple(self.number("Q", "a tensor's shape") for _ in range(dimensions))
        if not all(shape) or math.prod(shape) > _MOST_ELEMENTS:
            self.absurd(f"gives tensor {name!r} the shape {list(shape)}")
        number = self.number("I", "a tensor's type")
        kind = TYPES.get(number)
        if kind is None:
            self.wrong(f"holds tensor {name!r} in number format {number}, which Ingot does not know")
        if shape[0] % kind.block_elements:
            self.wrong(
                f"holds rows of {shape[0]} in {name!r}, expected a multiple of {kind.block_elements} for {kind.name}"
            )
        return Tensor(name, shape, kind, self.number("Q", "a tensor's place"))

    def value(self, key: str) -> Value | _Passed:
        kind = self.number("I", f"the type of {key!r}")
        if kind == _TEXT:
            return self.text(f"the value of {key!r}", LONGEST_TEXT)
        if kind == _LIST:
            return self.list(key)
        code = _PLAIN.get(kind)
        if code is None:
            self.wrong(f"gives key {key!r} type {kind}, which GGUF does not have")
        return self.plain(code, key)

    def list(self, key: str) -> tuple[Plain, ...] | _Passed:
        kind = self.number("I", f"the type of {key!r}")
        if kind == _TEXT:
            length = self.count("Q", f"texts in {key!r}", 8, MOST_TEXTS)
            for _ in range(length):
                self.skip(self.number("Q", f"a text of {key!r}"), f"a text of {key!r}")
            return _Passed(length)
        code = _PLAIN.get(kind)
        if code is None:
            self.wrong(f"gives the list {key!r} elements of type {kind}, which GGUF does not have")
        width = struct.calcsize(f"<{code}")
        length = self.count("Q", f"numbers in {key!r}", width, LARGEST_HEADER // width)
        if length > KEPT_NUMBERS:
            self.skip(length * width, f"the list {key!r}")
            return _Passed(length)
        return struct.unpack(f"<{length}{code}", self.take(length * width, f"the list {key!r}"))

    def plain(self, code: str, what: str) -> Plain:
        value: Plain = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}"), what))[0]
        return value

    def number(self, code: str, what: str) -> int:
        return int(self.plain(code, what))

    def count(self, code: str, what: str, least_bytes: int, most: int) -> int:
        number = self.number(code, f"the number of {what}")
        if number > most:
            self.absurd(f"announces {number} {what}")
        if number * least_bytes > self.size - self.at:
            self.cut(f"{number} {what}")
        return number

    def text(self, what: str, longest: int) -> str:
        length = self.number("Q", f"the length of {what}")
        if length > longest:
            self.absurd(f"announces {length} bytes for {what}")
        return self.take(length, what).decode("utf-8", "replace")

    def take(self, length: int, what: str) -> bytes:
        self.within(length, what)
        taken = self.stream.read(length)
        if len(taken) != length:
            self.cut(what)
        self.at += length
        return taken

    def skip(self, length: int, what: str) -> None:
        self.within(length, what)
        left = length
        while left:
            passed = len(self.stream.read(min(left, 65_536)))
            if not passed:
                self.cut(what)
            left -= passed
        self.at += length

    def within(self, length: int, what: str) -> None:
        if self.at + length > self.size:
            self.cut(what)
        if self.at + length > LARGEST_HEADER:
            self.absurd(f"has a header of more than {LARGEST_HEADER // 1024**2} MiB")

    def cut(self, what: str) -> NoReturn:
        raise CutShort(f"{self.name} has {self.size} bytes and ends within {what}: fetch it again, whole.")

    def absurd(self, sentence: str) -> NoReturn:
        raise AbsurdCount(
            f"{self.name} {sentence}, more than it can hold: it is damaged or made to harm; do not load it."
        )

    def wrong(self, sentence: str) -> NoReturn:
        raise GgufError(f"{self.name} {sentence}.")


@dataclass(frozen=True, slots=True)
class _Passed:
    length: int
