"""Streams whose events say by a type what they are: those of /v1/responses and of /v1/messages, redacted.

Pieces of one text are joined over its events. What is held of a text when its end is told comes in an event of its own
before that one, as one more piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ingot.gateway.filter.answers import DROPPED, Joined, Withheld, within
from ingot.gateway.filter.json_text import JsonRedactor
from ingot.gateway.filter.redactor import Redactor
from ingot.gateway.filter.rules import Rules

Json = Any
#: An event with its name.
Named = tuple[str, Json]

#: Numbers that say where an event belongs, and what it cost: never personal data.
_COUNTS = frozenset(
    ("sequence_number", "output_index", "content_index", "summary_index", "index", "usage", "created_at")
)
_PIECE = ".delta"
_WHOLE = ".done"
#: Whose end ends every text within it, by the field that says within what.
_ITEM_ENDS = frozenset(("response.output_item.done", "response.content_part.done"))
_ALL_END = frozenset(("response.completed", "response.incomplete", "response.failed", "error"))


def _told(event: dict[str, Json], rules: Rules, json_keys: frozenset[str]) -> dict[str, Json]:
    """An event that tells texts whole, redacted; its type stays."""
    return {
        key: value if key == "type" or key in _COUNTS else within(value, rules, json_keys, key)
        for key, value in event.items()
        if key not in DROPPED
    }


class StreamedResponse:
    """One stream of /v1/responses. `json_content`: the request asked for JSON as text."""

    def __init__(self, rules: Rules, *, json_content: bool = False) -> None:
        self._rules = rules
        self._json_keys = frozenset({"arguments", "text"}) if json_content else frozenset({"arguments"})
        self._json_content = json_content
        #: Kind and place of a text -> what reads it, and an event of it to make further ones from.
        self._texts: dict[tuple[Json, ...], tuple[Redactor | JsonRedactor, str, dict[str, Json]]] = {}
        self._ended: set[tuple[Json, ...]] = set()
        self._sequence = 0

    def event(self, event: Json, name: str) -> list[Named]:
        """What to send for one event. Raises: Withheld."""
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(kind, str):
            raise Withheld
        if kind.endswith(_PIECE):
            out = [self._piece(event, kind, name)]
        else:
            out = [*self._flush(event, kind), (name, _told(event, self._rules, self._json_keys))]
        return [(one, self._numbered(content)) for one, content in out]

    def joined(self, event: Json) -> Joined | None:
        """None: these events are numbered, so that no two of them differ in a text alone."""
        return None

    def end(self) -> list[Named]:
        """What was held of texts whose end was never told."""
        return [(one, self._numbered(content)) for one, content in self._flush({}, "error")]

    def _numbered(self, event: dict[str, Json]) -> dict[str, Json]:
        if type(event.get("sequence_number")) is not int:
            return event
        self._sequence += 1
        return {**event, "sequence_number": self._sequence - 1}

    def _piece(self, event: dict[str, Json], kind: str, name: str) -> Named:
        piece, place = event.get("delta"), _place(event, kind.removesuffix(_PIECE))
        if not isinstance(piece, str) or place in self._ended:
            raise Withheld
        if place not in self._texts:
            as_json = "arguments" in kind or (self._json_content and kind == "response.output_text.delta")
            rest = _told({key: value for key, value in event.items() if key != "delta"}, self._rules, frozenset())
            made: Redactor | JsonRedactor = JsonRedactor(self._rules) if as_json else Redactor(self._rules)
            self._texts[place] = made, name, rest
        text, _, rest = self._texts[place]
        return name, {**rest, "delta": text.feed(piece)}

    def _flush(self, event: dict[str, Json], kind: str) -> Iterator[Named]:
        """One more piece of each text that ends with this event, where something of it is held."""
        if kind in _ITEM_ENDS:
            ending = [place for place in self._texts if place[1] == event.get("output_index")]
        elif kind in _ALL_END:
            ending = list(self._texts)
        else:
            place = _place(event, kind.removesuffix(_WHOLE))
            ending = [place] if kind.endswith(_WHOLE) and place in self._texts else []
        for place in ending:
            text, name, rest = self._texts.pop(place)
            self._ended.add(place)
            if tail := text.end():
                yield name, {**rest, "delta": tail}


def _place(event: dict[str, Json], kind: str) -> tuple[Json, ...]:
    """Kind and place of the text that an event has a piece of, or ends."""
    names = ("output_index", "content_index", "summary_index", "item_id")
    place = (kind, *(event.get(name) for name in names))
    if any(isinstance(part, dict | list) for part in place):
        raise Withheld
    return place


#: Kind of piece -> the field that holds it, and whether it is JSON.
_BLOCK_PIECES = {
    "text_delta": ("text", False),
    "thinking_delta": ("thinking", False),
    "input_json_delta": ("partial_json", True),
}
#: Says that the engine wrote a thought; holds nothing of it.
_SIGNATURE = "signature_delta"


class StreamedMessage:
    """One stream of /v1/messages. `json_content` is not known there: text is text."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        #: Number of a block and kind of piece -> what reads it.
        self._texts: dict[tuple[int, str], Redactor | JsonRedactor] = {}
        self._ended: set[int] = set()

    def event(self, event: Json, name: str) -> list[Named]:
        """What to send for one event. Raises: Withheld."""
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(kind, str):
            raise Withheld
        if kind == "content_block_delta":
            return [(name, self._piece(event))]
        if kind == "content_block_stop":
            index = _index(event)
            self._ended.add(index)
            return [*self._flush(index), (name, event)]
        if kind in ("message_stop", "error"):
            return [*self.end(), (name, _told(event, self._rules, frozenset()))]
        return [(name, _told(event, self._rules, frozenset()))]

    def joined(self, event: Json) -> Joined | None:
        """The one text that an event which was just read adds a piece to; None where it says more than that."""
        delta = event.get("delta") if event.get("type") == "content_block_delta" else None
        kind = delta.get("type") if isinstance(delta, dict) else None
        if kind not in _BLOCK_PIECES:
            return None
        text = self._texts.get((event["index"], kind))
        return Joined(text, ("delta", _BLOCK_PIECES[kind][0])) if text else None

    def end(self) -> list[Named]:
        """What was held of blocks whose end was never told."""
        return [one for index in sorted({index for index, _ in self._texts}) for one in self._flush(index)]

    def _piece(self, event: dict[str, Json]) -> dict[str, Json]:
        index, delta = _index(event), event.get("delta")
        if not isinstance(delta, dict):
            raise Withheld
        kind = delta.get("type")
        if kind == _SIGNATURE:
            return event
        # More after its end could complete what was flushed there.
        if kind not in _BLOCK_PIECES or index in self._ended:
            raise Withheld
        field, is_json = _BLOCK_PIECES[kind]
        piece = delta.get(field)
        if not isinstance(piece, str):
            raise Withheld
        if (index, kind) not in self._texts:
            self._texts[index, kind] = JsonRedactor(self._rules) if is_json else Redactor(self._rules)
        return _block_piece(index, kind, self._texts[index, kind].feed(piece))

    def _flush(self, index: int) -> Iterator[Named]:
        for place in [place for place in self._texts if place[0] == index]:
            if tail := self._texts.pop(place).end():
                yield "content_block_delta", _block_piece(*place, tail)


def _block_piece(index: int, kind: str, piece: str) -> dict[str, Json]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, _BLOCK_PIECES[kind][0]: piece}}


def _index(event: dict[str, Json]) -> int:
    index = event.get("index")
    if type(index) is not int:
        raise Withheld
    return index
