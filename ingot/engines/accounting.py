"""One JSON line per request of the gateway: who, when, how many tokens; never a prompt, an answer or a key.

vLLM loads this file inside its container by `--middleware`: the standard library only, and nothing in here may break
an answer. A file is opened for each line, so that rotation needs no signal.
"""

import json
import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

#: Routes that leave no request_metadata state their tokens in the answer: at its end (embeddings, responses) or at its
#: beginning (rerank). A text cannot forge this: its quotes are escaped.
_PROMPT = re.compile(rb'"usage":\s*\{[^}]*?"(?:prompt|input)_tokens":\s*(\d+)')
_COMPLETION = re.compile(rb'"usage":\s*\{.*?"(?:completion|output)_tokens":\s*(\d+)', re.DOTALL)
_KEPT_BYTES = 1024


class Accounting:
    """ASGI middleware: lets everything through untouched and writes down what a request used."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        said = dict(scope.get("headers") or ())
        # Health checks, metrics and the probes of a deploy do not come through the gateway.
        if scope["type"] != "http" or b"x-ingot-team" not in said:
            await self.app(scope, receive, send)
            return
        # The same dictionary that Starlette's request.state reads and writes.
        state = scope.setdefault("state", {})
        began, now = datetime.now(UTC), time.monotonic()
        seen: dict[str, Any] = {
            "status": None,
            "first_byte_s": None,
            "finished": False,
            "left": False,
            "head": b"",
            "tail": b"",
        }

        async def from_caller() -> Any:
            message = await receive()
            # vLLM ends the handler of a caller who left and then answers nobody, as if all were well.
            seen["left"] |= message["type"] == "http.disconnect" and not seen["finished"]
            return message

        async def to_caller(message: Any) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
            elif message["type"] == "http.response.body":
                if message.get("body") and seen["first_byte_s"] is None:
                    seen["first_byte_s"] = round(time.monotonic() - now, 4)
                body = message.get("body", b"")
                seen["head"] += body[: _KEPT_BYTES - len(seen["head"])]
                seen["tail"] = (seen["tail"] + body)[-_KEPT_BYTES:]
                seen["finished"] = not message.get("more_body") and not seen["left"]
            await send(message)

        try:
            await self.app(scope, from_caller, to_caller)
        finally:
            # Whatever goes wrong here, a full disk for one, is not the caller's business.
            with suppress(Exception):
                _write(began, time.monotonic() - now, scope, said, seen, _tokens(state, seen))


def _tokens(state: Any, seen: Any) -> tuple[int | None, int | None]:
    usage = getattr(state.get("request_metadata"), "final_usage_info", None)
    if usage is not None:
        return usage.prompt_tokens, usage.completion_tokens or 0
    for part in (seen["tail"], seen["head"]):
        prompt, completion = _PROMPT.search(part), _COMPLETION.search(part)
        if prompt:
            return int(prompt.group(1)), int(completion.group(1)) if completion else 0
    return None, None


def _write(began: datetime, seconds: float, scope: Any, said: Any, seen: Any, tokens: Any) -> None:
    line = {
        "time": began.isoformat(timespec="milliseconds"),
        "request_id": said.get(b"x-request-id", b"").decode("latin-1"),
        "team": said[b"x-ingot-team"].decode("latin-1"),
        "key": said.get(b"x-ingot-key", b"").decode("latin-1"),
        "model": os.environ.get("INGOT_MODEL", ""),
        "path": scope["path"],
        "status": seen["status"],
        "first_byte_s": seen["first_byte_s"],
        "duration_s": round(seconds, 4),
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "finished": seen["finished"],
    }
    with open(os.environ["INGOT_ACCOUNT"], "ab", buffering=0) as file:  # noqa: PTH123
        file.write(json.dumps(line).encode() + b"\n")
