"""A streamed answer on its way to the caller: bytes in, bytes out, redacted and with its usage read."""

from __future__ import annotations

import json
from typing import Any

from ingot.gateway.filter.answers import Joined, StreamedAnswer, Withheld, compact
from ingot.gateway.filter.events import COMMENT, Event, Events, written
from ingot.gateway.filter.refusals import ANTHROPIC_PATHS, Refused
from ingot.gateway.filter.repeated import Repeated, learned
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
        self._path = path
        self._sent = 0
        self._events = Events(LARGEST_EVENT)
        self._answer = _answer(path, rules, json_content=json_content) if rules else None
        self._spent = spent
        self._usage_asked = usage_asked
        self._done = False
        # What the last event added a piece to, and the form of events that do the same.
        self._joined: Joined | None = None
        self._repeated: Repeated | None = None
        self._name = ""

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes and give back what can be sent.

        Raises: Withheld, BadEvent or ValueError: nothing more may be sent.
        """
        return b"".join(map(self._event, self._events.feed(piece)))

    def end(self) -> bytes:
        """The last of it: no more bytes follow. Raises: as `feed`."""
        return b"".join(map(self._event, self._events.end())) + (b"" if self._done else self._flush())

    def error(self, why: Refused, request_id: str) -> bytes:
        """The last event of a stream that cannot go on, in the shape that callers of its route raise an error for."""
        content = why.error(request_id, self._path)
        if self._path in ANTHROPIC_PATHS:
            return written(compact(content), "error")
        if self._path == "/v1/responses":
            # The reference of OpenAI's API has these at the top, what it sends has them in `error`.
            told = {"code": why.code, "message": why.message, "param": why.param, "sequence_number": self._sent}
            return written(compact({"type": "error", **told, **content}), "error")
        return written(compact(content))

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
        if self._repeated and event.name == self._name and (sent := self._repeated.feed(event.data)) is not None:
            self._count()
            return written(sent, event.name)
        content = json.loads(event.data)
        if self._spent:
            self._spent.see(content)
        if not self._usage_asked and isinstance(content, dict):
            usage = content.pop("usage", None)
            if usage is not None and not content.get("choices"):
                return b""
        if self._answer is None:
            self._count()
            return written(compact(content), event.name)
        named = self._answer.event(content, event.name)
        self._count(len(named))
        self._learn(event, content, named)
        return b"".join(written(compact(one), name) for name, one in named)

    def _learn(self, event: Event, content: Any, named: list[tuple[str, Any]]) -> None:
        """Learn the form of an event that adds to the same text as the one before it, and to nothing else."""
        assert self._answer is not None and event.data is not None  # nothing else is learned from
        joined = self._answer.joined(content) if len(named) == 1 and named[0][0] == event.name else None
        again = joined and self._joined and joined.text is self._joined.text
        self._repeated = learned(event.data, named[0][1], joined) if joined and again else None
        self._joined, self._name = joined, event.name

    def _count(self, events: int = 1) -> None:
        self._sent += events
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
