"""Every refusal of the filter as its caller reads it: status, error in OpenAI's shape, headers."""

from __future__ import annotations

from typing import Any

import pytest

from ingot.gateway.filter import refusals
from ingot.gateway.filter.refusals import Refused

pytestmark = pytest.mark.gateway

BAD, SERVER, RATE = "invalid_request_error", "server_error", "rate_limit_error"


@pytest.mark.parametrize(
    ("refused", "status", "kind", "code", "param", "message", "headers"),
    [
        (refusals.bad_request("No."), 400, BAD, "bad_request", None, "No.", ()),
        (
            refusals.unknown_team(), 503, SERVER, "filter_not_ready", None,
            "The filter does not know this team yet; try again soon.", (("Retry-After", "2"),),
        ),
        (
            refusals.filter_busy(), 503, SERVER, "filter_busy", None,
            "The filter holds as many large requests as it can; try again soon.", (("Retry-After", "5"),),
        ),
        (
            refusals.not_with_redaction("logprobs"), 400, BAD, "not_with_redaction", "logprobs",
            "Answers of your team are redacted, and logprobs cannot be; leave it out.", (),
        ),
        (
            refusals.personal_data("mobile"), 400, BAD, "request_refused_personal_data", None,
            "The request holds personal data (mobile); remove it and send it again.", (),
        ),
        (
            refusals.not_checked("a form"), 400, BAD, "not_with_request_checks", None,
            "Requests of your team are checked, and a form cannot be; send text as JSON.", (),
        ),
        (
            refusals.withheld(), 502, SERVER, "answer_withheld", None,
            "The answer could not be redacted, so it is withheld; try again.", (),
        ),
        (
            refusals.engine_down(), 502, SERVER, "engine_down", None, "The model is not answering.",
            (("Retry-After", "10"),),
        ),
        (
            refusals.tokens_per_minute(200, 7), 429, RATE, "tokens_per_minute_exceeded", None,
            "Your team may use 200 tokens per minute on this host; try again in 7 s.",
            (("Retry-After", "7"), ("X-RateLimit-Reset-Tokens", "7s")),
        ),
        (
            refusals.tokens_per_period("day", 500, 90), 429, RATE, "tokens_per_day_exceeded", None,
            "Your team has used its 500 tokens of this day on this host; the next day begins at 00:00 UTC.",
            (("Retry-After", "90"), ("X-RateLimit-Reset-Tokens", "90s")),
        ),
    ],
    ids=lambda value: value.code if isinstance(value, Refused) else None,
)  # fmt: skip
def test_a_refusal_says(
    refused: Refused, status: int, kind: str, code: str, param: str | None, message: str, headers: Any
) -> None:
    assert (refused.status, str(refused)) == (status, code)
    assert [name for name, _ in refused.headers] == [name for name, _ in headers]
    for (name, told), (_, least) in zip(refused.headers, headers, strict=True):
        # Callers who were refused together do not come together again.
        later = range(int(least), int(least) + min(max(3, int(least)), 60) + 1) if name == "Retry-After" else ()
        assert int(told) in later if later else told == least
    error = {"message": message, "type": kind, "param": param, "code": code, "request_id": "r1"}
    assert refused.error("r1") == {"error": error}


def test_a_server_fails_from_500_on() -> None:
    kinds = {status: Refused(status, "x", "x").error("")["error"]["type"] for status in (428, 430, 499, 500)}
    assert kinds == {428: BAD, 430: BAD, 499: BAD, 500: SERVER}


def test_callers_of_anthropics_routes_read_their_own_shape() -> None:
    said = {
        refused.status: refused.error("r1", "/v1/messages")
        for refused in (refusals.bad_request("No."), refusals.tokens_per_minute(1, 1), refusals.withheld())
    }
    assert said[400] == {
        "type": "error", "request_id": "r1",
        "error": {
            "message": "No.", "type": BAD, "param": None, "code": "bad_request", "request_id": "r1",
        },
    }  # fmt: skip
    assert said[429]["error"]["type"] == RATE and said[502]["error"]["type"] == "api_error"
    assert refusals.filter_busy().error("", "/v1/messages")["error"]["type"] == "overloaded_error"
    assert refusals.filter_busy().error("", "/v1/messages/count_tokens")["type"] == "error"
    assert "type" not in refusals.filter_busy().error("", "/v1/completions")
