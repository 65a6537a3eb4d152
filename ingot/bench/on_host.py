"""Runs levels of load inside the engine's own image, by its own benchmark; standard library and vLLM only.

Standard input: a line of JSON with the API key and the CA's certificate, then one per level: its arguments for
`vllm bench serve`, its bound in seconds and the share of failed requests at which it stops. When the input ends, so
does this, whatever it is doing. Standard output: `@@ingot-bench ` and one line of JSON each: `{"done", "failed"}` every
second, then the level's result, or `{"error"}`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import queue
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

MARK = "@@ingot-bench "
#: Fewer failures than this never stop a level.
FEW = 5
#: The certificates that are trusted: public ones, and the internal CA's.
TRUSTED = Path("/tmp/ca.pem")
WANTED = ("start_times", "ttfts", "itls", "input_lens", "output_lens", "errors", "queue_times")


class Stopped(Exception):
    """Too many requests failed, or the level took too long."""


class Watch:
    """Counts what comes back, and ends a level that goes wrong."""

    def __init__(self, limit_s: float, failed_share: float) -> None:
        self.done = self.failed = 0
        self._limit_s, self._failed_share = limit_s, failed_share
        self._why = ""

    def wrap(self, ask: Any) -> Any:
        """The engine's own function that asks, counted."""

        async def counted(*args: Any, **named: Any) -> Any:
            answer = await ask(*args, **named)
            self.done += 1
            if not answer.success:
                self.failed += 1
                self._why = self._why or str(answer.error)
            return answer

        return counted

    async def until_wrong(self) -> None:
        """Say how far it is once a second. Raises: Stopped."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(1)
            say({"done": self.done, "failed": self.failed})
            if self.failed >= FEW and self.failed > self._failed_share * self.done:
                raise Stopped(f"{self.failed} of {self.done} requests failed, the first with: {last_words(self._why)}")
            if time.monotonic() - began > self._limit_s:
                raise Stopped(f"it was not over after {self._limit_s:.0f} s, {self.done} requests came back")


def last_words(why: str) -> str:
    """The last line of a failure, which is what a traceback says of its cause."""
    return (why.strip().splitlines() or ["nothing"])[-1][-300:]


def say(what: dict[str, Any]) -> None:
    """One line to whoever began this."""
    print(MARK + json.dumps(what), file=sys.__stdout__, flush=True)


async def level(parser: argparse.ArgumentParser, functions: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """One level's result. Raises: Stopped."""
    from vllm.benchmarks.serve import main_async  # type: ignore[import-not-found]

    arguments = parser.parse_args(wanted["arguments"])
    watch = Watch(wanted["limit_s"], wanted["failed_share"])
    # The engine's table of ways to ask has one more: its own, counted.
    functions["ingot"] = watch.wrap(functions[wanted["backend"]])
    load = asyncio.create_task(main_async(arguments))
    watching = asyncio.create_task(watch.until_wrong())
    await asyncio.wait({load, watching}, return_when=asyncio.FIRST_COMPLETED)
    if not load.done():
        load.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await load
    if watching.done():
        watching.result()
    watching.cancel()
    try:
        result: dict[str, Any] = load.result()
    except (ValueError, OSError) as error:
        # What the benchmark raises where its first request of all gets no answer.
        raise Stopped(last_words(str(error))) from None
    return result


def lines_or_end() -> queue.SimpleQueue[str]:
    """The lines of standard input as they come; its end ends this process at once: nobody waits for it any more."""
    found: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            found.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return found


def trust(ca: str) -> None:
    """Have TLS trust the public CAs of this image and one more, before any library makes its context."""
    public = ssl.get_default_verify_paths().cafile
    known = Path(public).read_text(encoding="utf-8") if public and Path(public).is_file() else ""
    TRUSTED.write_text(f"{known}\n{ca}\n", encoding="utf-8")
    os.environ["SSL_CERT_FILE"] = str(TRUSTED)


def main() -> None:
    """Every level that is asked for, until standard input ends."""
    given = json.loads(sys.stdin.readline())
    trust(given["ca"])
    os.environ["OPENAI_API_KEY"] = given["key"]
    from vllm.benchmarks.lib.endpoint_request_func import (  # type: ignore[import-not-found]
        ASYNC_REQUEST_FUNCS,
        OPENAI_COMPATIBLE_BACKENDS,
    )
    from vllm.benchmarks.serve import add_cli_args

    ASYNC_REQUEST_FUNCS["ingot"] = ASYNC_REQUEST_FUNCS["openai"]
    OPENAI_COMPATIBLE_BACKENDS.append("ingot")
    parser = argparse.ArgumentParser()
    add_cli_args(parser)
    lines = lines_or_end()
    say({"ready": True})
    while True:
        wanted = json.loads(lines.get())
        # What the benchmark prints for people is not for whoever reads this.
        with contextlib.redirect_stdout(sys.stderr):
            try:
                result = asyncio.run(level(parser, ASYNC_REQUEST_FUNCS, wanted))
                say({"result": {name: result.get(name) for name in WANTED}})
            except Stopped as why:
                say({"error": str(why)})


if __name__ == "__main__":
    main()
