"""Teams: resolved from group_data, wrong values one sentence each."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ingot.errors import IngotError
from ingot.gateway import teams
from ingot.gateway.teams import Team

pytestmark = pytest.mark.gateway

DEFAULTS = {
    "gateway_requests_per_minute": 6000,
    "gateway_concurrency": 256,
    "gateway_max_body": "32m",
}


def resolve(**entries: Any) -> dict[str, Team]:
    return teams.resolve({**DEFAULTS, "gateway_teams": entries})


def test_a_team_without_settings_has_the_defaults() -> None:
    assert resolve(sales={}) == {"sales": Team("sales", 6000, 600, 256, 32 << 20)}
    assert teams.default(DEFAULTS) == Team("", 6000, 600, 256, 32 << 20)


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
    ("entries", "sentence"),
    [
        ([], "gateway_teams is [], expected {team: {setting: value}}"),
        ({"Sales": {}}, "gateway_teams names 'Sales', expected 1 to 32 characters"),
        ({"sales\n": {}}, "gateway_teams names 'sales\\n', expected"),
        ({3: {}}, "gateway_teams names 3, expected"),
        ({"sales": 3}, "gateway_teams['sales'] is 3, expected {setting: value}"),
        ({"sales": {"rpm": 3}}, "gateway_teams['sales'] has 'rpm', expected burst, check_requests, concurrency"),
        ({"sales": {"burst": 0}}, "gateway_teams['sales']['burst'] is 0, expected a whole number from 1 on"),
        ({"sales": {"concurrency": True}}, "gateway_teams['sales']['concurrency'] is True, expected"),
        ({"sales": {"tokens_per_minute": "9"}}, "gateway_teams['sales']['tokens_per_minute'] is '9', expected"),
        ({"sales": {"max_body": "8 MiB"}}, "gateway_teams['sales']['max_body'] is '8 MiB', expected a size"),
        ({"sales": {"models": "qwen"}}, "gateway_teams['sales']['models'] is 'qwen', expected a list of words"),
        ({"sales": {"models": []}}, "gateway_teams['sales']['models'] is [], expected names of models"),
        ({"sales": {"models": ["a'; b"]}}, "gateway_teams['sales']['models'] is "),
        ({"sales": {"redact": "mobile"}}, "gateway_teams['sales']['redact'] is 'mobile', expected a list of words"),
        ({"sales": {"check_requests": "drop"}}, "gateway_teams['sales']['check_requests'] is 'drop', expected one of"),
    ],
)
def test_a_wrong_value_is_one_sentence(entries: Any, sentence: str) -> None:
    with pytest.raises(IngotError, match=re.escape(sentence)):
        teams.resolve({**DEFAULTS, "gateway_teams": entries})


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"gateway_max_body": "1m; include /etc/x"}, "gateway_max_body is '1m; include /etc/x', expected a size"),
        ({"gateway_concurrency": "many"}, "gateway_concurrency is 'many', expected a whole number from 1 on"),
        ({"gateway_requests_per_minute": 0}, "gateway_requests_per_minute is 0, expected"),
    ],
)
def test_a_wrong_default_is_one_sentence(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(IngotError, match=re.escape(sentence)):
        teams.default({**DEFAULTS, **wrong})


@pytest.mark.parametrize(
    ("size", "expected"), [("32m", 32 << 20), ("8M", 8 << 20), ("1g", 1 << 30), (1048576, 1 << 20)]
)
def test_a_size_is_what_nginx_takes(size: str | int, expected: int) -> None:
    assert teams.default({**DEFAULTS, "gateway_max_body": size}).max_body_bytes == expected
