"""The rules that redaction knows by itself, and those of a site, as the filter's rules file has them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ingot.errors import IngotError
from ingot.gateway.patterns import bounded
from ingot.gateway.teams import Team

#: Kinds of numbers, as the filter's recognisers know them; in this order where two are equally certain.
NUMBERS = (
    "resident-id",
    "company-id",
    "bank-card",
    "mobile",
    "passport",
    "taiwan-id",
    "hong-kong-id",
    "landline",
    "plate",
    "ip-address",
)
_LOCAL = r"[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_])?"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
#: Name -> pattern and check of what is no number.
PATTERNS: dict[str, tuple[str, str | None]] = {
    # RFC 5322 as people have them: letters, digits and some signs before the @, labels and a top-level domain behind.
    "email": (rf"(?<![A-Za-z0-9._%+-]){_LOCAL}@{_LABEL}(?:\.{_LABEL}){{1,4}}(?![A-Za-z0-9])", None),
    # RFC 4291, in groups of up to four digits.
    "ip-address": (r"(?<![0-9A-Za-z:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![0-9A-Za-z:])", "ipv6"),
}
#: Every rule that Ingot brings.
BUILT_IN = (*NUMBERS, "email")
LONGEST_PATTERN = 256

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


def rules_file(
    teams: Iterable[Team], site: object, default_max_tokens: object, thresholds: Mapping[str, float] | None = None
) -> str:
    """The filter's rules file: every rule, and what each team that is filtered asked for.

    `thresholds` are the confidences from which on rules for numbers replace a text, where they are not the usual one.

    Raises: IngotError for a pattern that cannot be used, a rule that does not exist or a number that is none.
    """
    if type(default_max_tokens) is not int or default_max_tokens < 1:
        raise IngotError(
            f"gateway_default_max_tokens is {default_max_tokens!r}, expected a whole number from 1 on; correct it."
        )
    known = rules(site, thresholds)
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
        "tokens_per_day": team.tokens_per_day,
        "tokens_per_month": team.tokens_per_month,
    }


def rules(site: object, thresholds: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """The built-in rules and the site's (`gateway_redact_patterns`: name -> pattern and max_length), in order.

    Raises: IngotError naming the pattern that cannot be used.
    """
    found = []
    for name in BUILT_IN:
        rule: dict[str, Any] = {"name": name, "number": name in NUMBERS}
        if thresholds and name in thresholds:
            rule["threshold"] = thresholds[name]
        if name in PATTERNS:
            pattern, check = PATTERNS[name]
            made = bounded(name, pattern, LONGEST_PATTERN)
            rule |= {"pattern": made.pattern, "grows": made.grows, "longest": made.longest, "check": check}
        found.append(rule)
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
        found.append({"name": name, "pattern": made.pattern, "grows": made.grows, "longest": made.longest})
    return found
