"""The rules that redaction knows by itself, and those of a site, as the filter's rules file has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ingot.gateway.patterns import Bounded, bounded
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
    # RFC 5322 as people have them: letters, digits and some signs before the @, labels and a top-level domain behind,
    # which has letters alone (RFC 3696, 2), or is one of the internationalised ones.
    "email": (
        rf"(?<![A-Za-z0-9._%+-]){_LOCAL}@(?:{_LABEL}\.){{1,4}}(?:[A-Za-z]{{2,24}}|[Xx][Nn]--[A-Za-z0-9-]{{2,30}})"
        r"(?![A-Za-z0-9])",
        "mailbox",
    ),
    # RFC 4291, in groups of up to four digits.
    "ip-address": (r"(?<![0-9A-Za-z:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![0-9A-Za-z:])", "ipv6"),
}
#: Every rule that Ingot brings.
BUILT_IN = (*NUMBERS, "email")
LONGEST_PATTERN = 256


def rules_file(
    teams: Iterable[Team], site: Mapping[str, Bounded], default_max_tokens: int, thresholds: Mapping[str, float]
) -> str:
    """The filter's rules file: every rule, and what each team that is filtered asked for.

    `site` are a site's own patterns by name. `thresholds` are the confidences from which on rules for numbers replace
    a text, where they are not the usual one.
    """
    known = rules(site, thresholds)
    names = [rule["name"] for rule in known]
    settings = {"default_max_tokens": default_max_tokens, "rules": known}
    settings["teams"] = {team.name: _policy(team, names) for team in teams if team.filtered}
    return json.dumps(settings, indent=1, sort_keys=True) + "\n"


def _policy(team: Team, names: list[str]) -> dict[str, Any]:
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


def rules(site: Mapping[str, Bounded], thresholds: Mapping[str, float]) -> list[dict[str, Any]]:
    """The built-in rules and the site's, in order, as the filter reads them."""
    found = []
    for name in BUILT_IN:
        rule: dict[str, Any] = {"name": name, "number": name in NUMBERS}
        if name in thresholds:
            rule["threshold"] = thresholds[name]
        if name in PATTERNS:
            pattern, check = PATTERNS[name]
            rule |= {**_searched(bounded(pattern, LONGEST_PATTERN)), "check": check}
        found.append(rule)
    return [*found, *({"name": name, **_searched(one)} for name, one in site.items())]


def _searched(one: Bounded) -> dict[str, Any]:
    return {"pattern": one.pattern, "grows": one.grows, "longest": one.longest}
