"""Whether a GGUF file of a repository can be served as its entry says: by its header, read where it lies.

Nothing but the header is fetched, in pieces, and no more of it than a header may have.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from ingot.catalog.lock import Locked
from ingot.errors import IngotError
from ingot.hub.places import Place
from ingot.sizing import Architecture, SizingError
from ingot.sizing.attention import FullAttention
from ingot.sizing.engines.llama_cpp import CacheLayer, Shape
from ingot.sizing.gguf.errors import MissingPart
from ingot.sizing.gguf.header import Header, read
from ingot.sizing.gguf.parts import joined, part_names
from ingot.sizing.gguf.shape import shape_of

PIECE_BYTES = 2 * 1024**2


def checked_gguf(place: Place, locked: Locked, path: str, stated: Architecture) -> Shape:
    """The shape of a locked repository's GGUF file, or of the set that it begins.

    Raises: IngotError, one sentence, where a part is missing, a header is damaged or cut short, its architecture is
    unknown, or its shape is not the entry's.
    """
    sizes = {one.path: one.bytes for one in locked.files}
    folder = PurePosixPath(path).parent
    try:
        parts = [str(folder / name) for name in part_names(PurePosixPath(path).name)]
        missing = [part for part in parts if part not in sizes]
        if missing:
            raise MissingPart(f"{missing[0]} is not there.")
        shape = shape_of(joined([(part, _header(place, locked, part, sizes[part])) for part in parts]))
    except SizingError as error:
        raise IngotError(f"{path} of {locked.repository} cannot be served ({str(error).rstrip('.')})") from None
    if said := "; ".join(differences(stated, shape)):
        raise IngotError(
            f"{path} of {locked.repository} is of another shape than its entry ({said}), so that plans would be wrong; "
            "correct the entry's config"
        )
    return shape


def differences(stated: Architecture, found: Shape) -> Iterator[str]:
    """What memory depends on and differs, a clause each: what the file has, and what its entry states."""
    sides = (
        ("layers", len(found.layers), len(stated.layers)),
        ("of hidden size", found.width, stated.hidden_size),
    )
    for what, here, there in sides:
        if here != there:
            yield f"{here} {what} instead of {there}"
    if len(found.layers) != len(stated.layers):
        return
    for index, (block, layer) in enumerate(zip(found.layers, stated.layers, strict=True)):
        here = sum(one.keys + one.values for one in block if isinstance(one, CacheLayer))
        kind = layer.attention
        there = kind.kv_heads * (kind.head_dim + kind.head_dim_v) if isinstance(kind, FullAttention) else here
        if here != there:
            yield f"layer {index} keeps {here} numbers of a token instead of {there}"
            return


def _header(place: Place, locked: Locked, path: str, size: int) -> Header:
    return read(cast(BinaryIO, _Pieces(place, locked, path, size)), size, path)


class _Pieces:
    """A file of a place, read from its beginning on, a piece at a time."""

    def __init__(self, place: Place, locked: Locked, path: str, size: int) -> None:
        self.place, self.locked, self.path, self.size = place, locked, path, size
        self.fetched, self.held, self.at = 0, b"", 0

    def read(self, length: int) -> bytes:
        """The next `length` bytes; fewer at the file's end."""
        if self.at + length > len(self.held):
            left = [self.held[self.at :]]
            while sum(map(len, left)) < length and self.fetched < self.size:
                piece = self.place.part(
                    self.locked, self.path, self.fetched, min(PIECE_BYTES, self.size - self.fetched)
                )
                if not piece:
                    break
                self.fetched += len(piece)
                left.append(piece)
            self.held, self.at = b"".join(left), 0
        taken = self.held[self.at : self.at + length]
        self.at += length
        return taken
