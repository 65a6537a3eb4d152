"""Check digits and number ranges: what tells a card or an identity number from any other number of its length."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

#: GB/T 2260: the first two digits of a resident identity number, a province or region; 82 and 83 are Macao and Taiwan.
_PROVINCES = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]")
#: GB 11643-1999: weights of the first 17 digits, and the check digit for each remainder of 11.
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_DIGITS = "10X98765432"
#: ISO/IEC 7812: what cards begin with (UnionPay, Visa, Mastercard, American Express, JCB, Diners, Discover, Maestro).
_ISSUERS = ("4", "62", "60", "64", "65", "81", "34", "35", "36", "37", "38", "39", "30", "63", "67", "69")


def digits(text: str) -> str:
    """The digits of a text, without what separates them."""
    return "".join(character for character in text if character.isdigit())


def luhn(number: str) -> bool:
    """Whether the last digit is the check digit of ISO/IEC 7812-1, annex B."""
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2])
    return (doubled + sum(map(int, number[::-2]))) % 10 == 0


def mod_11_2(number: str) -> bool:
    """Whether the last of 18 characters is the check digit of ISO 7064, MOD 11-2."""
    remainder = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number[:17], strict=True)) % 11
    return _CHECK_DIGITS[remainder] == number[17].upper()


def resident_id(text: str) -> bool:
    """A resident identity number: written in one piece its structure is enough, else its check digit must hold.

    Models make up numbers with a wrong check digit that are personal data all the same; two random 18-digit numbers
    in a thousand have the structure, which is little enough.
    """
    number = text.replace(" ", "").replace("-", "")
    if len(number) != 18:
        return False
    return (number == text and bool(_PROVINCES.match(number))) or mod_11_2(number)


def card(text: str) -> bool:
    """A bank card: 13 to 19 digits that begin as an issuer's do, with Luhn's check digit."""
    number = digits(text)
    if not 13 <= len(number) <= 19:
        return False
    two, four = int(number[:2]), int(number[:4])
    issued = number.startswith(_ISSUERS) or 50 <= two <= 58 or 2221 <= four <= 2720
    return issued and luhn(number)


CHECKS: Mapping[str, Callable[[str], bool]] = {"card": card, "resident-id": resident_id}
