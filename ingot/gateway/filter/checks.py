"""Check digits, issuers and regions: what tells a card or an identity number from any other number of its length."""

from __future__ import annotations

import re
from datetime import date

#: GB/T 2260: the first two digits of a resident identity number, a province or region; 82 and 83 are Macao and Taiwan.
_PROVINCES = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]")
#: GB 11643-1999: weights of the first 17 digits, and the check digit for each remainder of 11.
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_DIGITS = "10X98765432"
#: GB 32100-2015: characters by value, and the weights of the first 17.
_COMPANY_CHARACTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_COMPANY_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
#: Taiwan: the number that a letter stands for.
_TAIWAN_LETTERS = "ABCDEFGHJKLMNPQRSTUVXYWZIO"
#: ISO/IEC 7812: what the cards of an issuer begin with, and how many digits they have: UnionPay, Visa, Mastercard (also
#: from 2017), American Express, Diners, JCB, Discover, Maestro, Mir.
_ISSUERS: tuple[tuple[re.Pattern[str], frozenset[int]], ...] = tuple(
    (re.compile(prefix), frozenset(lengths))
    for prefix, lengths in (
        (r"62|81", range(16, 20)),
        (r"4", (13, 16, 19)),
        (r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", (16,)),
        (r"3[47]", (15,)),
        (r"30[0-5]|3[689]", (14, 16)),
        (r"35(?:2[89]|[3-8])", (16,)),
        (r"6011|64[4-9]|65", (16, 19)),
        (r"50|5[6-8]|6304|67", range(16, 20)),
        (r"220[0-4]", (16,)),
        (r"9558|60|68|69", (16, 18, 19)),
    )
)


def digits(text: str) -> str:
    """The digits of a text, without what separates them."""
    return "".join(character for character in text if character.isdigit())


def luhn(number: str) -> bool:
    """Whether the last digit is the check digit of ISO/IEC 7812-1, annex B."""
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2])
    return (doubled + sum(map(int, number[::-2]))) % 10 == 0


def is_issued(number: str) -> bool:
    """Whether cards that begin so are issued, with as many digits."""
    return any(prefix.match(number) and len(number) in lengths for prefix, lengths in _ISSUERS)


def mod_11_2(number: str) -> bool:
    """Whether the last of 18 characters is the check digit of ISO 7064, MOD 11-2."""
    remainder = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number[:17], strict=True)) % 11
    return _CHECK_DIGITS[remainder] == number[17].upper()


def is_resident(number: str) -> bool:
    """Whether 15 or 18 characters have a region and a day of birth where a resident identity number has them."""
    born = number[6:14] if len(number) == 18 else f"19{number[6:12]}"
    try:
        day = date(int(born[:4]), int(born[4:6]), int(born[6:]))
    except ValueError:
        return False
    return bool(_PROVINCES.match(number)) and 1850 < day.year < 2100


def is_company(code: str) -> bool:
    """Whether the last of 18 characters is the check character of GB 32100-2015."""
    values = [_COMPANY_CHARACTERS.find(one) for one in code.upper()]
    if -1 in values:
        return False
    total = sum(weight * value for weight, value in zip(_COMPANY_WEIGHTS, values[:17], strict=True))
    return (31 - total % 31) % 31 == values[17]


def is_hong_kong(letters: str, number: str, check: str) -> bool:
    """Whether the check character of a Hong Kong identity card is right: weights 9 to 2, modulo 11, a space is 36."""
    values = [36 if one == " " else ord(one) - 55 for one in letters.upper().rjust(2)]
    values += [int(one) for one in number]
    total = sum(weight * value for weight, value in zip(range(9, 1, -1), values, strict=True))
    return "0A987654321"[total % 11] == check.upper() if total % 11 else check == "0"


def is_taiwan(letter: str, number: str) -> bool:
    """Whether nine digits behind a letter have the check digit of Taiwan's identity cards."""
    code = _TAIWAN_LETTERS.index(letter.upper()) + 10
    total = code // 10 + code % 10 * 9
    total += sum(weight * int(digit) for weight, digit in zip((8, 7, 6, 5, 4, 3, 2, 1, 1), number, strict=True))
    return total % 10 == 0
