"""What counts as personal data: rules read from the rules file, and where they match in a text."""

from __future__ import annotations

import copy
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ingot.gateway.filter.checks import CHECKS


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of personal data: `pattern` finds it, `check` (a name of CHECKS) may still say no.

    `grows` matches the tail of a text that may still become a match; `longest` is a match's length at most.
    """

    name: str
    pattern: str
    grows: str
    longest: int
    check: str | None = None

    @property
    def replacement(self) -> str:
        """What stands in an answer instead of a match."""
        return f"[redacted:{self.name}]"


@dataclass(frozen=True, slots=True)
class Match:
    """A rule's match from `start` up to `end`."""

    start: int
    end: int
    rule: Rule


#: Every decimal digit of Unicode (full-width, mathematical, Arabic, …), full-width letters and signs, and the usual
#: dashes and spaces, as the ASCII character they stand for; one for one, so that places in the text stay the same.
PLAIN = {
    **{code: str(unicodedata.decimal(chr(code))) for code in range(0x80, 0x20000) if chr(code).isdecimal()},
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys([*range(0x2010, 0x2016), 0x2212, 0xFE63], "-"),
    **dict.fromkeys([0xA0, 0x3000, *range(0x2000, 0x200B), 0x202F], " "),
}


def plain(text: str) -> str:
    """The text as rules see it, of the same length."""
    return text if text.isascii() else text.translate(PLAIN)


class Rules:
    """Rules in the order of their precedence. Where several match at one place the first one counts."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        #: How often each rule replaced something, by name.
        self.hits: Counter[str] = Counter()
        if not self.rules:
            raise ValueError("no rules")
        self._each: list[tuple[Rule, re.Pattern[str], Callable[[str], bool] | None]] = [
            (rule, re.compile(rule.pattern, re.ASCII), CHECKS[rule.check] if rule.check else None)
            for rule in self.rules
        ]
        self._any = re.compile("|".join(f"(?:{rule.pattern})" for rule in self.rules), re.ASCII)
        self._grows = re.compile("|".join(f"(?:{rule.grows})" for rule in self.rules), re.ASCII)
        self._longest = max(rule.longest for rule in self.rules)

    def first(self, text: str, start: int) -> Match | None:
        """The first match at or after `start` of a text that is `plain`; guards see what is before it."""
        while candidate := self._any.search(text, start):
            start = candidate.start()
            for rule, pattern, check in self._each:
                found = pattern.match(text, start)
                if found and (check is None or check(found.group())):
                    return Match(start, found.end(), rule)
            start += 1
        return None

    def undecided(self, text: str, start: int) -> int:
        """The first place at or after `start` where more text could still make, lengthen or forbid a match."""
        found = self._grows.search(text, max(start, len(text) - self._longest))
        return found.start() if found else len(text)

    def counted_anew(self) -> Rules:
        """The same rules with counts of their own."""
        twin = copy.copy(self)
        twin.hits = Counter()
        return twin

    @classmethod
    def from_dicts(cls, stored: Iterable[Mapping[str, Any]]) -> Rules:
        """The rules as the rules file has them. Raises: KeyError, TypeError, ValueError or re.error."""
        return cls(Rule(**rule) for rule in stored)
