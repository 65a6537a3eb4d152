"""The rules file: rules, and what each team asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingot.gateway.filter.rules import Rules


@dataclass(frozen=True, slots=True)
class Policy:
    """What a team asked for.

    `redact` are the rules for its answers, `check` those for its requests, which are refused or, with
    `check_redacts`, redacted. `tokens_per_minute`, `tokens_per_day` and `tokens_per_month` are its budgets. None: not
    asked for.
    """

    redact: Rules | None = None
    check: Rules | None = None
    check_redacts: bool = False
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None

    @property
    def counts_tokens(self) -> bool:
        """Whether its requests are priced."""
        return bool(self.tokens_per_minute or self.tokens_per_day or self.tokens_per_month)


@dataclass(frozen=True, slots=True)
class Settings:
    """The rules file's content; a request that names no limit is charged `default_max_tokens` for its answer."""

    teams: Mapping[str, Policy]
    default_max_tokens: int


def read(path: Path) -> Settings:
    """The settings of a rules file. Raises: OSError, or ValueError, KeyError, TypeError for a file that is wrong."""
    return settings(json.loads(path.read_text(encoding="utf-8")))


def settings(stored: Mapping[str, Any]) -> Settings:
    """The settings as the rules file has them. Raises: ValueError, KeyError or TypeError."""
    rules = {rule["name"]: rule for rule in stored["rules"]}

    def chosen(names: list[str] | None) -> Rules | None:
        return None if names is None else Rules.from_dicts(rule for name, rule in rules.items() if name in names)

    teams = {
        team: Policy(
            redact=chosen(one["redact"]),
            check=chosen(one["check"]),
            check_redacts=one["check_redacts"],
            tokens_per_minute=one["tokens_per_minute"],
            tokens_per_day=one["tokens_per_day"],
            tokens_per_month=one["tokens_per_month"],
        )
        for team, one in stored["teams"].items()
    }
    return Settings(teams, stored["default_max_tokens"])
