"""The process: listens on a unix socket, one request per connection, and lets what runs end when it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingot.gateway.filter import refusals, wire
from ingot.gateway.filter.answers import compact
from ingot.gateway.filter.exchange import Exchange
from ingot.gateway.filter.refusals import Refused

#: Answered by the filter itself: that it runs, which files it runs with, and its counts.
HEALTH = "/-/health"
#: Bytes of requests that are held for one team, and for all of them; what would be more is told to come again.
HELD_PER_TEAM = 256 * 1024 * 1024
HELD = 4 * HELD_PER_TEAM

#: How often counts of tokens that changed are written down, seconds: what a killed process loses at most.
KEEP_EVERY_S = 1.0

log = logging.getLogger("filter")


class Server:
    """Serves `exchange` at `socket`; `digest` names the files that it runs with."""

    def __init__(self, exchange: Exchange, socket: Path, digest: str) -> None:
        self._exchange = exchange
        self._socket = socket
        self._digest = digest
        self._running: set[asyncio.Task[None]] = set()
        self._held: Counter[str] = Counter()

    async def run(self) -> None:
        """Take the socket's name over, and serve until SIGTERM; then end when the last answer has ended."""
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        # Under a name of its own first: renamed over the old one's, no request meets a missing socket, and a
        # predecessor keeps the answers that it has begun.
        new = self._socket.with_name(f".{self._digest}.sock")
        # nginx takes a full queue for a filter that is down.
        server = await asyncio.start_unix_server(self._connected, new, limit=wire.LARGEST_HEAD, backlog=4096)
        new.chmod(0o666)  # who may reach it is decided by its directory
        new.replace(self._socket)
        log.info("serving with %s", self._digest)
        keeping = asyncio.create_task(self._keep_counts())
        await stopped.wait()
        log.info("stopping, %d answers go on", len(self._running))
        server.close()
        if self._running:
            await asyncio.wait(self._running)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        self._exchange.ledger.save()

    async def _keep_counts(self) -> None:
        """Write the counts of tokens down while they change, so that whoever takes over goes on from there."""
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            if self._exchange.ledger.is_dirty:
                try:
                    await asyncio.to_thread(self._exchange.ledger.save)
                except OSError as error:
                    log.error("the counts of tokens cannot be kept: %s", error.strerror)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task  # a callback of the server runs as one
        self._running.add(task)
        try:
            head = await wire.read_head(reader)
            await self._received(head, reader, writer)
            writer.close()
            await writer.wait_closed()
        except (OSError, wire.BadMessage, asyncio.IncompleteReadError):
            writer.transport.abort()  # the caller is gone
        finally:
            self._running.discard(task)

    async def _received(self, head: wire.Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read the body and answer, or answer without it where too many are held already."""
        team, length = head.headers.get("x-ingot-team", ""), head.length or 0
        held, of_all = self._held[team], self._held.total()
        if length and ((held and held + length > HELD_PER_TEAM) or (of_all and of_all + length > HELD)):
            await wire.discard(reader, length)
            busy = refusals.filter_busy()
            _send(writer, busy.status, busy.error(head.headers.get("x-request-id", ""), head.path), busy.headers)
            await writer.drain()
            return
        self._held[team] += length
        try:
            await self._serve(head, await reader.readexactly(length), reader, writer)
        finally:
            self._held[team] -= length

    async def _serve(
        self, head: wire.Head, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        answering = asyncio.ensure_future(self._answer(head, body, writer))
        # nginx sends nothing after a request: the end of its side says that its caller hung up.
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise ConnectionResetError
            await answering
        finally:
            answering.cancel()
            gone.cancel()
            await asyncio.gather(answering, gone, return_exceptions=True)

    async def _answer(self, head: wire.Head, body: bytes, writer: asyncio.StreamWriter) -> None:
        request_id = head.headers.get("x-request-id", "")
        try:
            if head.line[1] == HEALTH:
                _send(writer, 200, self._health())
            else:
                await self._exchange.answer(head, body, writer)
        except Refused as refused:
            _send(writer, refused.status, refused.error(request_id, head.path), refused.headers)
        except (OSError, wire.BadMessage):
            raise
        except Exception as error:
            # Before any of the answer was sent, and without the error's text: that could be a prompt's.
            log.error("withheld %s: %s", request_id, type(error).__name__)
            sorry = refusals.withheld()
            _send(writer, sorry.status, sorry.error(request_id, head.path))
        await writer.drain()

    def _health(self) -> dict[str, Any]:
        now = time.monotonic()
        policies, allowances = self._exchange.settings.teams, self._exchange.allowances
        return {
            "digest": self._digest,
            "running": len(self._running),
            "redactions": {team: dict(policy.redact.hits) for team, policy in policies.items() if policy.redact},
            "tokens": {team: one.minute.used(now) for team, one in allowances.items() if one.minute},
            "periods": {
                team: {share.period: {"used": share.used, "limit": share.limit} for share in one.shares()}
                for team, one in allowances.items()
            },
        }


def _send(writer: asyncio.StreamWriter, status: int, body: Any, headers: Sequence[tuple[str, str]] = ()) -> None:
    content = compact(body).encode()
    told = [*headers, ("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    writer.write(wire.head(wire.answer_line(status), [*told, ("Connection", "close")]) + content)
