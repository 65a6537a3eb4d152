"""Section "gateway": what callers of a host meet on port 443."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ingot.gateway.ca_scope import network_or_zone
from ingot.gateway.patterns import Bounded, bounded
from ingot.gateway.personal_data import BUILT_IN, NUMBERS
from ingot.gateway.routes import OPTIONAL
from ingot.gateway.teams import NAME as TEAM_NAME
from ingot.gateway.teams import SIZE, Team, size_bytes
from ingot.settings.kinds import (
    Count,
    Days,
    Expected,
    HostName,
    LocalPath,
    Many,
    Seconds,
    SecondsOrNone,
    Section,
    Switch,
    Text,
    Wrong,
    nearest,
    pattern,
    refuse,
)
from ingot.settings.serving import ModelName

ROUTES = tuple(OPTIONAL["vllm"])
_ROUTES_WORDS = f"one of {', '.join(ROUTES)}"


def _size(value: Any) -> Any:
    return str(value) if type(value) is int else value


def _rules(value: Any) -> Any:
    return ("all",) if value == "all" else value


def _https(value: str) -> str:
    address = urlsplit(value)
    if address.scheme != "https" or not address.hostname or re.search(r"[\s\x00-\x1f]", value):
        raise ValueError("an https address, in quotes")
    return value


def _route(value: str) -> str:
    if value not in ROUTES:
        raise ValueError(f"{_ROUTES_WORDS}{nearest(value, ROUTES)}")
    return value


def _number(value: str) -> str:
    if value not in NUMBERS:
        raise ValueError(f"one of {', '.join(NUMBERS)}{nearest(value, NUMBERS)}")
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f"a network such as '10.0.5.0/24' ({error})") from None


def _scope(value: str) -> str:
    try:
        network_or_zone(value)
    except ValueError as error:
        raise ValueError(f"a network such as '10.0.0.0/8' or a DNS zone such as 'corp.example' ({error})") from None
    return value


#: An origin as browsers send it (RFC 6454, 6.2).
_ORIGIN = r"https?://([A-Za-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?"
BodySize = Annotated[str, *pattern(SIZE.pattern, "a size as nginx writes it, such as '32m'"), BeforeValidator(_size)]
TeamName = Annotated[
    str, *pattern(TEAM_NAME.pattern, "a team's name as `ingot keys create` takes it: 1 to 32 of a-z, 0-9 and '-'")
]


class TeamValues(Section):
    """Where a team differs from the others; what is left out, or None, is as for all."""

    requests_per_minute: Annotated[Count | None, Expected("a whole number from 1 on")] = None
    burst: Annotated[Count | None, Expected("a whole number from 1 on")] = None
    concurrency: Annotated[Count | None, Expected("a whole number from 1 on")] = None
    max_body: Annotated[BodySize | None, Expected("a size as nginx writes it, such as '32m'")] = None
    models: Annotated[
        Annotated[Many[ModelName], Field(min_length=1)] | None, Expected("a list of models, or None for all of them")
    ] = None
    tokens_per_minute: Annotated[Count | None, Expected("a whole number from 1 on, or None for no limit")] = None
    tokens_per_day: Annotated[Count | None, Expected("a whole number from 1 on, or None for no limit")] = None
    tokens_per_month: Annotated[Count | None, Expected("a whole number from 1 on, or None for no limit")] = None
    #: Names of rules; "all" is every rule.
    redact: Annotated[Annotated[Many[Text], BeforeValidator(_rules)] | None, Expected("'all', or a list of rules")] = (
        None
    )
    check_requests: Annotated[Literal["refuse", "redact"] | None, Expected("'refuse' or 'redact', or None")] = None

    def team(self, name: str, others: Team) -> Team:
        """The team of this name; what is not said here is as for all others."""
        rate = self.requests_per_minute or others.requests_per_minute
        return Team(
            name=name,
            requests_per_minute=rate,
            burst=self.burst or _tenth(rate),
            concurrency=self.concurrency or others.concurrency,
            max_body_bytes=size_bytes(self.max_body) if self.max_body else others.max_body_bytes,
            models=self.models,
            tokens_per_minute=self.tokens_per_minute,
            tokens_per_day=self.tokens_per_day,
            tokens_per_month=self.tokens_per_month,
            redact=self.redact or (),
            check_requests=self.check_requests,
        )


def _tenth(rate: int) -> int:
    """What may come at once where nothing is said of it."""
    return max(1, rate // 10)


class Pattern(Section):
    """A pattern of a site, and the longest text that it may match."""

    pattern: Text
    max_length: Annotated[int, Field(ge=1, le=512), Expected("a whole number from 1 to 512")]


class Gateway(Section):
    """The listener: certificate, names, limits, routes, teams."""

    accounting_days: Days
    gateway_acme_ca_file: Annotated[LocalPath | None, Expected("a path on this machine, or None")]
    gateway_acme_directory: Annotated[str, AfterValidator(_https), Expected("an https address, in quotes")]
    gateway_acme_email: Annotated[
        Annotated[str, *pattern(r"[^@\s]+@[^@\s]+", "")] | None, Expected("a mail address, or None")
    ]
    gateway_affinity: Switch
    gateway_behind: Annotated[
        Many[Annotated[str, AfterValidator(_network), Expected("a network, in quotes")]],
        Expected("a list of networks such as ['10.0.5.0/24']"),
    ]
    gateway_body_room: BodySize
    gateway_ca_scope: Annotated[
        Many[Annotated[str, AfterValidator(_scope), Expected("a network or a DNS zone, in quotes")]],
        Expected("a list of networks and DNS zones such as ['10.0.0.0/8', 'corp.example']"),
    ]
    gateway_certificate: Annotated[Literal["internal", "files", "acme"], Expected("'internal', 'files' or 'acme'")]
    gateway_certificate_file: Annotated[LocalPath | None, Expected("a path on this machine, or None")]
    gateway_certificate_key_file: Annotated[LocalPath | None, Expected("a path on this machine, or None")]
    gateway_concurrency: Count
    gateway_cors_origins: Annotated[
        Many[Annotated[str, *pattern(_ORIGIN, "an origin such as 'https://chat.example.org', without a path")]],
        Expected("a list of origins such as ['https://chat.example.org']"),
    ]
    gateway_default_max_tokens: Count
    gateway_fleet_name: HostName
    gateway_fleet_port: Annotated[int, Field(ge=1024, le=65000), Expected("a TCP port from 1024 to 65000")]
    gateway_hsts_max_age_s: SecondsOrNone
    gateway_http2: Switch
    gateway_max_body: BodySize
    gateway_names: Annotated[Many[HostName], Expected("a list of host names and addresses such as ['llm.example']")]
    gateway_packages: Annotated[
        Literal["distribution", "nginx.org"] | None,
        Expected("'distribution', 'nginx.org', or None for what the host needs"),
    ]
    gateway_proxy_port: Annotated[
        Annotated[int, Field(ge=1, le=65535)] | None, Expected("a TCP port of its own such as 8442, or None")
    ]
    gateway_read_timeout_s: Seconds
    gateway_redact_patterns: Annotated[
        dict[
            Annotated[
                str, *pattern(r"[a-z][a-z0-9-]{0,31}", "a pattern's name of at most 32 small letters, digits and '-'")
            ],
            Annotated[Pattern, Expected("pattern and max_length")],
        ],
        Expected("patterns by name such as {'staff-number': {'pattern': 'ST-[0-9]{6}', 'max_length': 9}}"),
    ]
    gateway_redact_thresholds: Annotated[
        dict[
            Annotated[str, AfterValidator(_number), Expected(f"one of {', '.join(NUMBERS)}")],
            Annotated[float, Field(ge=0, le=1), Expected("a number between 0 and 1")],
        ],
        Expected("a number between 0 and 1 by rule such as {'bank-card': 0.7}"),
    ]
    gateway_requests_per_minute: Count
    gateway_routes: Annotated[
        Many[Annotated[str, AfterValidator(_route), Expected(_ROUTES_WORDS)]],
        Expected(f"a list of {', '.join(ROUTES)}"),
    ]
    gateway_takeover: Annotated[Literal["refuse", "replace", "beside"], Expected("'refuse', 'replace' or 'beside'")]
    gateway_teams: Annotated[
        dict[TeamName, Annotated[TeamValues, Expected("settings of the team by name")]],
        Expected("settings by team such as {'sales': {'requests_per_minute': 600}}"),
    ]

    @property
    def others(self) -> Team:
        """What a team may do that `gateway_teams` does not name; its name is ''."""
        return Team(
            name="",
            requests_per_minute=self.gateway_requests_per_minute,
            burst=_tenth(self.gateway_requests_per_minute),
            concurrency=self.gateway_concurrency,
            max_body_bytes=size_bytes(self.gateway_max_body),
        )

    @property
    def teams(self) -> dict[str, Team]:
        """Every team of `gateway_teams` by its name, in that order."""
        return {name: values.team(name, self.others) for name, values in self.gateway_teams.items()}

    @property
    def redact_patterns(self) -> dict[str, Bounded]:
        """What of `gateway_redact_patterns` is searched for, by its name."""
        return {name: bounded(one.pattern, one.max_length) for name, one in self.gateway_redact_patterns.items()}

    @model_validator(mode="after")
    def _rules_are_usable(self) -> Self:
        refuse("gateway", (*self._wrong_patterns(), *self._unknown_rules(), *self._wrong_front()))
        return self

    def _wrong_front(self) -> Iterator[Wrong]:
        port = self.gateway_proxy_port
        if port is not None and (port in (22, 80, 443) or not self.gateway_behind):
            expected = "a TCP port of its own" if self.gateway_behind else "None while gateway_behind names no network"
            yield Wrong(("gateway_proxy_port",), port, expected)
        room = size_bytes(self.gateway_body_room)
        bodies = (self.gateway_max_body, *(team.max_body for team in self.gateway_teams.values() if team.max_body))
        if room < max(size_bytes(body) for body in bodies):
            yield Wrong(
                ("gateway_body_room",), self.gateway_body_room, "room for the largest body that a team may send"
            )

    def _wrong_patterns(self) -> Iterator[Wrong]:
        for name, one in self.gateway_redact_patterns.items():
            key = ("gateway_redact_patterns", name)
            if name in BUILT_IN or name == "all":
                yield Wrong(key, name, f"another name than {', '.join(BUILT_IN)} and all, which Ingot knows")
            try:
                bounded(one.pattern, one.max_length)
            except ValueError as error:
                yield Wrong((*key, "pattern"), one.pattern, f"one that can be searched for in a stream: it {error}")

    def _unknown_rules(self) -> Iterator[Wrong]:
        known = (*BUILT_IN, *self.gateway_redact_patterns)
        for team, values in self.gateway_teams.items():
            for index, rule in enumerate(values.redact or ()):
                if rule not in (*known, "all"):
                    key = ("gateway_teams", team, "redact", index)
                    yield Wrong(key, rule, f"all, or one of {', '.join(known)}{nearest(rule, known)}")
