"""One JSON line per request of the gateway: who, when, how many tokens; never a prompt, an answer or a key.

And nothing of a request in the engine's own log: errors quote what they could not read.

vLLM loads this file inside its container by `--middleware`: the standard library only, and nothing in here may break
an answer. A file is opened for each line, so that rotation needs no signal.

Tokens come from the engine's own objects, never from the text of a request or an answer, which a caller can shape.
Source: vLLM 0.32, v1/engine/async_llm.py (add_request) and v1/engine/output_processor.py (RequestOutputCollector).
"""

import asyncio
import json
import logging
import os
import time
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

#: How long a request that its caller gave up is waited for until the engine has stopped it, seconds.
STOPPING_S = 5


class Tally:
    """The tokens of one HTTP request, counted as the engine hands its outputs over."""

    def __init__(self) -> None:
        self._prompts: dict[int, int] = {}
        self._generated: dict[tuple[int, int], int] = {}
        self._running: set[int] = set()
        self._stopped = asyncio.Event()
        self._count = 0

    def follow(self, collector: Any) -> None:
        """Count what the engine puts into a collector of outputs, which one request of the engine has."""
        number, put = self._count, collector.put
        self._count += 1
        self._running.add(number)
        self._stopped.clear()

        def counted(output: Any) -> None:
            with suppress(Exception):
                self._see(number, output, pieces=collector.aggregate)
            put(output)

        collector.put = counted
        # What came before this method was called.
        if collector.output is not None:
            self._see(number, collector.output, pieces=collector.aggregate)

    async def stopped(self, timeout_s: float) -> None:
        """Wait until the engine works on nothing of this request any more, or the time is over."""
        if self._running:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), timeout_s)

    def tokens(self) -> tuple[int | None, int | None]:
        """Prompt and generated tokens so far; None where the engine was not asked for any."""
        if not self._prompts:
            return None, None
        return sum(self._prompts.values()), sum(self._generated.values())

    def _see(self, number: int, output: Any, *, pieces: bool) -> None:
        """Add one output. `pieces`: it holds the tokens since the one before; else all tokens so far."""
        if isinstance(output, Exception) or output.finished:
            self._running.discard(number)
            if not self._running:
                self._stopped.set()
        if isinstance(output, Exception):
            return
        self._prompts[number] = len(output.prompt_token_ids or ())
        # Embeddings and scores have one output, without tokens.
        for one in output.outputs if isinstance(output.outputs, list) else ():
            key, tokens = (number, one.index), len(one.token_ids)
            before = self._generated.get(key, 0)
            self._generated[key] = before + tokens if pieces else max(before, tokens)


_TALLY: ContextVar[Tally | None] = ContextVar("tally", default=None)


class WithoutText(logging.Filter):
    """Of what is logged while a request is handled, leaves where it was logged and which exception there was."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Take the text out of a record; every record is logged."""
        if _TALLY.get() is not None:
            kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
            record.msg = f"withheld, for it may hold a caller's text: {record.filename}:{record.lineno} {kind}".rstrip()
            record.args = record.exc_info = record.exc_text = record.stack_info = None
        return True


#: Loggers with handlers of their own. Not uvicorn.access, which has nothing but a route.
_LOGGERS = ("", "vllm", "uvicorn", "uvicorn.error")
_WITHOUT_TEXT = WithoutText()


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
        seen: dict[str, Any] = {"status": None, "first_byte_s": None, "finished": False, "left": False}
        tally = Tally()
        # Every task that the handler starts inherits it.
        _TALLY.set(tally)
        for name in _LOGGERS:
            for handler in logging.getLogger(name).handlers:
                # A filter that a handler has already is not added again.
                handler.addFilter(_WITHOUT_TEXT)
        with suppress(Exception):
            _follow_engine(scope["app"].state.engine_client)

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
                seen["finished"] = not message.get("more_body") and not seen["left"]
            await send(message)

        try:
            await self.app(scope, from_caller, to_caller)
        finally:
            seconds = time.monotonic() - now
            try:
                # The engine tells how far it came when it stops what its caller gave up.
                if not seen["finished"]:
                    await tally.stopped(STOPPING_S)
            finally:
                # Whatever goes wrong here, a full disk for one, is not the caller's business.
                with suppress(Exception):
                    _write(began, seconds, scope, said, seen, _tokens(state, tally))


def _follow_engine(client: Any) -> None:
    """Have the engine's client tell each request's tally which collector its outputs come by; once per client."""
    if hasattr(client.add_request, "ingot"):
        return
    add_request = client.add_request

    async def followed(*words: Any, **named: Any) -> Any:
        collector = await add_request(*words, **named)
        tally = _TALLY.get()
        if tally is not None:
            with suppress(Exception):
                tally.follow(collector)
        return collector

    followed.ingot = True  # type: ignore[attr-defined]
    client.add_request = followed


def _tokens(state: Any, tally: Tally) -> tuple[int | None, int | None]:
    """What the handler of the route summed up at its end; else what the engine handed over."""
    usage = getattr(state.get("request_metadata"), "final_usage_info", None)
    if usage is not None:
        return usage.prompt_tokens, usage.completion_tokens or 0
    return tally.tokens()


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
