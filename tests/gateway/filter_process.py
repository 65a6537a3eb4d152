"""The filter as it runs on a host: a process that has its own files and the standard library, on unix sockets."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingot.gateway import filter as package
from ingot.gateway import personal_data
from ingot.gateway.filter import server, settings
from ingot.gateway.filter.exchange import Exchange
from ingot.gateway.filter.ledger import Ledger
from ingot.gateway.teams import Team

Answering = Callable[["Call"], Awaitable[None]]


def team(name: str, **asked: Any) -> Team:
    return Team(name, requests_per_minute=60, burst=6, concurrency=4, max_body_bytes=1 << 20, **asked)


@dataclass
class Filter:
    """A filter in a directory of its own."""

    directory: Path
    process: subprocess.Popen[str] | None = None

    @property
    def socket(self) -> Path:
        return self.directory / "filter.sock"

    @property
    def engine(self) -> Path:
        return self.directory / "engine.sock"

    def start(
        self,
        *teams: Team,
        digest: str = "first",
        python: str = sys.executable,
        isolated: bool = True,
        counts: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Run it, `isolated` from every package that is installed here; returns when it serves.

        `counts` is where it keeps tokens by the day.
        """
        if "MUTANT_UNDER_TEST" in os.environ:
            return WithinThisProcess(self, teams, digest, counts)  # type: ignore[return-value]
        code = self.directory / "code" / "ingot" / "gateway" / "filter"
        if not code.exists():
            code.mkdir(parents=True)
            for path in Path(package.__path__[0]).glob("*.py"):
                shutil.copy(path, code)
        rules = self.directory / f"rules-{digest}.json"
        rules.write_text(personal_data.rules_file(teams, {}, 100, {}))
        command = [
            python,
            *(["-S"] if isolated else []),
            "-m",
            "ingot.gateway.filter",
            str(rules),
            str(self.socket),
            str(self.engine),
            digest,
            *([str(counts)] if counts else []),
        ]
        self.process = subprocess.Popen(
            command,
            env={"PYTHONPATH": str(self.directory / "code"), "PATH": os.environ["PATH"]},
            cwd=self.directory,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout and digest in self.process.stdout.readline()
        return self.process


class WithinThisProcess(threading.Thread):
    """The filter in a thread of the tests' own process, for `make mutants`, which sees mutants there alone."""

    def __init__(self, made: Filter, teams: Sequence[Team], digest: str, counts: Path | None) -> None:
        super().__init__(daemon=True)
        told = settings.settings(json.loads(personal_data.rules_file(teams, {}, 100, {})))
        self._served = server.Server(Exchange(told, str(made.engine), Ledger(counts)), made.socket, digest)
        self._socket = made.socket
        self._loop = asyncio.new_event_loop()
        self._serves = threading.Event()
        self.start()
        assert self._serves.wait(10)

    def run(self) -> None:
        async def serve() -> None:
            await asyncio.start_unix_server(self._served._connected, self._socket)
            self._serves.set()

        self._loop.run_until_complete(serve())
        self._loop.run_forever()

    def kill(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def wait(self) -> None:
        self.join(10)


@dataclass
class Call:
    """One request as the engine got it, and the connection on which it answers."""

    line: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def whole(self, content: Any, status: int = 200) -> None:
        body = json.dumps(content, ensure_ascii=False).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()

    def begin_stream(self) -> None:
        self.writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

    async def event(self, data: Any) -> None:
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        raw = f"data: {text}\n\n".encode()
        self.writer.write(b"%x\r\n%b\r\n" % (len(raw), raw))
        await self.writer.drain()

    async def end_stream(self) -> None:
        await self.event("[DONE]")
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()


def piece(text: str, **more: Any) -> dict[str, Any]:
    """An event with a piece of the answer's text."""
    return {"id": "x", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}


@asynccontextmanager
async def engine(at: Path, answering: Answering) -> AsyncIterator[list[Call]]:
    """A stand-in engine; gives the calls that it got."""
    calls: list[Call] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode()[:-4].split("\r\n")
            headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            calls.append(Call(line, headers, body, reader, writer))
            await answering(calls[-1])
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(connected, at)
    try:
        yield calls
    finally:
        server.close()
        at.unlink()


@dataclass
class Answer:
    """An answer as a caller reads it."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _left: bytes = field(default=b"")

    async def rest(self) -> bytes:
        """What follows the head, until the connection ends; chunks put together."""
        raw = await self.reader.read()
        if self.headers.get("transfer-encoding") != "chunked":
            return raw
        out = b""
        while raw:
            size, _, raw = raw.partition(b"\r\n")
            out, raw = out + raw[: int(size, 16)], raw[int(size, 16) + 2 :]
        return out

    async def json(self) -> Any:
        return json.loads(await self.rest())

    async def events(self) -> list[Any]:
        return [
            json.loads(block[len("data: ") :])
            for block in (await self.rest()).decode().split("\n\n")
            if block.startswith("data: {")
        ]


async def ask(
    at: Path, body: Any, *, of: str = "sales", path: str = "/v1/chat/completions", limit: int = 1 << 16
) -> Answer:
    """A request as nginx sends it."""
    content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    reader, writer = await asyncio.open_unix_connection(at, limit=limit)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        f"X-Request-Id: r1\r\nX-Ingot-Team: {of}\r\nX-Ingot-Key: 01234567\r\n"
        "Accept: */*\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    writer.write(head.encode() + content)
    try:
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode()[:-4].split("\r\n")
    except asyncio.CancelledError:
        writer.transport.abort()
        raise
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
    return Answer(int(line.split()[1]), headers, reader, writer)


async def until(condition: Callable[[], bool], timeout_s: float = 180) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
