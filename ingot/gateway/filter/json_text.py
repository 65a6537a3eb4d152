"""Redaction of JSON text that comes in pieces, such as a tool call's arguments: what comes out is JSON text again.

Digits can be written as `\\u0031` within its strings, and a number cannot hold a replacement; so strings are read and
written anew, each a text of its own, and a number that is personal data becomes a string.
"""

from __future__ import annotations

import re

from ingot.gateway.filter.redactor import Redactor
from ingot.gateway.filter.rules import Rules

_SIMPLE = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WRITTEN = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_MUST_ESCAPE = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')
_HEX = re.compile(r"[0-9A-Fa-f]{4}")
#: What may still become the second half of a surrogate pair.
_LOW_BEGUN = re.compile(r"(?:\\(?:u[0-9A-Fa-f]{0,3})?)?")
_SPAN = re.compile(r'[^"\\]+')
#: Outside of strings: a number, or what redaction left of one.
_NUMBER = re.compile(r'(?:[-+.0-9eE]|"\[redacted:[a-z0-9-]+\]")+')
_NOT_PLAIN = re.compile(r"[.eE]")
_REPLACEMENT = re.compile(r'"\[[^"]*"')
#: No number that is personal data has more than 19 digits.
_LARGEST = 1e20
#: Longest number that is held back for what may follow it, characters; nothing that is meant is longer.
_LONGEST_NUMBER = 256


class JsonRedactor:
    """One JSON text. `feed` and `end` as `Redactor` has them."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._rest = ""
        self._in_string = False
        self._inside = Redactor(rules)
        self._outside = Redactor(rules, '"')
        self._number = ""
        # Within a number that is too long to be held.
        self._endless = False

    def feed(self, piece: str) -> str:
        """Take the next piece and give back what is decided."""
        return self._take(self._rest + piece, last=False)

    def end(self) -> str:
        """Give back what was held: no more text follows."""
        out = self._take(self._rest, last=True)
        if self._in_string:
            return out + _escaped(self._inside.end())
        return out + self._numbers(self._outside.end(), last=True)

    def _take(self, text: str, *, last: bool) -> str:
        out, place = "", 0
        self._rest = ""
        while place < len(text):
            if not self._in_string:
                quote = text.find('"', place)
                if quote < 0:
                    return out + self._numbers(self._outside.feed(text[place:]), last=False)
                out += self._numbers(self._outside.feed(text[place:quote]) + self._outside.end(), last=True) + '"'
                self._in_string, self._inside, place = True, Redactor(self._rules), quote + 1
            elif text[place] == '"':
                out += _escaped(self._inside.end()) + '"'
                self._in_string, self._outside, place = False, Redactor(self._rules, '"'), place + 1
            elif text[place] == "\\":
                read = _unescaped(text, place, last=last)
                if read is None:
                    self._rest = text[place:]
                    return out
                out += _escaped(self._inside.feed(read[0]))
                place = read[1]
            else:
                span = _SPAN.match(text, place)
                assert span  # neither a quote nor a backslash is here
                out += _escaped(self._inside.feed(span.group()))
                place = span.end()
        return out

    def _numbers(self, text: str, *, last: bool) -> str:
        """Text outside of strings, each number with a replacement in it being that replacement alone."""
        text, self._number = self._number + text, ""
        out, place = "", 0
        if self._endless:
            begun = _NUMBER.match(text)
            place = begun.end() if begun else 0
            out, self._endless = text[:place], place == len(text) and not last
        for number in _NUMBER.finditer(text, place):
            out += text[place : number.start()]
            place = number.end()
            goes_on, short = place == len(text) and not last, len(number.group()) <= _LONGEST_NUMBER
            if goes_on and short:
                self._number = number.group()
                continue
            out += self._number_as_told(number.group()) if short else number.group()
            self._endless = goes_on
        return out + text[place:]

    def _number_as_told(self, number: str) -> str:
        """A number, or what stands for it: 1.3800138E10 is personal data as much as 13800138000."""
        replacement = _REPLACEMENT.search(number)
        if replacement:
            return replacement.group()
        try:
            value = float(number) if _NOT_PLAIN.search(number) else 0.5
        except ValueError:
            return number
        return redacted_number(value, self._rules, '"') or number


def redacted_number(value: float, rules: Rules, around: str = "") -> str | None:
    """What stands for a number that is personal data, written out; None for any other."""
    if isinstance(value, float) and not (value.is_integer() and abs(value) < _LARGEST):
        return None
    written = str(abs(int(value)))
    redactor = Redactor(rules, around)
    clean = redactor.feed(written) + redactor.end()
    return None if clean == written else clean


def _unescaped(text: str, place: int, *, last: bool) -> tuple[str, int] | None:
    """The character that an escape at `place` stands for, and where it ends; None when more text must come first.

    What is no escape stands for itself.
    """
    following = text[place + 1 : place + 2]
    if following in _SIMPLE and following:
        return _SIMPLE[following], place + 2
    if following == "u":
        code = _HEX.fullmatch(text[place + 2 : place + 6])
        if code:
            value = int(code.group(), 16)
            if not 0xD800 <= value < 0xDC00:
                return chr(value), place + 6
            low = text[place + 6 : place + 12]
            if len(low) == 6 and low.startswith("\\u") and _HEX.fullmatch(low[2:]):
                second = int(low[2:], 16)
                if 0xDC00 <= second < 0xE000:
                    return chr(0x10000 + ((value - 0xD800) << 10) + (second - 0xDC00)), place + 12
            return None if not last and _LOW_BEGUN.fullmatch(low) else (chr(value), place + 6)
        if not last and len(text) < place + 6 and re.fullmatch(r"[0-9A-Fa-f]*", text[place + 2 :]):
            return None
    elif not following and not last:
        return None
    return "\\", place + 1


def _escaped(text: str) -> str:
    """Text as it stands within a JSON string; lone surrogates, which UTF-8 cannot carry, as escapes."""
    return _MUST_ESCAPE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return _WRITTEN.get(found.group(), f"\\u{ord(found.group()):04x}")
