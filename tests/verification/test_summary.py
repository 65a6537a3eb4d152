"""What `ingot verify` says of a record."""

from __future__ import annotations

from typing import Any

import pytest

from ingot.verification.summary import SCHEMA, parse

pytestmark = pytest.mark.onboarding


def check(name: str, sentence: str | None = None) -> dict[str, Any]:
    return {"check": name, "outcome": "failed" if sentence else "passed", "seconds": 0.1, "sentence": sentence}


def record(*checks: dict[str, Any], trouble: str | None = None) -> dict[str, Any]:
    passed = sum(one["outcome"] == "passed" for one in checks)
    host = {"trouble": trouble, "looked_s": 1.234, "passed": passed, "failed": len(checks) - passed}
    return {"schema": SCHEMA, "hosts": {"gpu-01": {**host, "checks": list(checks)}}}


def test_a_host_that_keeps_every_promise_is_a_row_of_figures() -> None:
    (found,) = parse(record(check("a"), check("b")))
    assert found.good
    assert found.cells() == ("gpu-01", "2", "2", "0", "1.2 s")
    assert found.failures == ()


def test_each_failure_is_a_sentence() -> None:
    (found,) = parse(record(check("a"), check("b", "nginx is failed; deploy again")))
    assert not found.good
    assert found.cells() == ("gpu-01", "2", "1", "1", "1.2 s")
    assert found.failures == ("nginx is failed; deploy again",)


def test_one_cause_of_many_failures_is_said_once() -> None:
    (found,) = parse(record(check("a", "nothing answers on port 443"), check("b", "nothing answers on port 443")))
    assert found.cells()[1:4] == ("2", "0", "2")
    assert found.failures == ("nothing answers on port 443",)


def test_a_host_that_does_not_answer_is_one_sentence_and_not_a_hundred() -> None:
    (found,) = parse(record(check("a", "no SSH"), check("b", "no SSH"), trouble="no SSH"))
    assert not found.good
    assert found.cells() == ("gpu-01", "-", "-", "-", "-")
    assert found.trouble == "no SSH"


def test_a_record_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="schema 0, expected"):
        parse({"schema": 0, "hosts": {}})
