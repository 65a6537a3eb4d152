"""Requests on their way to the engine: checked, made to tell their usage, and priced in tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ingot.gateway.filter import refusals
from ingot.gateway.filter.answers import compact
from ingot.gateway.filter.json_text import JsonRedactor, redacted_number
from ingot.gateway.filter.redactor import Redactor
from ingot.gateway.filter.rules import Rules
from ingot.gateway.filter.settings import Policy

#: Routes whose streams tell their usage where they are asked to; those of the others always do.
_ASKED_FOR_USAGE = ("/v1/chat/completions", "/v1/completions")
#: Routes whose streams are known field by field.
STREAMED = (*_ASKED_FOR_USAGE, "/v1/responses", "/v1/messages")
#: Routes that answer with numbers only.
NUMBERS = ("/v1/embeddings",)
#: Routes whose answers cost no tokens of their own.
_READ_ONLY = (*NUMBERS, "/v1/rerank", "/v2/rerank", "/v1/score", "/v1/messages/count_tokens")
#: What would have the answer's tokens told besides its text.
_TELLS_TOKENS = [
    "logprobs",
    "prompt_logprobs",
    "logprob_token_ids",
    "return_token_ids",
    "return_token_offsets",
    "return_mm_kwargs",
    # /v1/responses: the whole prompt and answer as token ids.
    "enable_response_messages",
]
#: What each route takes for the answer's limit, and ignores if it is another's; the first that is named counts.
_MAX_TOKENS = {
    "/v1/chat/completions": ("max_completion_tokens", "max_tokens"),
    "/v1/responses": ("max_output_tokens",),
}
#: Lists, objects and fields of a request at most: each costs some hundred bytes of memory while it is read.
LARGEST_PARTS = 1_000_000
#: Rough sizes, put right by the usage that the engine tells: UTF-8 bytes of text per token, tokens of one picture.
_BYTES_PER_TOKEN = 4
_TOKENS_PER_PICTURE = 1000
_PIECE = 16 * 1024
#: Fields that hold a picture, a sound or a file, whole or by its address.
_PICTURES = ("url", "image_url", "data", "file_data")

Json = Any


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request as the engine gets it.

    `tokens` is what it may cost at most, `prompt_tokens` about what its prompt does. `json_content`: its answer's text
    will be JSON. `usage_asked`: its caller wants the usage of a stream told.
    """

    body: bytes
    prompt_tokens: int = 0
    tokens: int = 0
    json_content: bool = False
    usage_asked: bool = True


def prepared(policy: Policy, path: str, content_type: str, body: bytes, default_max_tokens: int) -> Prepared:
    """The request checked and priced. Raises: Refused."""
    if not body:
        return Prepared(body)
    if content_type.partition(";")[0].strip().lower() == "multipart/form-data":
        if policy.check:
            raise refusals.not_checked("a form")
        return Prepared(body, 0, default_max_tokens)
    if sum(map(body.count, (b"[", b"{", b","))) > LARGEST_PARTS:
        raise refusals.bad_request(f"The request body has more than {LARGEST_PARTS} brackets and commas; send less.")
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise refusals.bad_request("The request body is not JSON.") from None
    if not isinstance(request, dict):
        raise refusals.bad_request("The request body is not a JSON object.")
    stream = bool(request.get("stream"))
    if policy.redact and path not in NUMBERS:
        _refuse_untold(request, path, stream=stream)
    if policy.check:
        request = _checked(request, policy.check, redacts=policy.check_redacts)
    usage_asked = True
    if policy.counts_tokens and stream and path in _ASKED_FOR_USAGE:
        options = request.get("stream_options") or {}
        if not isinstance(options, dict):
            raise refusals.bad_request("stream_options is not a JSON object.")
        usage_asked = bool(options.get("include_usage"))
        request["stream_options"] = {**options, "include_usage": True}
    prompt = _tokens(request)
    # Written anew: the engine must not read a repeated key otherwise than it was read here.
    return Prepared(
        compact(request).encode(),
        prompt,
        prompt + _most(request, path, default_max_tokens),
        _asks_json(request),
        usage_asked,
    )


def _refuse_untold(request: dict[str, Json], path: str, *, stream: bool) -> None:
    for name in _TELLS_TOKENS:
        # 0 is a number of log probabilities: those of the answer's own tokens.
        if request.get(name) is not None and request[name] is not False and request[name] != []:
            raise refusals.not_with_redaction(name)
    if stream and path not in STREAMED:
        raise refusals.not_with_redaction("stream")


def _asks_json(request: dict[str, Json]) -> bool:
    """Whether the answer's text is going to be JSON, in which digits may be written as escapes."""
    form = request.get("response_format")
    text = request.get("text")
    if isinstance(text, dict):
        # As /v1/responses has it.
        form = text.get("format")
    if isinstance(form, dict) and form.get("type") in ("json_object", "json_schema"):
        return True
    outputs = request.get("structured_outputs")
    return isinstance(outputs, dict) and any(outputs.get(name) for name in ("json", "json_object"))


def _checked(request: dict[str, Json], rules: Rules, *, redacts: bool) -> dict[str, Json]:
    for name in ("prompt", "input"):
        if _holds_numbers(request.get(name)):
            raise refusals.not_checked(f"{name} as token ids")
    counted = rules.counted_anew()
    # Numbers at the top are settings (a seed, limits), those below are content.
    clean = {
        _clean(name, counted, ""): value if type(value) in (int, float) else _clean(value, counted, name)
        for name, value in request.items()
    }
    if counted.hits and not redacts:
        raise refusals.personal_data(min(counted.hits))
    rules.hits.update(counted.hits)
    return clean if counted.hits else request


def _holds_numbers(value: Json) -> bool:
    return isinstance(value, list) and any(type(one) is int or _holds_numbers(one) for one in value)


def _clean(value: Json, rules: Rules, key: str) -> Json:
    if isinstance(value, str):
        text = JsonRedactor(rules) if key == "arguments" else Redactor(rules)
        # In pieces: Python lets nothing else run while one piece is searched.
        pieces = (value[start : start + _PIECE] for start in range(0, len(value), _PIECE))
        return "".join(map(text.feed, pieces)) + text.end()
    if isinstance(value, list):
        return [_clean(one, rules, key) for one in value]
    if isinstance(value, dict):
        return {_clean(name, rules, ""): _clean(one, rules, name) for name, one in value.items()}
    if type(value) in (int, float):
        return redacted_number(value, rules) or value
    return value


def _tokens(value: Json, key: str = "") -> int:
    """About how many tokens the texts of a request are."""
    if isinstance(value, str):
        size = len(value.encode(errors="surrogatepass")) // _BYTES_PER_TOKEN
        return min(size, _TOKENS_PER_PICTURE) if key in _PICTURES else size
    if isinstance(value, list):
        return sum(1 if type(one) is int else _tokens(one, key) for one in value)
    if isinstance(value, dict):
        return sum(_tokens(one, name) for name, one in value.items())
    return 0


def _most(request: dict[str, Json], path: str, default: int) -> int:
    """How many tokens the answer may have."""
    if path in _READ_ONLY:
        return 0
    names = _MAX_TOKENS.get(path, ("max_tokens",))
    named = [limit for name in names if (limit := _number(request.get(name))) is not None and limit >= 0]
    answers = max(_number(request.get("n")) or 1, 1)
    prompts = request.get("prompt")
    if isinstance(prompts, list) and any(type(one) is not int for one in prompts):
        # Each prompt of a list has an answer of its own.
        answers *= len(prompts)
    return (named[0] if named else default) * answers


def _number(value: Json) -> int | None:
    """A whole number as the engine reads it: out of a text or a decimal fraction too."""
    try:
        return int(value) if type(value) in (int, str) or (type(value) is float and value.is_integer()) else None
    except ValueError:
        return None
