"""Server-sent events: bytes as they arrive become whole events, however they were cut."""

from __future__ import annotations

from dataclasses import dataclass


class BadEvent(ValueError):
    """What arrived is no event stream, or has an event larger than allowed."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `data` is None for a comment, which only keeps a connection alive."""

    data: str | None
    name: str = ""


class Events:
    """Reads a stream. An event counts when its blank line has come, or when the stream ends."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._rest = b""

    def feed(self, piece: bytes) -> list[Event]:
        """Take the next bytes and give back the events that are complete. Raises: BadEvent."""
        text = self._rest + piece
        ends = b""
        if b"\r" in text:
            if text.endswith(b"\r"):
                # A line feed may follow that belongs to it.
                text, ends = text[:-1], b"\r"
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *blocks, rest = text.split(b"\n\n")
        self._rest = rest + ends
        if len(self._rest) > self._largest:
            raise BadEvent
        return [event for block in blocks if (event := _event(block))]

    def end(self) -> list[Event]:
        """The event that the stream's end left without its blank line, if any. Raises: BadEvent."""
        return self.feed(b"\n\n")


def _event(block: bytes) -> Event | None:
    data: list[str] = []
    name, comment = "", False
    try:
        text = block.decode()
        if text.startswith("data: ") and "\n" not in text:
            return Event(text[6:])
        for line in text.split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif line.startswith(":"):
                comment = True
    except UnicodeDecodeError as error:
        raise BadEvent from error
    if name and not name.replace("_", "").replace(".", "").replace("-", "").isalnum():
        raise BadEvent
    if data:
        return Event("\n".join(data), name)
    return Event(None) if comment else None


def written(data: str, name: str = "") -> bytes:
    """An event as bytes; `data` has no line breaks."""
    return f"event: {name}\ndata: {data}\n\n".encode() if name else f"data: {data}\n\n".encode()


#: A comment, which keeps a connection alive.
COMMENT = b":\n\n"
