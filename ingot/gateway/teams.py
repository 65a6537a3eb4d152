"""Teams: what each may ask of a gateway, out of `gateway_teams` and the defaults of group_data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, cast

from ingot.errors import IngotError

#: A team is a word in logs, in nginx' maps and in its keys.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
#: A model as nginx' configuration and njs carry it.
_MODEL = re.compile(r"[A-Za-z0-9._:/@-]+")
_SIZE = re.compile(r"([1-9][0-9]*)([kKmMgG]?)")
_UNIT_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_CHECKS = ("refuse", "redact")
_BUDGETS = ("tokens_per_minute", "tokens_per_day", "tokens_per_month")


@dataclass(frozen=True)
class Team:
    """What one team may do on one host.

    `requests_per_minute` may be started, `burst` of them at once; `concurrency` may run, a stream counts until it
    ends. `max_body_bytes` is the largest request body. `models` are those it may use, None: all. `tokens_per_minute`,
    `tokens_per_day` and `tokens_per_month` (UTC) None: no limit. `redact` are names of rules whose matches are taken
    out of answers, ("all",): every rule. `check_requests` is what happens to a request that matches, None: nothing.
    """

    name: str
    requests_per_minute: int
    burst: int
    concurrency: int
    max_body_bytes: int
    models: tuple[str, ...] | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    redact: tuple[str, ...] = ()
    check_requests: Literal["refuse", "redact"] | None = None

    @property
    def filtered(self) -> bool:
        """Whether its requests go through the filter; everybody else's bypass it."""
        return bool(self.counts_tokens or self.redact or self.check_requests)

    @property
    def counts_tokens(self) -> bool:
        """Whether its tokens are limited."""
        return bool(self.tokens_per_minute or self.keeps_counts)

    @property
    def keeps_counts(self) -> bool:
        """Whether its tokens are limited over a time that outlives the filter's process."""
        return bool(self.tokens_per_day or self.tokens_per_month)

    def may_use(self, model: str) -> bool:
        """Whether a model is among those that it may use."""
        return self.models is None or model in self.models


#: The values of group_data that `resolve` and `default` read.
VALUES = ("gateway_concurrency", "gateway_max_body", "gateway_requests_per_minute", "gateway_teams")
#: What a team's entry in `gateway_teams` may say.
SETTINGS = ("max_body", *(one.name for one in fields(Team) if one.name not in ("name", "max_body_bytes")))


def resolve(data: Mapping[str, Any]) -> dict[str, Team]:
    """Every team of `gateway_teams` by its name, in that order; any other team has what `default` says.

    `data` are values of group_data by name.
    Raises: IngotError for a value that cannot be meant.
    """
    entries = data["gateway_teams"]
    if not isinstance(entries, Mapping):
        raise IngotError(f"gateway_teams is {entries!r}, expected {{team: {{setting: value}}}}; correct it.")
    return {name: _team(name, entry, data) for name, entry in entries.items()}


def default(data: Mapping[str, Any]) -> Team:
    """What a team may do that `gateway_teams` does not name; its name is ''.

    Raises: IngotError for a value that cannot be meant.
    """
    rate = _number("gateway_requests_per_minute", data["gateway_requests_per_minute"])
    return Team(
        name="",
        requests_per_minute=rate,
        burst=_tenth(rate),
        concurrency=_number("gateway_concurrency", data["gateway_concurrency"]),
        max_body_bytes=size_bytes("gateway_max_body", data["gateway_max_body"]),
    )


def _team(name: object, entry: object, data: Mapping[str, Any]) -> Team:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise IngotError(
            f"gateway_teams names {name!r}, expected 1 to 32 characters out of a-z, 0-9 and '-' as in "
            "`ingot keys create`; correct it."
        )
    where = f"gateway_teams[{name!r}]"
    if not isinstance(entry, Mapping):
        raise IngotError(f"{where} is {entry!r}, expected {{setting: value}}; correct it.")
    unknown = [key for key in entry if key not in SETTINGS]
    if unknown:
        raise IngotError(f"{where} has {unknown[0]!r}, expected {', '.join(sorted(SETTINGS))}; correct it.")
    others, said = default(data), {key: value for key, value in entry.items() if value is not None}
    numbers = {
        key: _number(f"{where}[{key!r}]", said[key])
        for key in ("requests_per_minute", "burst", "concurrency", *_BUDGETS)
        if key in said
    }
    rate = numbers.get("requests_per_minute", others.requests_per_minute)
    check = said.get("check_requests")
    if check is not None and check not in _CHECKS:
        raise IngotError(f"{where}['check_requests'] is {check!r}, expected one of {', '.join(_CHECKS)}; correct it.")
    redact = said.get("redact", ())
    return Team(
        name=name,
        requests_per_minute=rate,
        burst=numbers.get("burst", _tenth(rate)),
        concurrency=numbers.get("concurrency", others.concurrency),
        max_body_bytes=size_bytes(f"{where}['max_body']", said["max_body"])
        if "max_body" in said
        else others.max_body_bytes,
        models=_models(f"{where}['models']", said["models"]) if "models" in said else None,
        tokens_per_minute=numbers.get("tokens_per_minute"),
        tokens_per_day=numbers.get("tokens_per_day"),
        tokens_per_month=numbers.get("tokens_per_month"),
        redact=("all",) if redact == "all" else _words(f"{where}['redact']", redact),
        check_requests=cast(Literal["refuse", "redact"] | None, check),
    )


def _tenth(rate: int) -> int:
    return max(1, rate // 10)


def _number(name: str, value: object) -> int:
    if type(value) is not int or value < 1:
        raise IngotError(f"{name} is {value!r}, expected a whole number from 1 on; correct it.")
    return value


def size_bytes(name: str, value: object) -> int:
    """A size as nginx writes it, such as 32m. Raises: IngotError for anything else."""
    found = _SIZE.fullmatch(str(value)) if type(value) in (int, str) else None
    if not found:
        raise IngotError(f"{name} is {value!r}, expected a size as nginx writes it, such as 32m; correct it.")
    return int(found.group(1)) * _UNIT_BYTES[found.group(2).lower()]


def _words(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise IngotError(f"{name} is {value!r}, expected a list of words; correct it.")


def _models(name: str, value: object) -> tuple[str, ...]:
    models = _words(name, value)
    wrong = [model for model in models if not _MODEL.fullmatch(model)]
    if wrong or not models:
        raise IngotError(f"{name} is {value!r}, expected names of models, or nothing for all of them; correct it.")
    return models
