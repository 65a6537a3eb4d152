"""Redaction of a text that comes in pieces: however it is cut, what comes out is the redaction of the whole."""

from __future__ import annotations

from ingot.gateway.filter.numbers import LOOK_BACK
from ingot.gateway.filter.rules import Rules, plain


class Redactor:
    """One text. What is given back lags only as far as a match could still grow.

    `around` is put before and behind each replacement.
    """

    def __init__(self, rules: Rules, around: str = "") -> None:
        self._rules = rules
        self._around = around
        # The last characters that were given back (rules look at them), then what is held.
        self._text = ""
        self._plain = ""
        self._done = 0

    def feed(self, piece: str) -> str:
        """Take the next piece and give back what is decided."""
        self._text += piece
        self._plain += plain(piece)
        return self._release(self._rules.undecided(self._plain, self._done))

    def end(self) -> str:
        """Give back what was held: no more text follows."""
        return self._release(len(self._text))

    def _release(self, until: int) -> str:
        text, start, out = self._text, self._done, ""
        while start < until and (match := self._rules.first(self._plain, start, until)):
            out += f"{text[start : match.start]}{self._around}{match.rule.replacement}{self._around}"
            self._rules.hits[match.rule.name] += 1
            start = match.end
            # Behind a match there may be less to wait for than before it.
            until = max(until, start) if until == len(text) else self._rules.undecided(self._plain, start)
        if start < until:
            out += text[start:until]
            start = until
        keep = max(start - LOOK_BACK, 0)
        self._text, self._plain, self._done = text[keep:], self._plain[keep:], start - keep
        return out
