"""A streamed answer from the engine's connection to the caller's, within the event loop's own callbacks.

Waking a task for each piece costs nearly as much as redacting it.
"""

from __future__ import annotations

import asyncio
import logging

from ingot.gateway.filter import refusals, wire
from ingot.gateway.filter.refusals import Refused
from ingot.gateway.filter.stream import Stream

#: Unsent bytes at which the engine is left unread: where asyncio's own writers begin to wait.
MOST_UNSENT = 64 * 1024
#: More than a reader ever keeps, which is twice its limit and one read of the loop.
_ALL_KEPT = 1024 * 1024

log = logging.getLogger("filter")


class Relay(asyncio.Protocol):
    """One stream. When it cannot go on its caller is told so by a last event: nothing unredacted is sent."""

    def __init__(
        self,
        engine: asyncio.Transport,
        body: wire.Body,
        stream: Stream,
        writer: asyncio.StreamWriter,
        request_id: str,
    ) -> None:
        self._engine = engine
        self._body = body
        self._stream = stream
        self._writer = writer
        self._request_id = request_id
        self._ended = False
        # Set when the answer has ended, or its caller is behind.
        self._stopped = asyncio.Event()

    async def run(self, answers: asyncio.StreamReader) -> None:
        """Take the engine's connection over from its reader, up to the answer's end. Raises: OSError."""
        try:
            await self._take_over(answers)
            while not self._ended:
                await self._stopped.wait()
                self._stopped.clear()
                # A slow reader slows the engine down, not this process's memory.
                await self._writer.drain()
                if not self._ended:
                    self._engine.resume_reading()
        finally:
            # What still comes of a connection that is cut is nobody's.
            self._ended = True

    async def _take_over(self, answers: asyncio.StreamReader) -> None:
        try:
            data = b"" if self._body.ended else await answers.read(_ALL_KEPT)
        except OSError as error:
            self.connection_lost(error)
            return
        # The reader keeps nothing, and the loop has not run since, so that nothing is lost between the two.
        self._engine.set_protocol(self)
        self.data_received(data)
        if answers.at_eof():
            self.eof_received()
        elif broken := answers.exception():
            self.connection_lost(broken)

    def data_received(self, data: bytes) -> None:
        """Pass on what can be sent of the next bytes."""
        if self._ended:
            return
        out = b""
        try:
            out = self._stream.feed(self._body.feed(data))
            if self._body.ended:
                out += self._stream.end()
        except wire.BadMessage:
            self._end(out, refusals.engine_down())
        except Exception as error:
            # Whatever it was: without certainty about the text there is no answer.
            log.error("withheld the rest of %s: %s", self._request_id, type(error).__name__)
            self._end(out, refusals.withheld())
        else:
            if self._body.ended:
                self._end(out)
            elif out:
                self._writer.write(wire.chunk(out))
                if self._writer.transport.get_write_buffer_size() > MOST_UNSENT:
                    self._engine.pause_reading()
                    self._stopped.set()

    def eof_received(self) -> None:
        """The engine sends no more."""
        self.data_received(b"")

    def connection_lost(self, error: Exception | None) -> None:
        """The connection broke, if its end was not told before."""
        if not self._ended:
            self._end(b"", refusals.engine_down())

    def _end(self, out: bytes, why: Refused | None = None) -> None:
        told = self._stream.error(why, self._request_id) if why else b""
        self._ended = True
        self._writer.write(b"".join(wire.chunk(one) for one in (out, told) if one) + wire.LAST_CHUNK)
        self._stopped.set()
