"""Events of a stream that differ in one text alone: read and written without taking their JSON apart each time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ingot.gateway.filter.answers import Joined, compact

#: Stands for the text while an event's form is learned.
_MARK = "\ue000"
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Repeated:
    """The form of such events: what stands `before` and `after` the text, as it came and as it is sent."""

    joined: Joined
    before: str
    after: str
    sent_before: str
    sent_after: str

    def feed(self, data: str) -> str | None:
        """What to send for an event of this form; None for one that differs in more than the text."""
        if not data.startswith(self.before):
            return None
        try:
            piece, end = _DECODER.raw_decode(data, len(self.before))
        except ValueError:
            return None
        if not isinstance(piece, str) or data[end:] != self.after:
            return None
        return f"{self.sent_before}{compact(self.joined.text.feed(piece))}{self.sent_after}"


def learned(data: str, sent: Any, joined: Joined) -> Repeated | None:
    """The form of an event that came as `data` and was sent as `sent`; None where it cannot be told with certainty."""
    key = f'"{joined.path[-1]}"'
    if data.count(key) != 1:
        return None
    place = data.index(key) + len(key)
    while data[place : place + 1] in (":", " "):
        place += 1
    try:
        _, end = _DECODER.raw_decode(data, place)
        before, after, mark = data[:place], data[end:], compact(_MARK)
        # Only where the text stands can another one appear when it is put there.
        if _at(json.loads(before + mark + after), joined.path) != _MARK:
            return None
    except (ValueError, LookupError, TypeError):
        return None
    told = compact(_with(sent, joined.path, _MARK)).split(mark)
    return Repeated(joined, before, after, *told) if len(told) == 2 else None


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _with(value: Any, path: tuple[str | int, ...], text: str) -> Any:
    """The value with a text at this place."""
    if not path:
        return text
    key, *rest = path
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[key] = _with(value[key], tuple(rest), text)  # type: ignore[index]
    return changed
