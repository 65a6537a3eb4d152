"""The gateway's own answers: errors with reason, remedy, and a type by which SDKs raise the right exception.

Callers of `ANTHROPIC_PATHS` get Anthropic's shape, everybody else OpenAI's.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Routes whose callers are Anthropic's SDKs.
ANTHROPIC_PATHS = ("/v1/messages", "/v1/messages/count_tokens")


@dataclass(frozen=True)
class ErrorAnswer:
    """An error; nginx gives it for each of `codes`.

    `message` and `code` may be variables of nginx. `retry_s`: after how many seconds another try may succeed, a number
    or a variable that holds one; callers are told that or more, each another number. `raised_as` is a status
    that never leaves the host: by it the configuration asks for one of several errors that callers get with the same
    status. `unparsed`: nginx gives it for requests that it could not even parse.
    """

    status: int
    message: str
    code: str
    headers: tuple[tuple[str, str], ...] = ()
    retry_s: int | str | None = None
    also: tuple[int, ...] = ()
    raised_as: int | None = None
    unparsed: bool = False

    @property
    def codes(self) -> tuple[int, ...]:
        return (self.raised_as or self.status, *self.also)

    @property
    def target(self) -> str:
        """nginx' location that answers; a named one keeps the caller's path for the log."""
        return f"/-/error-{self.codes[0]}" if self.unparsed else f"@error_{self.codes[0]}"

    @property
    def bodies(self) -> tuple[str, str]:
        """The JSON that callers of OpenAI's and of Anthropic's routes get, with nginx' variables in it."""
        told = f'"param":null,"code":"{self.code}","request_id":"$request_id"}}'
        openai, anthropic = openai_type(self.status), anthropic_type(self.status)
        return (
            f'{{"error":{{"message":"{self.message}","type":"{openai}",{told}}}',
            f'{{"type":"error","error":{{"type":"{anthropic}","message":"{self.message}",{told},'
            '"request_id":"$request_id"}',
        )


def openai_type(status: int) -> str:
    """The type of an error as OpenAI's clients and LiteLLM know it."""
    known = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return known.get(status, "server_error" if status >= 500 else "invalid_request_error")


def anthropic_type(status: int) -> str:
    """The type of an error as Anthropic's clients know it. Source: Anthropic's API, "Errors"."""
    known = {
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
    }
    return known.get(status, "api_error" if status >= 500 else "invalid_request_error")


#: Statuses of `ErrorAnswer.raised_as`: error_page takes 300 to 599, and HTTP uses none of these.
DRAINING, HELD_OUT, FILTER_DOWN = 590, 591, 592
QUERY, HTTP_1_0, CODED_BODY, NO_SUCH_MODEL, NO_WEBSOCKET, BUSY = 593, 594, 595, 596, 597, 598
#: nginx' own: plain HTTP on the port of TLS.
_PLAIN_HTTP = 497

ERRORS = (
    # 501: the body's transfer coding is unknown; 505: the version is.
    ErrorAnswer(
        400,
        "The request could not be understood: its first line or a header is malformed, or a header that may come once "
        "(Authorization, Host, Content-Length) came twice; send each once.",
        "bad_request",
        also=(501, 505),
        unparsed=True,
    ),
    ErrorAnswer(
        400,
        "The first line or the headers of the request are larger than 32 kB; send less, and the prompt in the body.",
        "head_too_large",
        also=(414,),
        raised_as=494,
        unparsed=True,
    ),
    ErrorAnswer(
        400,
        "This port speaks TLS alone: use https. A key that was sent in clear could be read by others, so have it "
        "replaced.",
        "https_only",
        raised_as=_PLAIN_HTTP,
        unparsed=True,
    ),
    ErrorAnswer(
        400,
        "This route takes no such query string: put parameters into the body, and the key into the header "
        "Authorization.",
        "query_not_taken",
        raised_as=QUERY,
    ),
    ErrorAnswer(
        400,
        "HTTP/1.0 is not taken here: use HTTP/1.1, or have the operator name the proxy that you come through in "
        "gateway_behind.",
        "http_1_0",
        raised_as=HTTP_1_0,
    ),
    ErrorAnswer(
        400,
        "This route is a WebSocket: connect to it over HTTP/1.1 with Upgrade: websocket.",
        "websocket_only",
        raised_as=NO_WEBSOCKET,
    ),
    ErrorAnswer(
        401,
        "A valid API key is needed: Authorization: Bearer sk-... (or x-api-key: sk-...).",
        "invalid_api_key",
        headers=(("WWW-Authenticate", "Bearer"),),
    ),
    ErrorAnswer(
        403,
        "Your team may not use this model; GET /v1/models lists those that it may.",
        "model_not_allowed",
    ),
    ErrorAnswer(404, "There is no such route; the base URL of OpenAI clients ends with /v1.", "unknown_url"),
    ErrorAnswer(
        404,
        "This model is not served here; GET /v1/models lists those that are.",
        "model_not_found",
        raised_as=NO_SUCH_MODEL,
    ),
    ErrorAnswer(
        405,
        "This route does not take that method; it takes $taken_method.",
        "method_not_allowed",
        # nginx' variable: what the route takes.
        headers=(("Allow", "$taken_method"),),
    ),
    ErrorAnswer(411, "State the length of the request body: Content-Length.", "length_required"),
    ErrorAnswer(413, "The request body is larger than your team may send; send less.", "request_too_large"),
    ErrorAnswer(
        415,
        "The request body is compressed, which is not read here: send it without Content-Encoding.",
        "content_encoding",
        raised_as=CODED_BODY,
    ),
    ErrorAnswer(
        421,
        "This gateway does not answer to the name in the Host header; use one of its names, or have the operator add "
        "it to gateway_names.",
        "unknown_host",
    ),
    # teams.conf knows which limit it was.
    ErrorAnswer(429, "$limit_message", "$limit_code", retry_s="$limit_retry_s"),
    # The place for request bodies is full; nginx would say 500.
    ErrorAnswer(
        503,
        "The gateway has no room for another request body at the moment; try again soon.",
        "gateway_busy",
        retry_s=5,
        raised_as=500,
    ),
    ErrorAnswer(502, "The model is not answering; try again soon.", "engine_down", retry_s=10),
    ErrorAnswer(503, "No model is ready; try again soon.", "engine_not_ready", retry_s=10),
    # auth.js knows when it is expected back.
    ErrorAnswer(
        503,
        "The model is being replaced; try again soon.",
        "engine_draining",
        retry_s="$ready_in_s",
        raised_as=DRAINING,
    ),
    ErrorAnswer(
        503,
        "This host failed its acceptance and serves nobody; use another one.",
        "host_held_out",
        retry_s=60,
        raised_as=HELD_OUT,
    ),
    ErrorAnswer(
        503,
        "The filter that requests of your team pass is not running, and nothing passes it by; try again soon.",
        "filter_down",
        retry_s=5,
        raised_as=FILTER_DOWN,
    ),
    ErrorAnswer(504, "The model took too long; ask for a shorter answer, or stream it.", "engine_timeout", retry_s=10),
)

#: Where the gateway bounds how many requests an engine has at once.
ENGINE_BUSY = ErrorAnswer(
    429,
    "The model has as many requests as it may keep waiting; try again soon.",
    "engine_busy",
    retry_s=5,
    raised_as=BUSY,
)
