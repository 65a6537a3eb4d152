"""A local TCP proxy that makes a good link bad: it delays, throttles, swallows or resets.

    with Proxy(host.address, 22, delay_s=0.025) as proxy:
        connect_to("127.0.0.1", proxy.port)
        proxy.black_hole()

It runs in a thread of its own, so that ordinary code can use it; kernels without netem are common.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from ingot.sandbox.commands import LIMIT_S
from ingot.sandbox.errors import SandboxError

CHUNK_BYTES = 64 * 1024
#: Chunks on their way in one direction; a sender must wait when the link holds more.
CHUNKS_IN_FLIGHT = 64
T = TypeVar("T")


class Proxy:
    """Passes TCP connections from 127.0.0.1:`port` on to `address`:`target_port`, over a link as bad as told.

    Args:
        address: where connections go.
        target_port: its port.
        delay_s: seconds added in each direction; a round trip takes twice that longer.
        bytes_per_s: most bytes that pass per second, per connection and direction; None: no limit.
    """

    def __init__(
        self, address: str, target_port: int, *, delay_s: float = 0.0, bytes_per_s: float | None = None
    ) -> None:
        self.address = address
        self.target_port = target_port
        self.delay_s = delay_s
        self.bytes_per_s = bytes_per_s
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="ingot-proxy", daemon=True)
        self._started = threading.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> "Proxy":
        self._thread.start()
        if not self._started.wait(LIMIT_S):
            raise SandboxError(f"the proxy to {self.address}:{self.target_port} did not start within {LIMIT_S} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def black_hole(self) -> None:
        """Swallow everything from now on: connections stay open, nothing arrives any more."""
        self._call(self._open.clear)

    def restore(self) -> None:
        """End the black hole; what was sent meanwhile arrives now, as TCP would send it again."""
        self._call(self._open.set)

    def reset(self) -> None:
        """End every connection with RST on both sides; new ones are passed on."""
        self._call(self._reset)

    @property
    def connections(self) -> int:
        """Connections that are being passed on now."""
        return self._call(lambda: len(self._connections))

    def _call(self, function: Callable[[], T]) -> T:
        async def called() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(LIMIT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        self._reset()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        ends = [writer]
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(self.address, self.target_port)
            ends.append(far_writer)
            self._writers.add(far_writer)
            for end in ends:
                end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.TaskGroup() as both:
                for source, target in ((reader, far_writer), (far_reader, writer)):
                    link: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_IN_FLIGHT)
                    both.create_task(self._receive(source, link))
                    both.create_task(self._send(link, target))
            for end in ends:
                end.close()
        except* OSError:
            # Nobody there, or one side went away: the other one sees it as a reset.
            for end in ends:
                self._abort(end)
        finally:
            self._writers.difference_update(ends)
            self._connections.discard(task)

    async def _receive(self, reader: asyncio.StreamReader, link: asyncio.Queue[tuple[float, bytes]]) -> None:
        """Put what comes onto the link, with the time at which it is due at the other end; b"" at the end."""
        free_at = 0.0
        while True:
            data = await reader.read(CHUNK_BYTES)
            now = self._loop.time()
            if self.bytes_per_s:
                free_at = max(free_at, now) + len(data) / self.bytes_per_s
            await link.put((max(free_at, now) + self.delay_s, data))
            if not data:
                return

    async def _send(self, link: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await link.get()
            await asyncio.sleep(due - self._loop.time())
            await self._open.wait()
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    def _reset(self) -> None:
        for writer in list(self._writers):
            self._abort(writer)
        for task in list(self._connections):
            task.cancel()

    @staticmethod
    def _abort(writer: asyncio.StreamWriter) -> None:
        # Lingering for no time makes the kernel send RST instead of FIN.
        with contextlib.suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
