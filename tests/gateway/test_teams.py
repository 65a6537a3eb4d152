"""Teams: resolved from group_data, wrong values one sentence each."""

from __future__ import annotations

from typing import Any

import pytest

from ingot.gateway.teams import Team
from tests.settings.values import settings

pytestmark = pytest.mark.gateway


def resolve(**entries: Any) -> dict[str, Team]:
    return settings(gateway_teams=entries).teams


def test_a_team_without_settings_has_the_defaults() -> None:
    assert resolve(sales={}) == {"sales": Team("sales", 6000, 600, 256, 32 << 20)}
    assert settings().others == Team("", 6000, 600, 256, 32 << 20)


def test_what_a_team_says_stands() -> None:
    said = {
        "requests_per_minute": 30,
        "burst": 7,
        "concurrency": 2,
        "max_body": "512k",
        "models": ["qwen", "org/llama"],
        "tokens_per_minute": 10_000,
        "tokens_per_day": 20_000,
        "tokens_per_month": 30_000,
        "redact": ["mobile"],
        "check_requests": "refuse",
    }
    assert resolve(sales=said)["sales"] == Team(
        "sales", 30, 7, 2, 512 << 10, ("qwen", "org/llama"), 10_000, 20_000, 30_000, ("mobile",), "refuse"
    )


def test_a_burst_follows_the_rate_of_its_own_team() -> None:
    assert resolve(a={"requests_per_minute": 30}, b={"requests_per_minute": 5})["a"].burst == 3
    assert resolve(b={"requests_per_minute": 5})["b"].burst == 1


@pytest.mark.parametrize(
    ("entry", "filtered"),
    [
        ({}, False),
        ({"concurrency": 1}, False),
        ({"tokens_per_minute": 1}, True),
        ({"tokens_per_day": 1}, True),
        ({"tokens_per_month": 1}, True),
        ({"redact": "all"}, True),
        ({"redact": []}, False),
        ({"check_requests": "redact"}, True),
    ],
)
def test_the_filter_is_for_those_who_need_it(entry: dict[str, Any], filtered: bool) -> None:
    assert resolve(sales=entry)["sales"].filtered is filtered


def test_models_are_all_or_those_named() -> None:
    made = resolve(a={}, b={"models": ["qwen"]})
    assert [team.may_use(model) for team in made.values() for model in ("qwen", "llama")] == [True, True, True, False]


@pytest.mark.parametrize(
    ("size", "expected"), [("32m", 32 << 20), ("8M", 8 << 20), ("1g", 1 << 30), (1048576, 1 << 20)]
)
def test_a_size_is_what_nginx_takes(size: str | int, expected: int) -> None:
    assert settings(gateway_max_body=size).others.max_body_bytes == expected
