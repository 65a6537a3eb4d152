"""Patterns that can be searched for in a stream: bounded, and with a second pattern for what may still become a match.

A stream's end may hold the first characters of a match. How far it must be held back is decided by a pattern derived
here from the first one: it matches a text's tail if more text could still make, lengthen or forbid a match there.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ingot.gateway.effort import MOST_STEPS, Effort, TooMuch

#: Python's own parser of patterns; it has no public name, and is used on the control machine only.
_parser: Any = importlib.import_module("re._parser")

#: Matches nothing.
_NEVER = "(?!)"
_END = r"\Z"
_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
_NAMES = {
    "ASSERT": "a guard in its middle",
    "ASSERT_NOT": "a guard in its middle",
    "AT": "^, $ or \\b in its middle",
    "GROUPREF": "a back reference",
}
_ONE_CHARACTER = ("LITERAL", "NOT_LITERAL", "IN", "ANY")

Node = tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class Bounded:
    """A pattern of at most `longest` characters; `grows` matches the tail of a text that is not decided yet."""

    pattern: str
    grows: str
    longest: int


def bounded(pattern: str, max_length: int) -> Bounded:
    """A pattern that matches at most `max_length` characters, with what is searched for at a text's end.

    Raises: ValueError, a clause without its subject, when it is no regular expression, can match nothing or without
    limit, or more than `max_length` characters, or uses what a stream cannot decide (back references, guards in its
    middle), or would be searched for in so many ways that an answer could keep the filter busy.
    """
    try:
        re.compile(pattern, re.ASCII)
        parsed = _parser.parse(pattern, re.ASCII)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is no regular expression ({error}); correct it") from error
    shortest, longest = parsed.getwidth()
    if shortest == 0:
        raise ValueError("can match the empty text; write what must be there")
    if longest > max_length:
        raise ValueError(
            f"can match more than its max_length of {max_length} characters; use {{1,20}} instead of + or *, "
            "or raise max_length"
        )
    if parsed.state.flags & ~re.ASCII:
        raise ValueError("sets flags such as (?i); write [Aa] instead")
    nodes = list(parsed)
    try:
        grows = _undecided(nodes)
        heavy = Effort(nodes[_between_guards(nodes)], _text).steps() > MOST_STEPS
    except TooMuch:
        heavy = True
    except _Unsupported as unsupported:
        raise ValueError(
            f"uses {unsupported}, which cannot be searched for in a stream; use characters, classes, groups, "
            "alternatives, limited repetition, and guards such as (?<![0-9]) and (?![0-9]) at its two ends only"
        ) from None
    if heavy:
        raise ValueError(
            "can match a text in too many ways, which would hold up every answer; have repetitions that "
            "follow or contain each other begin with different characters, or lower their limits"
        )
    return Bounded(pattern, grows, longest)


class _Unsupported(Exception):
    """A construct whose match depends on more than the next character."""


def _undecided(nodes: Sequence[Node]) -> str:
    """The pattern for what `nodes` may still become: guards before it are kept, one behind it needs a character."""
    between = _between_guards(nodes)
    guards = "".join(_guard(node) for node in nodes[: between.start])
    return guards + _grows(nodes[between], _END if between.stop < len(nodes) else _NEVER)


def _between_guards(nodes: Sequence[Node]) -> slice:
    start, end = 0, len(nodes)
    while start < end and _is_guard(nodes[start], before=True):
        start += 1
    while end > start and _is_guard(nodes[end - 1], before=False):
        end -= 1
    return slice(start, end)


def _is_guard(node: Node, *, before: bool) -> bool:
    kind, value = node
    if str(kind) == "AT":
        return str(value) in ("AT_BOUNDARY", "AT_NON_BOUNDARY")
    if str(kind) not in ("ASSERT", "ASSERT_NOT"):
        return False
    direction, inner = value
    return direction == (-1 if before else 1) and len(inner) == 1 and str(inner[0][0]) in _ONE_CHARACTER


def _guard(node: Node) -> str:
    kind, value = str(node[0]), node[1]
    if kind == "AT":
        return r"\b" if str(value) == "AT_BOUNDARY" else r"\B"
    return f"(?<{'=' if kind == 'ASSERT' else '!'}{_group(value[1])})"


def _grows(nodes: Sequence[Node], rest: str) -> str:
    """A pattern for texts that end within `nodes`, or after them within `rest`."""
    for node in reversed(nodes):
        kind, value = str(node[0]), node[1]
        text = _text(node)
        if kind in _ONE_CHARACTER:
            rest = f"(?:{_END}|{text}{rest})"
        elif kind == "SUBPATTERN":
            rest = _grows(value[3], rest)
        elif kind == "BRANCH":
            begun = "|".join(_grows(branch, _NEVER) for branch in value[1])
            rest = f"(?:{begun}|{text}{rest})"
        else:  # a repetition: _text let nothing else through
            least, most, inner = value
            one = _group(inner)
            rest = f"(?:{one}{{0,{most - 1}}}{_grows(inner, _NEVER)}|{one}{{{least},{most}}}{rest})"
    return rest


def _group(nodes: Sequence[Node]) -> str:
    return f"(?:{''.join(_text(node) for node in nodes)})"


def _text(node: Node) -> str:
    """The node as a pattern again. Raises: _Unsupported."""
    kind, value = str(node[0]), node[1]
    if kind == "LITERAL":
        return _character(value)
    if kind == "NOT_LITERAL":
        return f"[^{_character(value)}]"
    if kind == "ANY":
        return "."
    if kind == "IN":
        return f"[{''.join(_member(member) for member in value)}]"
    if kind == "SUBPATTERN":
        if value[1] or value[2]:
            raise _Unsupported("flags within a group")
        return _group(value[3])
    if kind == "BRANCH":
        return f"(?:{'|'.join(_group(branch) for branch in value[1])})"
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        least, most, inner = value
        return f"{_group(inner)}{{{least},{most}}}{'?' if kind == 'MIN_REPEAT' else ''}"
    raise _Unsupported(_NAMES.get(kind, kind.lower().replace("_", " ")))


def _character(code: int) -> str:
    return f"\\U{code:08x}"


def _member(member: Node) -> str:
    kind, value = str(member[0]), member[1]
    if kind == "NEGATE":
        return "^"
    if kind == "LITERAL":
        return _character(value)
    if kind == "RANGE":
        return f"{_character(value[0])}-{_character(value[1])}"
    return _CATEGORIES[str(value)]
