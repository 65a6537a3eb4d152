"""A model in one GGUF file or in a set of numbered parts.

A part is named `NAME-00002-of-00005.gguf`; only the first holds the model's keys, each its own tensors. Source:
llama.cpp, `tools/gguf-split` and `src/llama-model-loader.cpp`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from ingot.sizing.gguf.errors import AbsurdCount, GgufError, MissingPart
from ingot.sizing.gguf.header import Header, Tensor, Value, read

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
MOST_PARTS = 1024


@dataclass(frozen=True)
class Gguf:
    """A model's keys (those of the first part) and the tensors of all parts."""

    keys: Mapping[str, Value]
    lengths: Mapping[str, int]
    tensors: tuple[Tensor, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.bytes for tensor in self.tensors)


def part_names(first: str) -> tuple[str, ...]:
    """The files of the set that `first` begins; itself alone where its name has no number.

    Raises: MissingPart where `first` is a later part, AbsurdCount for a set that no model has.
    """
    found = _PART.fullmatch(first)
    if not found:
        return (first,)
    number, count = int(found["number"]), int(found["count"])
    if not 1 <= count <= MOST_PARTS:
        raise AbsurdCount(f"{first} says that it is one of {count} parts, expected 1 to {MOST_PARTS}.")
    names = tuple(f"{found['stem']}-{index:05d}-of-{count:05d}.gguf" for index in range(1, count + 1))
    if number != 1:
        raise MissingPart(f"{first} is part {number} of {count}: name the first, {PurePosixPath(names[0]).name}.")
    return names


def joined(headers: Iterable[tuple[str, Header]]) -> Gguf:
    """One model of its parts' headers, in order, each with its name.

    Raises: MissingPart where parts are missing or of different sets, GgufError where two hold the same tensor.
    """
    parts = list(headers)
    name, first = parts[0]
    count = first.keys.get("split.count", 1)
    if count not in (len(parts), 0):
        raise MissingPart(
            f"{name} is of a set of {count} parts, but {len(parts)} are there: fetch the others beside it."
        )
    for index, (part, header) in enumerate(parts):
        own = (header.keys.get("split.no", 0), header.keys.get("split.count", 1))
        if len(parts) > 1 and own != (index, len(parts)):
            raise MissingPart(f"{part} says that it is part {own[0]} of {own[1]}, expected {index} of {len(parts)}.")
    tensors = tuple(chain.from_iterable(header.tensors for _, header in parts))
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise GgufError(f"Two parts of {name} hold the same tensor: they are not of one set.")
    announced = first.keys.get("split.tensors.count", len(tensors))
    if len(parts) > 1 and announced != len(tensors):
        raise MissingPart(f"The parts of {name} hold {len(tensors)} tensors, expected {announced}.")
    return Gguf(first.keys, first.lengths, tensors)


def read_model(path: Path) -> Gguf:
    """The model that the file at `path` is, or is the first part of.

    Raises: GgufError or one of its kinds; OSError where the file itself cannot be read.
    """
    names = part_names(path.name)
    missing = [name for name in names if not path.with_name(name).is_file()]
    if missing and len(names) > 1:
        raise MissingPart(f"{path.name} is one of {len(names)} parts, and {missing[0]} is not beside it: fetch it.")

    def header(name: str) -> tuple[str, Header]:
        part = path.with_name(name)
        with part.open("rb") as stream:
            return name, read(stream, part.stat().st_size, name)

    return joined(header(name) for name in names)
