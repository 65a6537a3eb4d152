"""The rules that redaction knows by itself, and those of a site, as the filter's rules file has them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ingot.errors import IngotError
from ingot.gateway.patterns import bounded
from ingot.gateway.teams import Team

# Python's \b takes a Chinese character for a letter, so that nothing after one would be found: guards are spelled out.
_NOT_WITHIN = r"(?<![0-9A-Za-z])"
_NOT_GOING_ON = r"(?![0-9A-Za-z])"

#: Name -> pattern and check. In this order: what looks like a card may be an identity number.
BUILT_IN: dict[str, tuple[str, str | None]] = {
    # GB 11643-1999: region, date of birth, sequence, check digit.
    "resident-id": (
        r"[1-9]\d{5}[ -]?(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[ -]?\d{3}[0-9Xx]",
        "resident-id",
    ),
    # ISO/IEC 7812: 13 to 19 digits, in one piece, in groups of four or as American Express prints them.
    "bank-card": (
        r"(?:\d{13,19}|\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,4}(?:[ -]\d{1,3})?"
        r"|\d{4}[ -]\d{6}[ -]\d{4,5}|\d{6}[ -]\d{10,13})",
        "card",
    ),
    # Mainland China: 11 digits from 13 to 19, perhaps with the country's prefix.
    "mobile": (r"(?:(?:\+|00)?86[ -]?)?1[3-9]\d(?:[ -]?\d{4}[ -]?\d{4}|[ -]?\d{3}[ -]?\d{5})", None),
    # Mainland passports, permits for Hong Kong, Macao and Taiwan, Hong Kong passports.
    "passport": (r"(?:[DEGPS]\d{8}|[DEGPS][A-Z]\d{7}|[EGDSPH]\d{7}|[CHKLMT]\d{8}(?:\d{2})?)", None),
}

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


def rules_file(teams: Iterable[Team], site: object, default_max_tokens: object) -> str:
    """The filter's rules file: every rule, and what each team that is filtered asked for.

    Raises: IngotError for a pattern that cannot be used, a rule that does not exist or a number that is none.
    """
    if type(default_max_tokens) is not int or default_max_tokens < 1:
        raise IngotError(
            f"gateway_default_max_tokens is {default_max_tokens!r}, expected a whole number from 1 on; correct it."
        )
    known = rules(site)
    names = [rule["name"] for rule in known]
    settings = {"default_max_tokens": default_max_tokens, "rules": known}
    settings["teams"] = {team.name: _policy(team, names) for team in teams if team.filtered}
    return json.dumps(settings, indent=1, sort_keys=True) + "\n"


def _policy(team: Team, names: list[str]) -> dict[str, Any]:
    unknown = [name for name in team.redact if name not in (*names, "all")]
    if unknown:
        raise IngotError(
            f"gateway_teams[{team.name!r}]['redact'] names {unknown[0]!r}, expected all or some of {', '.join(names)}; "
            "correct it, or add it to gateway_redact_patterns."
        )
    redact = names if "all" in team.redact else list(team.redact)
    return {
        "redact": redact or None,
        # A team that has its requests checked and its answers left alone means every rule.
        "check": (redact or names) if team.check_requests else None,
        "check_redacts": team.check_requests == "redact",
        "tokens_per_minute": team.tokens_per_minute,
    }


def rules(site: object) -> list[dict[str, Any]]:
    """The built-in rules and the site's (`gateway_redact_patterns`: name -> pattern and max_length), in order.

    Raises: IngotError naming the pattern that cannot be used.
    """
    found = []
    for name, (pattern, check) in BUILT_IN.items():
        made = bounded(name, _NOT_WITHIN + pattern + _NOT_GOING_ON, 64)
        found.append(_rule(name, made.pattern, made.grows, made.longest, check))
    if not isinstance(site, Mapping):
        raise IngotError(
            f"gateway_redact_patterns is {site!r}, expected a table such as "
            '{"staff-number": {"pattern": "ST-[0-9]{6}", "max_length": 9}}; correct it.'
        )
    for name, one in site.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in BUILT_IN or name == "all":
            raise IngotError(
                f"gateway_redact_patterns: {name!r} cannot be a pattern's name, expected small letters, digits and "
                f"'-', and none of {', '.join(BUILT_IN)} or all; choose another."
            )
        if not isinstance(one, Mapping) or set(one) != {"pattern", "max_length"}:
            raise IngotError(
                f"gateway_redact_patterns: {name} is {one!r}, expected pattern and max_length; correct it."
            )
        made = bounded(name, one["pattern"], one["max_length"])
        found.append(_rule(name, made.pattern, made.grows, made.longest, None))
    return found


def _rule(name: str, pattern: str, grows: str, longest: int, check: str | None) -> dict[str, Any]:
    return {"name": name, "pattern": pattern, "grows": grows, "longest": longest, "check": check}
