"""The rules file, as a deploy writes it and the filter reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingot.gateway import personal_data
from ingot.gateway.filter import settings
from ingot.gateway.filter.rules import Rules
from ingot.gateway.patterns import bounded
from tests.gateway.filter_process import team

pytestmark = pytest.mark.gateway


def names(rules: Rules | None) -> list[str] | None:
    return None if rules is None else [rule.name for rule in rules.rules]


def test_what_a_deploy_writes_is_what_the_filter_reads(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    teams = (
        team("all", redact=("all",), tokens_per_minute=7, tokens_per_day=70, tokens_per_month=700),
        team("some", redact=("mobile", "email"), check_requests="refuse"),
        team("cleaned", check_requests="redact"),
        team("open"),
    )
    path.write_text(personal_data.rules_file(teams, {"badge": bounded("B[0-9]{6}", 256)}, 123, {"mobile": 0.9}))
    read = settings.read(path)
    assert read.default_max_tokens == 123
    assert list(read.teams) == ["all", "cleaned", "some"], "who asked for nothing passes the filter by"
    everything = [*personal_data.BUILT_IN, "badge"]

    every, some, cleaned = read.teams["all"], read.teams["some"], read.teams["cleaned"]
    assert (names(every.redact), every.check, every.check_redacts) == (everything, None, False)
    assert (every.tokens_per_minute, every.tokens_per_day, every.tokens_per_month) == (7, 70, 700)
    assert every.counts_tokens and not some.counts_tokens
    assert names(some.redact) == names(some.check) == ["mobile", "email"]
    assert (some.check_redacts, cleaned.redact, cleaned.check_redacts) == (False, None, True)
    assert names(cleaned.check) == everything
    assert every.redact and {rule.threshold for rule in every.redact.rules if rule.name == "mobile"} == {0.9}


@pytest.mark.parametrize("missing", ["rules", "teams", "default_max_tokens"])
def test_a_rules_file_that_lacks_something_is_refused(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "rules.json"
    stored: dict[str, Any] = json.loads(personal_data.rules_file([team("all", redact=("all",))], {}, 1, {}))
    del stored[missing]
    path.write_text(json.dumps(stored))
    with pytest.raises(KeyError):
        settings.read(path)
