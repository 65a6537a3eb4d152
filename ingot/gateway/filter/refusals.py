"""What the filter says when it refuses: errors without any text, in the shape that callers of the route know."""

from __future__ import annotations

import random
from typing import Any

#: Routes whose callers are Anthropic's SDKs, which know errors in another shape.
ANTHROPIC_PATHS = ("/v1/messages", "/v1/messages/count_tokens")
_ANTHROPIC_TYPES = {429: "rate_limit_error", 503: "overloaded_error"}
#: Callers who were refused together are told to come back within so many seconds of each other at most.
_SPREAD_S = 60


class Refused(Exception):
    """A request that goes no further, with the status and error that its caller gets.

    `retry_s`: after how many seconds another try may pass; each caller is told that or a little more.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        *,
        retry_s: int | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        later = () if retry_s is None else (("Retry-After", str(_later(retry_s))),)
        self.headers = (*later, *headers)

    def error(self, request_id: str, path: str = "") -> dict[str, Any]:
        """The error as a body, or as an event's data, in the shape that callers of `path` know."""
        anthropic = path in ANTHROPIC_PATHS
        if anthropic:
            kind = _ANTHROPIC_TYPES.get(self.status, "api_error" if self.status >= 500 else "invalid_request_error")
        elif self.status == 429:
            kind = "rate_limit_error"
        else:
            kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        error["request_id"] = request_id
        return {"type": "error", "error": error, "request_id": request_id} if anthropic else {"error": error}


def _later(seconds: int) -> int:
    return seconds + random.randint(0, min(max(3, seconds), _SPREAD_S))


def bad_request(message: str) -> Refused:
    """400 for a request that cannot be read."""
    return Refused(400, "bad_request", message)


def unknown_team() -> Refused:
    """503 for a team that was given the filter after this process read its settings."""
    return Refused(503, "filter_not_ready", "The filter does not know this team yet; try again soon.", retry_s=2)


def filter_busy() -> Refused:
    """503 while the requests that are held already leave no room for another one."""
    return Refused(503, "filter_busy", "The filter holds as many large requests as it can; try again soon.", retry_s=5)


def not_with_redaction(param: str) -> Refused:
    """400 for what would hold the answer's text in a form that cannot be redacted."""
    return Refused(
        400,
        "not_with_redaction",
        f"Answers of your team are redacted, and {param} cannot be; leave it out.",
        param,
    )


def personal_data(rule: str) -> Refused:
    """400 for a request with personal data in it."""
    return Refused(
        400, "request_refused_personal_data", f"The request holds personal data ({rule}); remove it and send it again."
    )


def not_checked(what: str) -> Refused:
    """400 for a request that cannot be looked into where requests are checked."""
    return Refused(
        400, "not_with_request_checks", f"Requests of your team are checked, and {what} cannot be; send text as JSON."
    )


def withheld() -> Refused:
    """502 for an answer that could not be redacted with certainty."""
    return Refused(502, "answer_withheld", "The answer could not be redacted, so it is withheld; try again.")


def engine_down() -> Refused:
    """502 for an engine that does not answer, or breaks off."""
    return Refused(502, "engine_down", "The model is not answering.", retry_s=10)


def tokens_per_period(period: str, limit: int, left_s: int) -> Refused:
    """429 for a team whose tokens of the day or the month are used up; `left_s` until the next one begins."""
    return Refused(
        429,
        f"tokens_per_{period}_exceeded",
        f"Your team has used its {limit} tokens of this {period} on this host; the next {period} begins at 00:00 UTC.",
        headers=(("X-RateLimit-Reset-Tokens", f"{left_s}s"),),
        retry_s=left_s,
    )


def tokens_per_minute(limit: int, wait_s: int) -> Refused:
    """429 for a team whose budget of tokens is used up."""
    return Refused(
        429,
        "tokens_per_minute_exceeded",
        f"Your team may use {limit} tokens per minute on this host; try again in {wait_s} s.",
        headers=(("X-RateLimit-Reset-Tokens", f"{wait_s}s"),),
        retry_s=wait_s,
    )
