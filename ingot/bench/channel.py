"""A command on a host while it runs: lines go in and come out over the run's own SSH connection."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from paramiko import Channel, SSHException
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.connectors.util import make_unix_command_for_host

from ingot.errors import IngotError

#: Seconds between two looks at a command that says nothing.
LOOK_S = 0.5
PIECE = 1 << 16


class ChannelStream:
    """A command as root on a connected host. Its errors come as lines of their own, never within another one."""

    def __init__(self, host: Host, command: str) -> None:
        """Raises: IngotError where it cannot be started."""
        self._name = host.name
        client: Any = getattr(host.connector, "client", None)
        transport = client.get_transport() if client else None
        words = make_unix_command_for_host(
            host.state, host, StringCommand(command), _sudo=bool(host.data.get("_sudo")), _shell_executable="sh"
        )
        try:
            if transport is None:
                raise EOFError("no connection")
            self._channel: Channel = transport.open_session()
            self._channel.exec_command(words.get_raw_value())
        except (OSError, EOFError, SSHException) as broken:
            raise self._lost(broken) from None
        self._channel.settimeout(LOOK_S)
        self._parts = {"out": b"", "err": b""}

    def send(self, line: str) -> None:
        """Give it a line. Raises: IngotError where the connection is gone."""
        try:
            self._channel.settimeout(None)
            self._channel.sendall(line.encode() + b"\n")
            self._channel.settimeout(LOOK_S)
        except (OSError, EOFError, SSHException) as broken:
            raise self._lost(broken) from None

    def lines(self, timeout_s: float) -> Iterator[str]:
        """What it says, until it ends. Raises: IngotError after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        ended = False
        while True:
            for part in self._parts:
                while b"\n" in self._parts[part]:
                    line, _, self._parts[part] = self._parts[part].partition(b"\n")
                    yield line.decode(errors="replace")
            if ended:
                return
            try:
                piece = self._channel.recv(PIECE)
                ended = not piece
                self._parts["out"] += piece
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise IngotError(
                        f"{self._name}: the benchmark's container said nothing of its end within {timeout_s:g} s, and "
                        "was ended; run it again."
                    ) from None
            while self._channel.recv_stderr_ready() and (piece := self._channel.recv_stderr(PIECE)):
                self._parts["err"] += piece

    def close(self) -> None:
        """End its input, which ends it."""
        self._channel.close()

    def _lost(self, broken: Exception) -> IngotError:
        return IngotError(
            f"{self._name}: the connection to the benchmark's container broke ({broken!r}); run it again."
        )
