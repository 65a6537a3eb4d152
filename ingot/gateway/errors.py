"""The gateway's own answers: errors in OpenAI's shape."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorAnswer:
    """An error in OpenAI's shape; nginx gives it for each of `codes`.

    `raised_as` is a status that never leaves the host: by it the configuration asks for one of several errors that
    callers get with the same status.
    """

    status: int
    message: str
    type: str
    code: str
    headers: tuple[tuple[str, str], ...] = ()
    also: tuple[int, ...] = ()
    raised_as: int | None = None

    @property
    def codes(self) -> tuple[int, ...]:
        return (self.raised_as or self.status, *self.also)

    @property
    def malformed(self) -> bool:
        """Whether the request may be one that nginx could not even parse."""
        return self.status == 400

    @property
    def target(self) -> str:
        """nginx' location that answers; a named one keeps the caller's path for the log."""
        return f"/-/error-{self.status}" if self.malformed else f"@error_{self.codes[0]}"


#: Statuses of `ErrorAnswer.raised_as`: error_page takes 300 to 599, and HTTP uses none of these.
DRAINING, HELD_OUT, FILTER_DOWN = 590, 591, 592

_BAD = "invalid_request_error"
ERRORS = (
    # 414: URI too long; 494: header too large; 497: plain HTTP on the TLS port; 501: the body's coding is unknown;
    # 505: the version is.
    ErrorAnswer(400, "The request could not be understood.", _BAD, "bad_request", also=(414, 494, 497, 501, 505)),
    ErrorAnswer(
        401,
        "A valid API key is needed: Authorization: Bearer sk-...",
        _BAD,
        "invalid_api_key",
        headers=(("WWW-Authenticate", "Bearer"),),
    ),
    ErrorAnswer(403, "Your team may not use the model that is served here.", _BAD, "model_not_allowed"),
    ErrorAnswer(404, "There is no such route.", _BAD, "unknown_url"),
    ErrorAnswer(
        405,
        "This route does not take that method.",
        _BAD,
        "method_not_allowed",
        # nginx' variable: what the route takes.
        headers=(("Allow", "$taken_method"),),
    ),
    ErrorAnswer(411, "State the length of the request body: Content-Length.", _BAD, "length_required"),
    ErrorAnswer(413, "The request body is too large.", _BAD, "request_too_large"),
    # teams.conf knows which limit it was.
    ErrorAnswer(429, "$limit_message", "rate_limit_error", "$limit_code", headers=(("Retry-After", "$limit_retry_s"),)),
    # A script of nginx that failed, or no room for a request's body.
    ErrorAnswer(500, "The gateway could not handle the request.", "server_error", "gateway_error"),
    ErrorAnswer(502, "The model is not answering.", "server_error", "engine_down", headers=(("Retry-After", "10"),)),
    ErrorAnswer(503, "No model is ready.", "server_error", "engine_not_ready", headers=(("Retry-After", "10"),)),
    ErrorAnswer(
        503,
        "The model is being replaced; try again soon.",
        "server_error",
        "engine_draining",
        headers=(("Retry-After", "10"),),
        raised_as=DRAINING,
    ),
    ErrorAnswer(
        503,
        "This host failed its acceptance and serves nobody; use another one.",
        "server_error",
        "host_held_out",
        headers=(("Retry-After", "60"),),
        raised_as=HELD_OUT,
    ),
    ErrorAnswer(
        503,
        "The filter that requests of your team pass is not running; nothing passes it by.",
        "server_error",
        "filter_down",
        headers=(("Retry-After", "5"),),
        raised_as=FILTER_DOWN,
    ),
    ErrorAnswer(504, "The model took too long.", "server_error", "engine_timeout", headers=(("Retry-After", "10"),)),
)
