"""Numbers as people write them: what stands at one place of a text, without the marks and signs between its digits.

A number may be grouped by spaces, dashes, dots, slashes or line breaks, and hold marks that no reader sees. What
is decided about the place `start` depends on the text from `start - LOOK_BACK` up to `start + REACH` alone, so that a
text that comes in pieces is judged as the whole is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Characters of a number that are read, at most; no number of a person is longer with its separators.
LONGEST = 80
#: Signs and marks between two characters of a number, at most.
_WIDEST_GAP = 6
#: Letters in a row within a number, at most, behind a gap and behind a digit: more of them are a word.
_MOST_LETTERS, _MOST_TOUCHING = 4, 9
#: Characters behind a number that may decide about it.
LOOK_AHEAD = 8
REACH = LONGEST + _WIDEST_GAP + LOOK_AHEAD
#: Characters before a number that may decide about it: the words of its sentence.
LOOK_BACK = 40

#: Marks that are not seen, or that only emphasise: zero-width characters, directions, soft hyphens; Markdown.
_UNSEEN = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff"
_MARKS = "*`~"
#: What groups digits. `plain` has made every dash and space one of these; middle dots and the like stand for a dot.
_SIGNS = {
    **dict.fromkeys(" \t", " "),
    **dict.fromkeys("\n\r", "\n"),
    **dict.fromkeys("-_", "-"),
    **dict.fromkeys(".\u00b7\u2022\u2027\u2219\u22c5\u2e31\u30fb\uff65", "."),
    **dict.fromkeys("/|\\", "/"),
    **{one: one for one in ",:()"},
}
_UNSEEN_SET = frozenset(chr(code) for code in range(0x10000) if re.match(f"[{_UNSEEN}]", chr(code)))
_SKIPPED = _UNSEEN_SET | frozenset(_MARKS)
_GAP = f"[{re.escape(''.join(_SIGNS))}{_UNSEEN}{re.escape(_MARKS)}]"
#: Provinces as number plates name them, and consulates.
PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领"

#: Where a number can begin: a digit that no digit precedes, a plus or bracket before one, one or two letters before
#: one that no letter precedes, or a plate.
_BEGIN = (
    rf"(?:(?<![0-9])[0-9]|[+(]{_GAP}{{0,2}}[0-9]|(?<![0-9A-Za-z])[A-Za-z]{{1,2}}{_GAP}{{0,2}}[0-9]"
    rf"|[{PROVINCES}]{_GAP}{{0,2}}[A-Za-z]{_GAP}{{0,2}}[0-9A-Za-z])"
)
_BEGINS = re.compile(_BEGIN)
_UNIT = (
    rf"(?:{_GAP}{{0,{_WIDEST_GAP}}}[0-9]|{_GAP}{{1,{_WIDEST_GAP}}}[A-Za-z]{{1,{_MOST_LETTERS}}}(?![A-Za-z])"
    rf"|[{_UNSEEN}{re.escape(_MARKS)}]{{0,{_WIDEST_GAP}}}[A-Za-z]{{1,{_MOST_TOUCHING}}}(?![A-Za-z]))"
)
#: The tail of a text in which a number can still begin or go on, or what is behind it can still come.
_UNDECIDED = re.compile(
    rf"(?:{_BEGIN}{_UNIT}*(?:{_GAP}{{0,{_WIDEST_GAP}}}[A-Za-z]{{0,{LOOK_AHEAD}}})\Z"
    rf"|[+(]{_GAP}{{0,2}}\Z|(?<![0-9A-Za-z])[A-Za-z]{{1,2}}{_GAP}{{0,2}}\Z"
    rf"|[{PROVINCES}](?:{_GAP}{{0,2}}[A-Za-z])?{_GAP}{{0,2}}\Z)",
    re.DOTALL,
)
#: What a number has once more of it stands there than one or two letters and a gap of two.
_MORE = re.compile(f"[0-9+({PROVINCES}]")
_MOST_BEGUN = 4


@dataclass(frozen=True, slots=True)
class Number:
    """What stands at a place of a text.

    `written` has letters, digits, and one sign for everything between two of them: a space, a line break or one of
    `-./,:()`. `places` are where its characters stand in the text, and `end` is behind the last of them.
    """

    written: str
    places: tuple[int, ...]

    def end(self, length: int) -> int:
        """Where the first `length` characters of `written` end in the text."""
        return self.places[length - 1] + 1


def begins(text: str, start: int) -> int | None:
    """The first place at or after `start` where a number can begin; None when there is none."""
    found = _BEGINS.search(text, start)
    return found.start() if found else None


def undecided(text: str, start: int) -> int:
    """The first place at or after `start` about which more text could still decide."""
    since = max(start, len(text) - REACH)
    if not _MORE.search(text, since):
        # Only the first letters of a number can stand here, at the end.
        since = max(since, len(text) - _MOST_BEGUN)
    found = _UNDECIDED.search(text, since)
    return found.start() if found else len(text)


def number_at(text: str, start: int) -> Number:
    """What stands at `start`, up to what cannot be within a number."""
    written: list[str] = []
    places: list[int] = []
    gap: list[str] = []
    width = letters = 0
    most = _MOST_TOUCHING
    for place in range(start, min(start + LONGEST, len(text))):
        one = text[place]
        if one.isascii() and one.isalnum():
            if gap:
                letters, most = 0, _MOST_LETTERS
            letters, most = (0, _MOST_TOUCHING) if one.isdigit() else (letters + 1, most)
            if letters > most:
                # A word: neither it nor what separates it belongs to the number.
                del written[-most:], places[-most:]
                if written and not written[-1].isalnum():
                    written.pop(), places.pop()
                break
            if gap and written:
                written.append(_sign(gap))
                places.append(place - 1)
            gap, width = [], 0
            written.append(one)
            places.append(place)
            continue
        if not written and (one == "+" or one in PROVINCES):
            written.append(one)
            places.append(place)
            continue
        width += 1
        if width > _WIDEST_GAP:
            break
        if one in _SIGNS:
            gap.append(_SIGNS[one])
            if gap.count("\n") > 1:
                break
        elif one not in _SKIPPED:
            break
        elif one in _MARKS and width > 2 and not gap:
            # Emphasis within a number changes nothing; a row of asterisks hides digits.
            break
    return Number("".join(written), tuple(places))


def _sign(gap: list[str]) -> str:
    """The one sign that stands for all between two characters: brackets, then what is seen, then white space."""
    for wanted in ("(", ")", "\n"):
        if wanted in gap:
            return wanted
    return next((one for one in gap if one != " "), " ")


def seen_before(text: str, start: int) -> str:
    """The text before `start` without what is not seen, at most LOOK_BACK characters of it."""
    return "".join(one for one in text[max(0, start - LOOK_BACK) : start] if one not in _SKIPPED)
