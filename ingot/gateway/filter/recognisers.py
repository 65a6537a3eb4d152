"""Kinds of numbers that are personal data: how each is written, and how sure one can be of it.

A recogniser looks at one `Number` and says how much of it is of its kind, with a confidence between 0 and 1: what its
form alone says, more with a check digit that is right, more or less by the words before it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ingot.gateway.filter import checks, context
from ingot.gateway.filter.numbers import LOOK_AHEAD, PROVINCES, Number, seen_before

#: What words before a number add to the confidence, or take from it.
RAISED, LOWERED = 0.35, 0.4
#: What is certain enough when a site states nothing else.
THRESHOLD = 0.5

_SIGN = r"[-./ \n,:()]"
_G = f"{_SIGN}?"
_SIGNS = re.compile(_SIGN)
#: Behind a number: what counts or measures makes it an amount.
_UNIT = re.compile(
    r"\s?(?:[元块円圆次个個年人%℃°万亿字批件条套行页]|(?:bytes?|rows?|items?|lines?|tokens?|times|ms|[kmgt]i?b|px|hz|k[gm])(?![a-z]))",
    re.I,
)
_WORD_BEFORE = re.compile(r"([0-9A-Za-z]+)$")
#: What makes four numbers a version: a letter that touches them, a release behind them.
_VERSION, _RELEASE = re.compile(r"(?<![A-Za-z])[vVrR]$"), re.compile(r"[-+~][A-Za-z]")
#: A path, a parameter or the number of an issue that the number is a part of.
_PATH_BEFORE = re.compile(r"[A-Za-z][\w.:-]*/[\w./-]*$|[?&#=][\w-]*$|[A-Za-z0-9]_$", re.ASCII)


@dataclass(frozen=True, slots=True)
class Sight:
    """What a recogniser sees: the number, and the text before and behind it."""

    number: Number
    text: str
    start: int

    @property
    def before(self) -> str:
        return seen_before(self.text, self.start)

    def after(self, length: int) -> str:
        end = self.number.end(length)
        return self.text[end : end + LOOK_AHEAD]


#: How many characters of the number are of the kind, and the confidence by its form.
Seen = tuple[int, float]
Recogniser = Callable[[Sight], Iterator[Seen]]


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.ASCII)


def _spread(*groups: str) -> str:
    """Characters with a sign allowed between any two of them."""
    return _G.join(groups)


def _groups(written: str) -> tuple[int, ...]:
    return tuple(len(group) for group in _SIGNS.split(written) if group)


def _kinds(written: str) -> frozenset[str]:
    return frozenset(_SIGNS.findall(written))


def _grouped(written: str, usual: frozenset[tuple[int, ...]]) -> float:
    """How much the grouping of digits says for a number that people group in the usual ways: from 1 down to 0."""
    groups, kinds = _groups(written), _kinds(written)
    if "," in kinds:
        # Thousands, or a list.
        return 0.0
    if len(groups) == 1 or groups in usual:
        return 1.0
    if kinds == {"."} and (len(groups) == 2 or max(groups) <= 3):
        # A number with decimals; an address of the internet.
        return 0.0
    if len(kinds - {"(", ")"}) > 2 or "(" in written[1:]:
        return 0.0
    if set(groups) == {1} or (len(groups) == 2 and "\n" in written):
        return 0.8
    return 0.75 if len(groups) <= 5 and min(groups) >= 2 else 0.0


_MOBILE = _pattern(rf"(?P<country>(?:\+{_G})?(?:0{_G}0{_G})?8{_G}6{_G})?" + _spread("1", "[3-9]", *[r"\d"] * 9))
_MOBILE_GROUPS = frozenset(
    {(3, 4, 4), (3, 8), (7, 4), (4, 7), (3, 3, 5), (4, 3, 4), (5, 6), (3, 5, 3), (3, 2, 2, 2, 2)}
)


def mobile(sight: Sight) -> Iterator[Seen]:
    """Mainland China: 11 digits from 13 to 19, perhaps with the country's prefix."""
    found = _MOBILE.match(sight.number.written)
    if found:
        country = found["country"] or ""
        grouped = _grouped(found.group()[len(country) :], _MOBILE_GROUPS)
        yield found.end(), (0.75 if country else 0.7) * grouped


_P = r"[-./ \n()]?"
_LANDLINE = _pattern(
    rf"(?:(?:\+{_P}|0{_P}0{_P})8{_P}6{_P}0?|\(?0)(?P<area>10|2[0-57-9]|[3-9]\d{{2}})(?P<sign>{_P})"
    rf"(?P<local>[2-8]\d{{2,3}}{_P}\d{{4}})(?:[- ](?P<extension>\d{{1,5}}))?"
)
_LOCAL = _pattern(r"[2-8]\d{2,3}[- ]?\d{4}(?![0-9])")
_ABROAD = _pattern(rf"\+{_G}(?!8{_G}6)[1-9]\d{{0,2}}(?:[-. \n()]?\d){{7,12}}")
#: Before a plus: a name, a version, a sum.
_ADDED_TO = re.compile(r"[A-Za-z0-9.+~]$", re.ASCII)
_HONG_KONG_PHONE = _pattern(r"[569]\d{3}[- ]?\d{4}")
_TAIWAN_PHONE = _pattern(
    r"09\d{2}(?P<sign>[- ]?)\d{3}(?P=sign)\d{3}(?![0-9])|\(?0[2-8]\)?[- ]?\d{3,4}[- ]\d{4}(?![0-9])"
)


def landline(sight: Sight) -> Iterator[Seen]:
    """Mainland China: area code, seven or eight digits, an extension; any country's with its prefix; local numbers."""
    written = sight.number.written
    found = _LANDLINE.match(written)
    if found:
        local = len(checks.digits(found["local"]))
        certain = 0.65 if found["sign"] or "+" in found.group() else 0.5
        if local == 8 or len(found["area"]) == 3:
            if found["extension"]:
                yield found.end(), certain
            yield found.end("local"), certain
    found = _ABROAD.match(written)
    if found and len(_groups(found.group())) <= 6 and not _ADDED_TO.search(sight.before):
        yield found.end(), 0.6
    for pattern in (_LOCAL, _HONG_KONG_PHONE, _TAIWAN_PHONE):
        found = pattern.match(written)
        if found:
            yield found.end(), 0.2


_RESIDENT = _pattern(_spread(*[r"\d"] * 17) + f"{_G}[0-9Xx](?![0-9])")
_RESIDENT_FORMER = _pattern(_spread(*[r"\d"] * 15) + r"(?![-./ ]?[0-9Xx])")
_RESIDENT_GROUPS = frozenset(
    {
        (6, 8, 4),
        (6, 4, 4, 4),
        (4, 4, 4, 4, 2),
        (3, 3, 4, 4, 4),
        (6, 4, 2, 2, 4),
        (6, 8, 3, 1),
        (6, 12),
        (14, 4),
        (17, 1),
    }
    | {(6, 6, 3), (3, 3, 3, 3, 3), (6, 9), (12, 3), (6, 2, 2, 2, 3), (6, 6, 6), (3, 3, 3, 3, 3, 3), (10, 8), (9, 9)}
)


def resident_id(sight: Sight) -> Iterator[Seen]:
    """Mainland China, GB 11643: region, day of birth, sequence, check digit; 15 digits of before 1999 have none.

    Models make up numbers with a wrong check digit that are personal data all the same.
    """
    for pattern in (_RESIDENT, _RESIDENT_FORMER):
        found = pattern.match(sight.number.written)
        if not found:
            continue
        number = _SIGNS.sub("", found.group())
        if not checks.is_resident(number):
            continue
        grouped = _grouped(found.group(), _RESIDENT_GROUPS)
        if len(number) == 15:
            yield found.end(), 0.5 * grouped
        elif checks.mod_11_2(number):
            yield found.end(), max(0.9 * grouped, 0.55)
        else:
            yield found.end(), 0.75 * grouped


_CARDS = tuple(_pattern(rf"\d(?:{_G}\d){{{length - 1}}}(?![0-9])") for length in (19, 18, 17, 16, 15, 14, 13))
_CARD_GROUPS = frozenset(
    {
        (4, 4, 4, 4),
        (4, 4, 4, 4, 3),
        (4, 4, 4, 4, 2),
        (4, 4, 4, 4, 1),
        (4, 6, 5),
        (4, 6, 4),
        (6, 13),
        (6, 10),
        (4, 4, 4, 6),
        (4, 4, 4, 7),
        (4, 4, 5),
        (8, 8),
        (6, 4, 4, 4),
        (5, 5, 5, 4),
        (4, 5, 6),
    }
)


def bank_card(sight: Sight) -> Iterator[Seen]:
    """ISO/IEC 7812: 13 to 19 digits as an issuer gives them; the check digit is evidence, since people mistype."""
    for pattern in _CARDS:
        found = pattern.match(sight.number.written)
        if not found:
            continue
        number = checks.digits(found.group())
        if not checks.is_issued(number):
            continue
        grouped = _grouped(found.group(), _CARD_GROUPS)
        if checks.luhn(number):
            yield found.end(), 0.8 * grouped
        elif len(_groups(found.group())) > 1:
            yield found.end(), 0.55 * grouped
        else:
            yield found.end(), 0.5 if number.startswith("62") and len(number) in (16, 19) else 0.4


_NO_IO = "[A-HJ-NP-Za-hj-np-z]"
_PASSPORT = _pattern(
    rf"(?P<new>[Ee]{_G}(?:\d|{_NO_IO}){_G}\d(?:{_G}\d){{6}}|[Gg]{_G}\d(?:{_G}\d){{7}})(?![0-9A-Za-z])"
    rf"|(?P<former>[DSPHKCWLMTdsphkcwlmt]{_G}(?:\d{_G}\d|[A-Za-z]{_G}\d|\d)(?:{_G}\d){{6}}(?:{_G}\d{{2}})?"
    rf"|[Gg]{_G}\d(?:{_G}\d){{6}})(?![0-9A-Za-z])"
    rf"|(?P<first>1{_G}[45](?:{_G}\d){{7}})"
)

#: Two years, as behind a copyright's sign.
_YEARS = _pattern(r"(?:19|20)\d\d-(?:19|20)\d\d$")


def passport(sight: Sight) -> Iterator[Seen]:
    """Mainland passports, today's (E) and former ones (G, D, S, P, 14, 15), permits for Hong Kong, Macao and Taiwan."""
    found = _PASSPORT.match(sight.number.written)
    if not found or len(_groups(found.group())) > 4 or _kinds(found.group()) & {",", ":", "(", ")"}:
        return
    first = found.group()[0]
    if (first.islower() and found.group()[1] == ".") or _YEARS.search(found.group()):
        # The end of an abbreviation; a copyright.
        return
    if found["first"]:
        yield found.end(), 0.2
    elif found["new"]:
        yield found.end(), 0.65 if first.isupper() else 0.5
    else:
        yield found.end(), 0.55 if first in "GDSPHC" and not found.group()[1].isalpha() else 0.25


_HONG_KONG = _pattern(
    rf"(?P<letters>[A-Za-z]{{1,2}}){_G}(?P<number>\d{{3}} ?\d{{3}})(?P<sign>{_G})(?P<check>[0-9Aa])(?![0-9A-Za-z])"
)


def hong_kong_id(sight: Sight) -> Iterator[Seen]:
    """Hong Kong: one or two letters, six digits, a check character that is mostly in brackets."""
    found = _HONG_KONG.match(sight.number.written)
    if found:
        right = checks.is_hong_kong(found["letters"], checks.digits(found["number"]), found["check"])
        if found["sign"] == "(":
            yield found.end(), 0.85 if right else 0.6
        else:
            certain = 0.55 if found["letters"].isupper() else 0.25
            yield found.end(), certain if right else 0.1


_TAIWAN = _pattern(rf"(?P<letter>[A-Za-z]){_G}(?P<number>[1289](?:{_G}\d){{8}})(?![0-9A-Za-z])")


def taiwan_id(sight: Sight) -> Iterator[Seen]:
    """Taiwan: a letter and nine digits, the last of them a check digit."""
    found = _TAIWAN.match(sight.number.written)
    if found and len(_groups(found.group())) <= 4 and (found["letter"].isupper() or "/" not in found.group()):
        right = checks.is_taiwan(found["letter"], checks.digits(found["number"]))
        yield found.end(), (0.7 if found["letter"].isupper() else 0.55) if right else 0.25


_PLATE = _pattern(
    rf"[{PROVINCES}]{_G}[A-HJ-Za-hj-z]{_G}(?P<rest>[0-9A-HJ-NP-Za-hj-np-z](?:{_G}[0-9A-HJ-NP-Za-hj-np-z]){{3,5}})(?![0-9A-Za-z])"
)


def plate(sight: Sight) -> Iterator[Seen]:
    """Number plates of mainland China: a province, a letter, five characters, or six for new energy."""
    found = _PLATE.match(sight.number.written)
    if not found or not re.search(r"\d", found["rest"]):
        return
    length = len(_SIGNS.sub("", found["rest"]))
    if length >= 5:
        yield found.end(), 0.8
    elif sight.after(found.end())[:1] in tuple("学警港澳挂领试超"):
        yield found.end(), 0.7


_COMPANY = _pattern(
    rf"[1-9A-GNY]{_G}[1-9]" + rf"(?:{_G}\d){{6}}" + rf"(?:{_G}[0-9A-HJ-NPQRTUWXYa-hj-npqrtuwxy]){{10}}(?![0-9A-Za-z])"
)


def company_id(sight: Sight) -> Iterator[Seen]:
    """Unified social credit codes, GB 32100: 18 characters, the last of them a check character."""
    found = _COMPANY.match(sight.number.written)
    if not found or len(_groups(found.group())) > 6 or "," in found.group():
        return
    code = _SIGNS.sub("", found.group())
    lettered = any(one.isalpha() for one in code)
    if checks.is_company(code):
        yield found.end(), 0.8 if lettered else 0.45
    else:
        yield found.end(), 0.3 if lettered else 0.2


_ADDRESS = _pattern(r"\d{1,3}(?:\.\d{1,3}){3}(?![0-9]|\.[0-9])")


def ip_address(sight: Sight) -> Iterator[Seen]:
    """Internet addresses of version 4 that can be somebody's; four small numbers are rather a version."""
    found = _ADDRESS.match(sight.number.written)
    if not found:
        return
    try:
        address = ipaddress.IPv4Address(found.group())
    except ValueError:
        return
    if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_reserved:
        return
    start, end = sight.number.places[0], sight.number.end(found.end())
    if any(one.isspace() for one in sight.text[start:end]):
        return
    parts = [int(part) for part in found.group().split(".")]
    # Versions and identifiers of objects (OID) begin with small numbers and have more of them.
    small = max(parts) < 32 or (parts[0] < 10 and sum(part < 10 for part in parts) > 1)
    if _VERSION.search(sight.text[max(0, start - 2) : start]) or _RELEASE.match(sight.after(found.end())):
        small = True
    yield found.end(), 0.3 if small and not found.group().startswith("10.") else 0.65


RECOGNISERS: Mapping[str, Recogniser] = {
    "resident-id": resident_id,
    "company-id": company_id,
    "bank-card": bank_card,
    "mobile": mobile,
    "passport": passport,
    "taiwan-id": taiwan_id,
    "hong-kong-id": hong_kong_id,
    "landline": landline,
    "plate": plate,
    "ip-address": ip_address,
}


def recognised(kind: str, sight: Sight) -> Seen | None:
    """How many characters of the number are of this kind and how sure that is; None for none of it."""
    best: Seen | None = None
    for length, form in RECOGNISERS[kind](sight):
        certain = form + _by_surroundings(kind, sight, length)
        if best is None or certain > best[1]:
            best = length, certain
    return best


def _by_surroundings(kind: str, sight: Sight, length: int) -> float:
    """What stands around the number adds to the confidence of its form; -1 where it is part of something else."""
    written = sight.number.written
    taken, behind = written[:length], written[length:]
    before, after = sight.before, sight.after(length)
    if _goes_on(taken, behind) or _went_before(taken, before) or _is_in_a_code(before, after):
        return -1.0
    words = context.says(kind, before)
    said = RAISED if words > 0 else -LOWERED if words < 0 else 0.0
    if words <= 0:
        if _UNIT.match(after):
            said -= LOWERED
        if before[-1:] in tuple("¥$€£￥") and before:
            said -= LOWERED
        if _PATH_BEFORE.search(before):
            said -= LOWERED
    return said


def _goes_on(taken: str, behind: str) -> bool:
    """Whether the number is only the beginning of a longer one."""
    if behind[:1].isdigit():
        return True
    if _SIGNS.match(behind) and behind[1:2].isdigit():
        sign = behind[0]
        # The next group of the same grouping, or the decimals of a number.
        return sign in _kinds(taken) - {"\n"} or (sign == "." and not _kinds(taken))
    return False


def _went_before(taken: str, before: str) -> bool:
    """Whether the number is only the end of a longer one."""
    if before[-1:].isdigit() and taken[:1].isdigit():
        return True
    if len(before) > 1 and before[-2].isdigit() and taken[:1].isdigit():
        sign = before[-1]
        return sign in _kinds(taken) - {"\n"} or (sign == "." and not _kinds(taken))
    return False


def _is_in_a_code(before: str, after: str) -> bool:
    """Whether letters and digits touch the number on both sides as in a hash, an identifier or a key."""
    left = _WORD_BEFORE.search(before)
    right = re.match(r"[A-Za-z]+[0-9]", after, re.ASCII)
    has_digits = bool(left and re.search(r"\d", left.group()))
    return (
        has_digits
        or bool(right)
        or bool(re.search(r"[0-9a-fA-F]{4}-$", before) and re.search(r"[a-fA-F]", before[-6:]))
    )
