"""A streamed answer on its way to the caller: bytes in, bytes out, redacted and with its usage read."""

from __future__ import annotations

import json

from ingot.gateway.filter.answers import StreamedAnswer, Withheld, compact
from ingot.gateway.filter.events import COMMENT, Event, Events, written
from ingot.gateway.filter.rules import Rules
from ingot.gateway.filter.spent import Spent
from ingot.gateway.filter.typed_streams import StreamedMessage, StreamedResponse

#: An event larger than this is withheld, bytes.
LARGEST_EVENT = 4 * 1024 * 1024
DONE = "[DONE]"


class Stream:
    """One stream. `usage_asked`: whether its caller asked for the usage, which the filter always has told."""

    def __init__(
        self,
        rules: Rules | None,
        spent: Spent | None = None,
        *,
        path: str = "/v1/chat/completions",
        json_content: bool = False,
        usage_asked: bool = True,
    ) -> None:
        self._events = Events(LARGEST_EVENT)
        self._answer = _answer(path, rules, json_content=json_content) if rules else None
        self._spent = spent
        self._usage_asked = usage_asked
        self._done = False

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes and give back what can be sent.

        Raises: Withheld, BadEvent or ValueError: nothing more may be sent.
        """
        return b"".join(map(self._event, self._events.feed(piece)))

    def end(self) -> bytes:
        """The last of it: no more bytes follow. Raises: as `feed`."""
        return b"".join(map(self._event, self._events.end())) + (b"" if self._done else self._flush())

    def _event(self, event: Event) -> bytes:
        if self._done:
            raise Withheld
        if event.data is None:
            return COMMENT
        if event.data == DONE:
            out = self._flush() + written(DONE)
            self._done = True
            return out
        if self._answer is None and "\n" not in event.data and '"usage"' not in event.data:
            self._count()
            return written(event.data, event.name)
        content = json.loads(event.data)
        if self._spent:
            self._spent.see(content)
        if not self._usage_asked and isinstance(content, dict):
            usage = content.pop("usage", None)
            if usage is not None and not content.get("choices"):
                return b""
        self._count()
        named = self._answer.event(content, event.name) if self._answer else [(event.name, content)]
        return b"".join(written(compact(one), name) for name, one in named)

    def _count(self) -> None:
        if self._spent:
            self._spent.pieces += 1

    def _flush(self) -> bytes:
        left = self._answer.end() if self._answer else []
        return b"".join(written(compact(one), name) for name, one in left)


def _answer(path: str, rules: Rules, *, json_content: bool) -> StreamedAnswer | StreamedResponse | StreamedMessage:
    if path == "/v1/responses":
        return StreamedResponse(rules, json_content=json_content)
    if path == "/v1/messages":
        return StreamedMessage(rules)
    return StreamedAnswer(rules, json_content=json_content)
