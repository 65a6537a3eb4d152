"""Runs levels of load inside the engine's own image, by its own benchmark; standard library and vLLM only.

Standard input: a line of JSON with the API key and the CA's certificate, then one per level: its arguments for
`vllm bench serve`, its bound in seconds and the share of failed requests at which it stops. Standard output:
`@@ingot-bench ` and one line of JSON each: `{"done", "failed"}` every second, then the level's result, or `{"error"}`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

MARK = "@@ingot-bench "
#: Fewer failures than this never stop a level.
FEW = 5


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
                raise Stopped(
                    f"{self.failed} of {self.done} requests failed, the first with: {self._why.strip()[-300:]}"
                )
            if time.monotonic() - began > self._limit_s:
                raise Stopped(f"it was not over after {self._limit_s:g} s")


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
    result: dict[str, Any] = load.result()
    return result


def main() -> None:
    """Every level that is asked for, until standard input ends."""
    from vllm.benchmarks.lib.endpoint_request_func import (  # type: ignore[import-not-found]
        ASYNC_REQUEST_FUNCS,
        OPENAI_COMPATIBLE_BACKENDS,
    )
    from vllm.benchmarks.serve import add_cli_args

    trusted = json.loads(sys.stdin.readline())
    Path("/tmp/ca.pem").write_text(trusted["ca"])
    os.environ |= {"OPENAI_API_KEY": trusted["key"], "SSL_CERT_FILE": "/tmp/ca.pem"}
    ASYNC_REQUEST_FUNCS["ingot"] = ASYNC_REQUEST_FUNCS["openai"]
    OPENAI_COMPATIBLE_BACKENDS.append("ingot")
    parser = argparse.ArgumentParser()
    add_cli_args(parser)
    say({"ready": True})
    for line in sys.stdin:
        # What the benchmark prints for people is not for whoever reads this.
        with contextlib.redirect_stdout(sys.stderr):
            try:
                result = asyncio.run(level(parser, ASYNC_REQUEST_FUNCS, json.loads(line)))
                wanted = ("start_times", "ttfts", "itls", "input_lens", "output_lens", "errors")
                say({"result": {name: result.get(name) for name in wanted}})
            except Stopped as why:
                say({"error": str(why)})


if __name__ == "__main__":
    main()
