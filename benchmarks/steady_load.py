"""Callers who never pause: OpenAI's client as it comes, every other answer streamed, each judged complete or not.

    .venv/bin/python -m benchmarks.steady_load URL CA_FILE KEY_FILE MODEL RECORD [--callers 8] [--rate 40] [--bare]

With `--bare` the same requests are sent without OpenAI's client, for half of the processor time: many of them find
what happens once in a thousand times.

It runs until it is told to end (SIGTERM), or whoever began it has gone, and appends one JSON line per request to
RECORD: when it began and ended (seconds since 1970), whether it was streamed, whether it was bare, how often it was
sent again, and what was wrong with its answer (null: nothing). KEY_FILE is read before each request, so that whoever
rotates a key writes the new one there.

An answer is complete where it says how it finished and holds as many words as were asked for; a streamed one where its
body ends with `data: [DONE]` too. The client sends a request again whose connection was closed before a byte of an
answer came: nginx closes idle connections when it reloads, and a request may be on its way there. It would also try
again after a refusal and after half an answer; those are wrong here, whatever comes of it. A bare caller sends again in
the first case alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2 as httpx

if TYPE_CHECKING:
    import openai

#: No answer takes longer than this, seconds.
LIMIT_S = 60
DONE = b"data: [DONE]"


class _Remembered(httpx.AsyncByteStream):
    """A body that keeps its last bytes: OpenAI's client does not tell an end with [DONE] from one without."""

    def __init__(self, stream: httpx.AsyncByteStream, wrong: list[str]) -> None:
        self._stream, self._wrong, self.tail = stream, wrong, b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._stream:
                self.tail = (self.tail + piece)[-64:]
                yield piece
        except httpx.HTTPError as error:
            self._wrong.append(f"half an answer: {error!r}")
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Transport(httpx.AsyncHTTPTransport):
    """Remembers of the request under way how its body ended, how often it was sent, and what each try was told."""

    last: _Remembered | None = None

    def begin(self) -> None:
        self.last, self.tries, self.wrong = None, 0, list[str]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.tries += 1
        answer = await super().handle_async_request(request)
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        if answer.status_code >= 400:
            self.wrong.append(f"answered with status {answer.status_code}")
        self.last = _Remembered(answer.stream, self.wrong)
        return httpx.Response(
            answer.status_code, headers=answer.headers, stream=self.last, extensions=answer.extensions
        )


#: How often a request is sent whose connection was closed before a byte of an answer, as OpenAI's client does.
TRIES = 3


def _client(url: str, client: httpx.AsyncClient) -> openai.AsyncOpenAI:
    """OpenAI's client; loading it takes a second of processor time, which bare callers have no need to spend."""
    import openai

    return openai.AsyncOpenAI(base_url=url, api_key="none", http_client=client)


async def _ask(caller: openai.AsyncOpenAI, transport: _Transport, asked: dict[str, Any], stream: bool) -> str | None:
    """What is wrong with one answer to OpenAI's client; None: nothing."""
    import openai

    try:
        return await _answer(caller, transport, asked, stream)
    except openai.OpenAIError as error:
        return _told(error)


async def _answer(caller: openai.AsyncOpenAI, transport: _Transport, asked: dict[str, Any], stream: bool) -> str | None:
    """The same; OpenAIError where the client itself finds something wrong."""
    if not stream:
        answer = await caller.chat.completions.create(**asked)
        said, finish = answer.choices[0].message.content or "", answer.choices[0].finish_reason
    else:
        said, finish = "", None
        async for chunk in await caller.chat.completions.create(**asked, stream=True):
            for choice in chunk.choices:
                said += choice.delta.content or ""
                finish = choice.finish_reason or finish
        if transport.last is None or not transport.last.tail.strip().endswith(DONE):
            return "the stream ended without [DONE]"
    if finish not in ("stop", "length"):
        return f"no finish: {finish}"
    return None if said else "no text"


async def _ask_bare(client: httpx.AsyncClient, request: httpx.Request, transport: _Transport) -> str | None:
    """What is wrong with one answer to a caller without OpenAI's client; None: nothing."""
    while True:
        try:
            answer = await client.send(request, stream=True)
            break
        except httpx.TransportError:
            if transport.tries == TRIES:
                raise
    body = await answer.aread()
    if answer.status_code != 200:
        return f"answered with status {answer.status_code}"
    if answer.headers["content-type"].startswith("text/event-stream"):
        if not body.strip().endswith(DONE):
            return "the stream ended without [DONE]"
        *chunks, last = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]
        said = "".join(one["choices"][0]["delta"].get("content") or "" for one in (*chunks, last))
        finish = last["choices"][0]["finish_reason"]
    else:
        (choice,) = json.loads(body)["choices"]
        said, finish = choice["message"]["content"], choice["finish_reason"]
    if finish not in ("stop", "length"):
        return f"no finish: {finish}"
    return None if said else "no text"


def _told(error: Exception) -> str:
    cause = f" ({error.__cause__!r})" if error.__cause__ else ""
    return f"{type(error).__name__}: {error}{cause}"


async def _call(number: int, args: argparse.Namespace, record: Any, stop: asyncio.Event) -> None:
    context = ssl.create_default_context(cafile=str(args.ca))
    transport = _Transport(verify=context)
    client = httpx.AsyncClient(transport=transport, timeout=LIMIT_S)
    caller = None if args.bare else _client(args.url, client)
    asked = {"model": args.model, "messages": [{"role": "user", "content": "Count."}], "max_tokens": args.max_tokens}
    every, stream, url = args.callers / args.rate, number % 2 == 0, f"{args.url}/chat/completions"
    await asyncio.sleep(every * number / args.callers)
    while not stop.is_set():
        began, monotonic = time.time(), time.monotonic()
        key = args.key.read_text().strip()
        transport.begin()
        try:
            if caller is None:
                headers = {"Authorization": f"Bearer {key}"}
                request = client.build_request("POST", url, headers=headers, json={**asked, "stream": stream})
                wrong = await _ask_bare(client, request, transport)
            else:
                caller.api_key = key
                wrong = await _ask(caller, transport, asked, stream)
        except (httpx.HTTPError, ValueError, KeyError) as error:
            wrong = _told(error)
        wrong = wrong or "; ".join(transport.wrong) or None
        again = max(transport.tries - 1, 0)
        line = {"began": began, "ended": time.time(), "stream": stream, "again": again, "wrong": wrong}
        record.write(json.dumps({**line, "bare": args.bare}) + "\n")
        stream = not stream
        await asyncio.sleep(max(every - (time.monotonic() - monotonic), 0))


async def _load(args: argparse.Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with args.record.open("a", buffering=1) as record:
        calls = (_call(number, args, record, stop) for number in range(args.callers))
        await asyncio.gather(_end_with(os.getppid(), stop), *calls)


async def _end_with(parent: int, stop: asyncio.Event) -> None:
    """Stop where the process that began this one is no longer there to say so."""
    while not stop.is_set():
        if os.getppid() != parent:
            stop.set()
        await asyncio.sleep(0.5)


@contextmanager
def steady_load(
    addresses: Sequence[str], ca: Path, key: Path, model: str, record: Path, rate: float, bare: float = 0
) -> Iterator[Path]:
    """Callers at these addresses, in processes of their own, until the block ends; yields the file of their records.

    They send `rate` requests per second in all, and `bare` more without OpenAI's client.
    """
    record.touch()
    kinds = [(rate, "12", []), (bare, "48", ["--bare"])]
    begun = [
        subprocess.Popen(
            [
                *(sys.executable, __file__, "--callers", callers, "--rate", str(each / len(addresses)), *flags),
                *(f"https://{address}/v1", str(ca), str(key), model, str(record)),
            ],
            env={**os.environ, "no_proxy": "*"},
        )
        for address in addresses
        for each, callers, flags in kinds
        if each
    ]
    try:
        yield record
        for one in begun:
            if one.poll() is not None:
                raise RuntimeError(f"callers ended by themselves, with status {one.returncode}")
    finally:
        for one in begun:
            one.send_signal(signal.SIGTERM)
        for one in begun:
            one.wait(timeout=120)


@dataclass(frozen=True)
class Row:
    """What callers met while one thing was changed."""

    change: str
    sent: int
    bare: int
    failed: int
    again: int
    longest_gap_s: float
    slowest_s: float
    took_s: float
    wrong: tuple[str, ...]


def row(change: str, record: Path, began: float, ended: float, took_s: float) -> Row:
    """The requests that ended between two moments."""
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    mine = [one for one in lines if began <= one["ended"] < ended]
    good = [began, *sorted(one["ended"] for one in mine if not one["wrong"]), ended]
    gap = max(after - before for before, after in pairwise(good))
    wrong = [one["wrong"] for one in mine if one["wrong"]]
    slowest = max((one["ended"] - one["began"] for one in mine), default=0)
    again = sum(one["again"] for one in mine)
    bare = sum(one["bare"] for one in mine)
    return Row(change, len(mine), bare, len(wrong), again, gap, slowest, took_s, tuple(wrong))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    for name in ("ca", "key"):
        parser.add_argument(name, type=Path)
    parser.add_argument("model")
    parser.add_argument("record", type=Path)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--rate", type=float, default=40, help="requests per second, all callers together")
    parser.add_argument("--bare", action="store_true", help="without OpenAI's client")
    parser.add_argument("--max-tokens", type=int, default=8)
    asyncio.run(_load(parser.parse_args()))


if __name__ == "__main__":
    main()
