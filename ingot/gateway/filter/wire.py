"""HTTP/1.1 as two nginx speak it over unix sockets: heads, and bodies by length, in chunks, or until the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

#: nginx' own limit of a head is 32 KiB; asyncio keeps as much unread before it stops reading.
LARGEST_HEAD = 64 * 1024

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 413: "Content Too Large", 429: "Too Many Requests"}


class BadMessage(Exception):
    """What the other side sent is not HTTP as expected, or it broke off."""


class TooLarge(Exception):
    """A body is larger than allowed."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first line in its three parts, and the headers by their names in small letters."""

    line: tuple[str, str, str]
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """What a request asks for, without its query: a route is the same with one."""
        return self.line[1].partition("?")[0]

    @property
    def length(self) -> int | None:
        """The body's length in bytes; None when it is not told. Raises: BadMessage."""
        told = self.headers.get("content-length")
        if told is None:
            return None
        if not told.isascii() or not told.isdigit():
            raise BadMessage
        return int(told)

    @property
    def status(self) -> int:
        """The status of an answer. Raises: BadMessage."""
        if not self.line[1].isascii() or not self.line[1].isdigit():
            raise BadMessage
        return int(self.line[1])


async def read_head(reader: asyncio.StreamReader) -> Head:
    """The next head. Raises: BadMessage; OSError when the connection breaks."""
    try:
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise BadMessage from None
    first, *rest = text[:-4].split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2:
        raise BadMessage
    headers: dict[str, str] = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or (name.lower() in headers and name.lower() in _ONCE):
            raise BadMessage
        headers[name.lower()] = value.strip()
    return Head((parts[0], parts[1], parts[2] if len(parts) > 2 else ""), headers)


_ONCE = ("content-length", "content-type", "transfer-encoding", "x-ingot-team")


async def discard(reader: asyncio.StreamReader, length: int) -> None:
    """Read so many bytes and keep none. Raises: OSError when the connection breaks."""
    while length > 0 and (piece := await reader.read(min(length, LARGEST_HEAD))):
        length -= len(piece)


class Body:
    """An answer's body, out of the bytes that follow its head."""

    def __init__(self, head: Head) -> None:
        coding = head.headers.get("transfer-encoding")
        if coding not in (None, "chunked"):
            raise BadMessage
        # Within chunks: what comes next, and how much is left of this one. Else how much is left of the body; None:
        # it ends with the connection.
        self._next: Literal["size", "data", "break", "trailer", "end"] | None = "size" if coding else None
        self._left = 0 if coding else head.length
        self._buffer = b""

    @property
    def ended(self) -> bool:
        """Whether all of it has arrived."""
        return self._next == "end" or (self._next is None and self._left == 0)

    def feed(self, data: bytes) -> bytes:
        """The content of the next bytes; none mean that the connection has ended.

        Raises: BadMessage when the body breaks off or is not as told.
        """
        if self.ended:
            return b""
        if not data:
            if self._left is not None:
                raise BadMessage
            self._left = 0
        elif self._next is not None:
            return self._chunks(data)
        elif self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise BadMessage
        return data

    def _chunks(self, data: bytes) -> bytes:
        """The content of chunked bytes; what is incomplete is kept."""
        buffer, place, out = self._buffer + data, 0, []
        while self._next != "end" and place < len(buffer):
            if self._next == "data":
                assert self._left is not None  # within chunks it is always known
                taken = buffer[place : place + self._left]
                out.append(taken)
                place += len(taken)
                self._left -= len(taken)
                if self._left == 0:
                    self._next = "break"
                continue
            line = buffer.find(b"\r\n", place)
            if line < 0:
                if len(buffer) - place > 256:
                    raise BadMessage
                break
            text, place = buffer[place:line], line + 2
            if self._next == "break":
                if text:
                    raise BadMessage
                self._next = "size"
            elif self._next == "trailer":
                if not text:
                    self._next = "end"
            else:
                self._left = _chunk_size(text)
                self._next = "data" if self._left else "trailer"
        self._buffer = buffer[place:]
        return b"".join(out)


async def whole(reader: asyncio.StreamReader, body: Body, largest: int) -> bytes:
    """All of a body. Raises: BadMessage or TooLarge."""
    pieces: list[bytes] = []
    size = 0
    while not body.ended:
        try:
            piece = body.feed(await reader.read(LARGEST_HEAD))
        except OSError:
            raise BadMessage from None
        size += len(piece)
        if size > largest:
            raise TooLarge
        pieces.append(piece)
    return b"".join(pieces)


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    if not digits or digits.strip(b"0123456789abcdefABCDEF"):
        raise BadMessage
    return int(digits, 16)


def head(first: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A head as bytes; a header whose value is empty is left out."""
    lines = [first, *(f"{name}: {value}" for name, value in headers if value)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def answer_line(status: int) -> str:
    """The first line of an answer."""
    return f"HTTP/1.1 {status} {_REASONS.get(status, 'Answer')}"


def chunk(data: bytes) -> bytes:
    """Data as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
