"""The `@ingot` pyinfra connector: SSH with settings for a fleet; each connection error is one sentence.

Registered as a pyinfra connector in pyproject.toml; `inventories/*.py` name their hosts `@ingot/<host>`.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Any

from paramiko import SSHException
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.connectors.ssh import SSHConnector

from ingot.inventory.host_files import ERROR_KEY
from ingot.settings import WrongValues, check_given

#: Seconds between SSH keepalives; seconds after which unanswered data ends a connection (the link loses packets).
KEEPALIVE_S = 15
DEAD_LINK_S = 60

# The connector reports each error once. paramiko's threads would print tracebacks too.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class IngotConnector(SSHConnector):
    """SSH without Nagle's delay and with keepalive. A host whose file or values are wrong is refused, and no other."""

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        yield name, {}, []

    def connect(self) -> None:
        """Connect and prove sudo.

        Raises: ConnectError, with one sentence: what was found, what was expected, what to do.
        """
        error = self.host.data.get(ERROR_KEY)
        if error:
            raise ConnectError(error)
        try:
            check_given(self.host)
        except WrongValues as wrong:
            raise ConnectError(str(wrong)) from None
        try:
            super().connect()
        # A private key that is missing or unreadable is no ConnectError to pyinfra, and would end the run of all hosts.
        except PyinfraError as refused:
            raise ConnectError(self._explain(str(refused.args[0]))) from None
        self._tune()
        self._prove_sudo()

    def _tune(self) -> None:
        """Set keepalive, and TCP_NODELAY: without it each command waits about 45 ms for a delayed acknowledgement."""
        assert self.client is not None
        transport = self.client.get_transport()
        assert transport is not None
        transport.set_keepalive(KEEPALIVE_S)
        # Behind a jump host the transport runs over a channel, which has no socket options.
        if isinstance(transport.sock, socket.socket):
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_LINK_S * 1000)

    def _prove_sudo(self) -> None:
        config = self.state.config
        if not self.host.data.get("_sudo") or config.SUDO_PASSWORD or getattr(config, "USE_SUDO_PASSWORD", None):
            return
        assert self.client is not None
        # Not through pyinfra's own runner: that would ask for a password, once per host, in the middle of a run.
        try:
            _, stdout, stderr = self.client.exec_command("sudo -n true", timeout=DEAD_LINK_S)
            said = stderr.read().decode(errors="replace").strip()
            status = stdout.channel.recv_exit_status()
        except (SSHException, OSError, EOFError) as broken:
            raise ConnectError(self._explain(f"the connection broke after the login: {broken!r}")) from None
        if status:
            raise ConnectError(
                f"{self.host.name}: user {self.data['ssh_user']} logs in, but sudo says {said!r} where no password "
                "was expected; add a sudoers rule for that user, or run pyinfra with --same-sudo-password."
            )

    def _explain(self, message: str) -> str:
        host, hostname, port = self.host.name, self.data["ssh_hostname"], self.data["ssh_port"] or 22
        pinned, found = self.data["ssh_known_hosts_file"], message.lower()
        if "does not match" in found:
            return (
                f"{host}: the host key of {hostname} port {port} is not the one pinned in {pinned}; if the host "
                "was reinstalled, compare its fingerprint on its console and replace the line, otherwise stop: "
                "someone may be in between."
            )
        if "found in known_hosts" in found:
            return (
                f"{host}: no host key is pinned for {hostname} port {port} in {pinned}; add the line that "
                f"`ssh-keyscan -p {port} {hostname}` prints, after comparing its fingerprint on the console."
            )
        if "private key" in found or "invalid key" in found:
            return f"{host}: its SSH key cannot be used ({message}); correct `ssh_key` in its host file."
        if "authentication" in found:
            keys = f"key {self.data['ssh_key']}" if self.data["ssh_key"] else "the agent's and ~/.ssh keys"
            return (
                f"{host}: {hostname} port {port} answers but refuses user {self.data['ssh_user']} with {keys}; "
                "check `user` and `ssh_key` in its host file and the host's authorized_keys."
            )
        if "resolve" in found:
            return f"{host}: the address {hostname} does not resolve; correct `address` in its host file."
        return (
            f"{host}: no SSH at {hostname} port {port} ({message}); check that the host is up and reachable "
            "from here, and `address` and `port` in its host file."
        )
