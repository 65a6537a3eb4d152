"""Connects as far as the host key, through jump hosts; nothing is sent before the key is trusted."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paramiko import SSHException, Transport

from ingot.errors import IngotError
from ingot.inventory.ssh_error import in_words
from ingot.onboarding.known_hosts import HostKey
from ingot.onboarding.route import Hop

CONNECT_TIMEOUT_S = 15

#: Key types by what signs for them, preferred first: an ssh-rsa key signs with SHA-2.
_ALGORITHMS = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}

# Each error is reported once, as a sentence. paramiko's threads would print tracebacks too.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

#: Decides about a key that is shown, and raises where it is not to be trusted.
Trust = Callable[[Hop, HostKey], None]


class Unreachable(IngotError):
    """Nothing answers SSH at an address."""


@dataclass(frozen=True, slots=True)
class Line:
    """An open transport whose key is trusted, before any login, and the transports it runs through."""

    transport: Transport
    under: tuple[Transport, ...] = ()


def dial(name: str, hop: Hop, under: Sequence[Transport], kinds: Sequence[str], trust: Trust) -> Line:
    """Connect to a hop, directly or through the last of `under`, and have its key trusted.

    `kinds`: key types to ask for first, as pinned. What `trust` raises closes the connection.

    Raises: Unreachable when nothing answers SSH there.
    """
    transport = None
    try:
        transport = Transport(_socket(hop, under))
        _prefer(transport, kinds)
        transport.start_client(timeout=CONNECT_TIMEOUT_S)
        shown = transport.get_remote_server_key()
        trust(hop, HostKey(shown.get_name(), shown.get_base64()))
    except (SSHException, OSError, EOFError) as error:
        _close(transport)
        raise Unreachable(_unreachable(name, hop, under, error)) from None
    except BaseException:
        _close(transport)
        raise
    return Line(transport, tuple(under))


def shown_keys(hop: Hop, under: Sequence[Transport]) -> tuple[HostKey, ...]:
    """The key of every type that a server has, one connection each."""
    found: list[HostKey] = []
    for algorithms in _ALGORITHMS.values():
        transport = None
        try:
            transport = Transport(_socket(hop, under))
            transport.get_security_options().key_types = algorithms
            transport.start_client(timeout=CONNECT_TIMEOUT_S)
            key = transport.get_remote_server_key()
            found.append(HostKey(key.get_name(), key.get_base64()))
        except (SSHException, OSError, EOFError):
            # The server has no key of this type.
            continue
        finally:
            _close(transport)
    return tuple(found)


def _socket(hop: Hop, under: Sequence[Transport]) -> socket.socket:
    if under:
        # A channel is as good as a socket to paramiko.
        return under[-1].open_channel(  # type: ignore[return-value]
            "direct-tcpip", (hop.address, hop.port), ("127.0.0.1", 0), timeout=CONNECT_TIMEOUT_S
        )
    connection = socket.create_connection((hop.address, hop.port), timeout=CONNECT_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _prefer(transport: Transport, kinds: Sequence[str]) -> None:
    """Ask for the pinned types first: a server shows one key of those that it has."""
    order = (*kinds, *(kind for kind in _ALGORITHMS if kind not in kinds))
    transport.get_security_options().key_types = [
        algorithm for kind in order for algorithm in _ALGORITHMS.get(kind, ())
    ]


def _close(transport: Transport | None) -> None:
    if transport is not None:
        with contextlib.suppress(OSError, EOFError):
            transport.close()


def _unreachable(name: str, hop: Hop, under: Sequence[Transport], error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return f"{name}: the address {hop.address} does not resolve ({error.strerror}); correct it."
    via = " through the jump host" if under else ""
    return (
        f"{name}: no SSH at {hop.label}{via} ({in_words(error)}); check that the server is up and reachable, its "
        "address and port, and that no firewall is in between."
    )
