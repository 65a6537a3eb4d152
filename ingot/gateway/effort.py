"""An estimate of the most work that a pattern can cause: nested repetitions can match one text in very many ways."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Steps that a search may take from one place of a text: about a tenth of a millisecond.
MOST_STEPS = 10_000
#: Characters that a pattern may have, its repetitions written out.
MOST_STATES = 10_000
#: Besides the characters that a pattern names: one of each usual kind.
_USUAL = "a0A -中"

Node = tuple[Any, Any]


class TooMuch(Exception):
    """The pattern, its repetitions written out, is larger than MOST_STATES."""


@dataclass(eq=False)
class _State:
    """One character of the pattern: what it takes, and in how many ways which states follow."""

    takes: str
    follow: Counter[_State] = field(repr=False)


class Effort:
    """The work of one pattern; `text_of` writes a node of one character as a pattern."""

    def __init__(self, nodes: Sequence[Node], text_of: Callable[[Node], str]) -> None:
        self._text_of = text_of
        self._states = 0
        self._named = set(_USUAL)
        self._first = self._sequence(nodes, Counter())

    def steps(self) -> int:
        """An estimate of the most steps that a search takes from one place; counting stops a little over MOST_STEPS.

        Looks for the worst text greedily: the next character is the one that leaves the most ways open.
        """
        taken: dict[tuple[str, str], bool] = {}

        def takes(state: _State, character: str) -> bool:
            key = state.takes, character
            if key not in taken:
                taken[key] = bool(re.fullmatch(state.takes, character, re.ASCII | re.DOTALL))
            return taken[key]

        ways, steps = self._first, 0
        while ways and steps <= MOST_STEPS:
            open_: list[Counter[_State]] = []
            for character in sorted(self._named):
                after: Counter[_State] = Counter()
                for state, count in ways.items():
                    if takes(state, character):
                        for following, more in state.follow.items():
                            after[following] += count * more
                open_.append(after)
            steps += ways.total()
            ways = max(open_, key=Counter.total)
        return steps

    def _sequence(self, nodes: Sequence[Node], follow: Counter[_State]) -> Counter[_State]:
        for node in reversed(nodes):
            follow = self._node(node, follow)
        return follow

    def _node(self, node: Node, follow: Counter[_State]) -> Counter[_State]:
        kind, value = str(node[0]), node[1]
        if kind == "SUBPATTERN":
            return self._sequence(value[3], follow)
        if kind == "BRANCH":
            return sum((self._sequence(branch, follow) for branch in value[1]), Counter())
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, inner = value
            rest = follow
            for done in range(most, 0, -1):
                rest = self._sequence(inner, rest)
                if done > least:
                    rest = rest + follow
                if self._states > MOST_STATES or done > MOST_STATES:
                    raise TooMuch
            return rest
        self._states += 1
        if self._states > MOST_STATES:
            raise TooMuch
        self._name(node)
        return Counter({_State(self._text_of(node), follow): 1})

    def _name(self, node: Node) -> None:
        """Remember a character that this node takes."""
        kind, value = str(node[0]), node[1]
        members = value if kind == "IN" else [node]
        for member in members:
            if str(member[0]) == "LITERAL":
                self._named.add(chr(member[1]))
            elif str(member[0]) == "RANGE":
                self._named.update(map(chr, member[1]))
