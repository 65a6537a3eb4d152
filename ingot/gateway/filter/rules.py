"""What counts as personal data: rules read from the rules file, and where they match in a text."""

from __future__ import annotations

import copy
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ingot.gateway.filter import numbers
from ingot.gateway.filter.addresses import CHECKS
from ingot.gateway.filter.recognisers import RECOGNISERS, THRESHOLD, Sight, recognised

#: The rules that Ingot brings.
BUILT_IN = frozenset([*RECOGNISERS, "email"])

#: Every character that the patterns which Ingot brings can match.
_IN_PATTERNS = f"{string.ascii_letters}{string.digits}._%+-@:"

#: Matches nothing.
NEVER = "(?!)"
#: No number of a person has fewer characters.
SHORTEST = 6


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of personal data: a kind of number that RECOGNISERS knows, a pattern, or both.

    A number counts from the confidence `threshold` on. `pattern` finds a text that `check` (a name of CHECKS) may still
    refuse; `grows` matches the tail of a text that may still become a match; `longest` is a match's length at most.
    """

    name: str
    number: bool = False
    threshold: float = THRESHOLD
    pattern: str = ""
    grows: str = ""
    longest: int = 0
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
    """Rules in the order of their precedence. Of several matches at one place the longest counts, then the first."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        #: How often each rule replaced something, by name.
        self.hits: Counter[str] = Counter()
        if not self.rules:
            raise ValueError("no rules")
        self._numbers = [rule for rule in self.rules if rule.number]
        patterns = [rule for rule in self.rules if rule.pattern]
        self._each: list[tuple[Rule, re.Pattern[str], Callable[[str], bool] | None]] = [
            (rule, re.compile(rule.pattern, re.ASCII), CHECKS[rule.check] if rule.check else None) for rule in patterns
        ]
        self._any = re.compile("|".join(f"(?:{rule.pattern})" for rule in patterns) or NEVER, re.ASCII)
        self._grows = re.compile("|".join(f"(?:{rule.grows})" for rule in patterns) or NEVER, re.ASCII)
        # Of what Ingot brings, nothing matches without one of these; most pieces of an answer have none of them.
        self._hint = re.compile("[0-9@:]") if all(rule.name in BUILT_IN for rule in self.rules) else None
        self._longest = max((rule.longest for rule in patterns), default=0)

    def first(self, text: str, start: int, until: int) -> Match | None:
        """The first match from `start` on that begins before `until`; text is `plain`, what is before is looked at."""
        if self._hint and not self._hint.search(text, start):
            return None
        number = self._first_number(text, start, until) if self._numbers else None
        pattern = self._first_pattern(text, start, number.start + 1 if number else until)
        if number and pattern:
            return min(pattern, number, key=lambda match: (match.start, -match.end))
        return number or pattern

    def _first_number(self, text: str, start: int, until: int) -> Match | None:
        place = numbers.begins(text, start)
        while place is not None and place < until:
            found = self._number_at(text, place)
            if found and found.start < until:
                return found
            place = numbers.begins(text, place + 1)
        return None

    def _number_at(self, text: str, place: int) -> Match | None:
        number = numbers.number_at(text, place)
        if len(number.written) < SHORTEST:
            return None
        sight = Sight(number, text, place)
        best: tuple[float, int, Rule] | None = None
        for rule in self._numbers:
            seen = recognised(rule.name, sight)
            if seen and seen[1] >= rule.threshold and (best is None or seen[1] > best[0]):
                best = seen[1], number.end(seen[0]), rule
        if best is None:
            return None
        _, end, rule = best
        # A bracket around the number stays; one that is closed within it, as around an area code, goes.
        inside = text[place:end]
        start = place if ")" in inside else number.places[0]
        closes = text[end : end + 1] == ")" and text.count("(", start, end) > text.count(")", start, end)
        return Match(start, end + closes, rule)

    def _first_pattern(self, text: str, start: int, until: int) -> Match | None:
        while (candidate := self._any.search(text, start)) and candidate.start() < until:
            start = candidate.start()
            for rule, pattern, check in self._each:
                found = pattern.match(text, start)
                if found and (check is None or check(found.group())):
                    return Match(start, found.end(), rule)
            start += 1
        return None

    def undecided(self, text: str, start: int) -> int:
        """The first place at or after `start` where more text could still make, lengthen or forbid a match."""
        since = max(start, len(text) - self._longest)
        if self._hint:
            since = max(since, len(text.rstrip(_IN_PATTERNS)))
        found = self._grows.search(text, since)
        place = found.start() if found else len(text)
        return min(place, numbers.undecided(text, start)) if self._numbers else place

    def counted_anew(self) -> Rules:
        """The same rules with counts of their own."""
        twin = copy.copy(self)
        twin.hits = Counter()
        return twin

    @classmethod
    def from_dicts(cls, stored: Iterable[Mapping[str, Any]]) -> Rules:
        """The rules as the rules file has them. Raises: KeyError, TypeError, ValueError or re.error."""
        return cls(Rule(**rule) for rule in stored)
