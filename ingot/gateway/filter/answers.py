"""Answers of an OpenAI-shaped server, redacted: whole bodies, and streams event by event."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ingot.gateway.filter.json_text import JsonRedactor, redacted_number
from ingot.gateway.filter.redactor import Redactor
from ingot.gateway.filter.rules import Rules

#: Further forms of the answer's text, as tokens: requests for them are refused, and what came all the same is dropped.
DROPPED = frozenset(
    (
        "logprobs",
        "prompt_logprobs",
        "token_ids",
        "prompt_token_ids",
        "token_offsets",
        "routed_experts",
        "kv_transfer_params",
        "ec_transfer_params",
        "mm_kwargs",
    )
)
#: What describes an answer and holds nothing of it; at the top.
_ENVELOPE = frozenset(["id", "object", "created", "model", "usage", "service_tier", "system_fingerprint", "metrics"])
#: The same, within a choice.
_FIXED = frozenset(["role", "type", "finish_reason", "index", "object"])
Json = Any
#: Where a joined text belongs: choice, then the kind of place, then its field or number.
Place = tuple[int, str, str | int]


@dataclass(frozen=True, slots=True)
class Joined:
    """A text that an event adds to, and nothing else: what reads it, and where its piece stands in the event."""

    text: Redactor | JsonRedactor
    path: tuple[str | int, ...]


class Withheld(Exception):
    """The answer cannot be redacted with certainty, so nobody gets it."""


def redacted(answer: Json, rules: Rules, *, json_content: bool = False) -> Json:
    """A whole answer with every text in it redacted. `json_content`: the request asked for JSON as content."""
    json_keys = frozenset({"arguments", "content", "text"}) if json_content else frozenset({"arguments"})
    if not isinstance(answer, dict):
        return within(answer, rules, json_keys)
    return {
        key: value if key in _ENVELOPE else within(value, rules, json_keys, key)
        for key, value in answer.items()
        if key not in DROPPED
    }


def within(value: Json, rules: Rules, json_keys: frozenset[str] = frozenset(), key: str = "") -> Json:
    """The value of a field `key`, every text in it redacted; `json_keys` are fields whose texts are JSON."""
    if isinstance(value, str):
        return _whole(JsonRedactor(rules) if key in json_keys else Redactor(rules), value)
    if isinstance(value, list):
        return [within(one, rules, json_keys, key) for one in value]
    if isinstance(value, dict):
        return {
            _whole(Redactor(rules), name): within(one, rules, json_keys, name)
            for name, one in value.items()
            if name not in DROPPED
        }
    if type(value) in (int, float):
        return redacted_number(value, rules) or value
    return value


def _whole(text: Redactor | JsonRedactor, whole: str) -> str:
    return text.feed(whole) + text.end()


class StreamedAnswer:
    """One streamed answer: each choice's texts are joined over its events, and flushed when the choice ends."""

    def __init__(self, rules: Rules, *, json_content: bool = False) -> None:
        self._rules = rules
        self._json_content = json_content
        self._texts: dict[Place, Redactor | JsonRedactor] = {}
        #: The name of a called function as it came, and as it was sent.
        self._names: dict[Place, tuple[str, str]] = {}
        self._finished: set[int] = set()
        self._envelope: dict[str, Json] = {}

    def event(self, event: Json, name: str = "") -> list[tuple[str, Json]]:
        """What to send for one event, with its name. Raises: Withheld."""
        return [(name, self._redacted(event))]

    def _redacted(self, event: Json) -> Json:
        if not isinstance(event, dict):
            raise Withheld
        choices = event.get("choices")
        if "error" in event and choices is None:
            return redacted(event, self._rules)
        if not isinstance(choices, list):
            raise Withheld
        out = {
            key: value if key in _ENVELOPE else within(value, self._rules)
            for key, value in event.items()
            if key != "choices" and key not in DROPPED
        }
        out["choices"] = [self._choice(choice) for choice in choices]
        self._envelope = event
        return out

    def joined(self, event: Json) -> Joined | None:
        """The one text that an event which was just read adds a piece to; None where it says more than that."""
        choices = event.get("choices")
        if not choices or len(choices) > 1 or choices[0].get("finish_reason") is not None:
            return None
        choice = choices[0]
        delta = choice.get("delta", {})
        pieces = [key for key, value in delta.items() if isinstance(value, str) and key not in _FIXED]
        path: tuple[str, ...]
        if "text" in choice and not delta:
            place, path = (choice["index"], "text", "text"), ("text",)
        elif (
            "text" not in choice
            and len(pieces) == 1
            and not any(isinstance(one, list | dict) for one in delta.values())
        ):
            place, path = (choice["index"], "delta", pieces[0]), ("delta", pieces[0])
        else:
            return None
        text = self._texts.get(place)
        return Joined(text, ("choices", 0, *path)) if text else None

    def end(self) -> list[tuple[str, Json]]:
        """A last event with what was held for choices that never said that they ended, if anything was."""
        left = [choice for index in sorted({place[0] for place in self._texts}) if (choice := self._left(index))]
        if not left:
            return []
        envelope = {key: value for key, value in self._envelope.items() if key in _ENVELOPE - {"usage"}}
        return [("", {**envelope, "choices": left})]

    def _left(self, index: int) -> Json | None:
        choice: dict[str, Json] = {}
        self._flush(index, choice)
        return {"index": index, "finish_reason": None, **choice} if choice else None

    def _choice(self, choice: Json) -> Json:
        index = choice.get("index") if isinstance(choice, dict) else None
        # More after its end could complete what was flushed there.
        if type(index) is not int or index in self._finished:
            raise Withheld
        out: dict[str, Json] = {}
        for key, value in choice.items():
            if key == "delta":
                if not isinstance(value, dict):
                    raise Withheld
                out[key] = self._delta(index, value)
            elif key == "text":
                if not isinstance(value, str):
                    raise Withheld
                out[key] = self._feed((index, "text", key), value, json_text=self._json_content)
            elif key in _FIXED:
                out[key] = value
            elif key not in DROPPED:
                out[key] = within(value, self._rules)
        if choice.get("finish_reason") is not None:
            self._finished.add(index)
            self._flush(index, out)
        return out

    def _delta(self, index: int, delta: dict[str, Json]) -> dict[str, Json]:
        out: dict[str, Json] = {}
        for key, value in delta.items():
            if key == "tool_calls" and isinstance(value, list):
                out[key] = [self._call(index, call) for call in value]
            elif key == "function_call" and isinstance(value, dict):
                out[key] = self._function((index, "function_call", key), value)
            elif key in _FIXED or value is None:
                out[key] = value
            elif isinstance(value, str):
                # Whatever the field: pieces of it are joined by who reads them.
                as_json = self._json_content and key == "content"
                out[key] = self._feed((index, "delta", key), value, json_text=as_json)
            elif key in ("content", "tool_calls", "function_call"):
                raise Withheld
            elif key not in DROPPED:
                out[key] = within(value, self._rules)
        return out

    def _call(self, index: int, call: Json) -> Json:
        number = call.get("index") if isinstance(call, dict) else None
        if type(number) is not int:
            raise Withheld
        out: dict[str, Json] = {"index": number}
        for key, value in call.items():
            if key == "function" and isinstance(value, dict):
                out[key] = self._function((index, "tool_calls", number), value)
            elif key not in _FIXED:
                out[key] = within(value, self._rules)
            else:
                out[key] = value
        return out

    def _function(self, place: Place, function: dict[str, Json]) -> dict[str, Json]:
        out: dict[str, Json] = {}
        for key, value in function.items():
            if key == "arguments" and isinstance(value, str):
                out[key] = self._feed(place, value, json_text=True)
            elif key == "name" and isinstance(value, str):
                out[key] = self._name(place, value)
            elif key not in DROPPED:
                out[key] = within(value, self._rules)
        return out

    def _name(self, place: Place, piece: str) -> str:
        """A function's name, which comes whole. Raises: Withheld where pieces of it are personal data together."""
        before, clean = self._names.get(place, ("", ""))
        sent = _whole(Redactor(self._rules), piece)
        self._names[place] = before + piece, clean + sent
        if before and _whole(Redactor(self._rules), before + piece) != clean + sent:
            raise Withheld
        return sent

    def _feed(self, place: Place, piece: str, *, json_text: bool) -> str:
        text = self._texts.get(place)
        if text is None:
            text = self._texts[place] = JsonRedactor(self._rules) if json_text else Redactor(self._rules)
        return text.feed(piece)

    def _flush(self, index: int, choice: dict[str, Json]) -> None:
        """Add what is held for a choice to its last event."""
        for place in [place for place in self._texts if place[0] == index]:
            tail = self._texts.pop(place).end()
            if not tail:
                continue
            _, kind, name = place
            if kind == "text":
                choice["text"] = choice.get("text", "") + tail
                continue
            delta = choice.setdefault("delta", {})
            if kind == "tool_calls":
                _append(_call_of(delta, name), tail)
            elif kind == "function_call":
                _append(delta.setdefault("function_call", {}), tail)
            else:
                delta[name] = (delta.get(name) or "") + tail


def _call_of(delta: dict[str, Json], number: str | int) -> dict[str, Json]:
    """The function of a tool call within a delta, added to it if it is not there."""
    calls = delta.get("tool_calls") or []
    delta["tool_calls"] = calls
    for call in reversed(calls):
        if call["index"] == number:
            return call.setdefault("function", {})  # type: ignore[no-any-return]
    calls.append({"index": number, "function": {}})
    return calls[-1]["function"]  # type: ignore[no-any-return]


def _append(function: dict[str, Json], tail: str) -> None:
    function["arguments"] = (function.get("arguments") or "") + tail


def compact(value: Json) -> str:
    """JSON in one line; lone surrogates, which UTF-8 cannot carry, as escapes."""
    text = _COMPACT.encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
