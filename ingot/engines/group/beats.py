"""What hosts of a group tell each other, once a second: signed with the group's key, and no older than it says.

Each process has a session of its own, and repeats the session that it heard of the other: a message that was recorded
and sent again answers no session that lives.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ingot.engines.group.decision import Heard

EVERY_S = 1.0
#: Longer than any message.
MOST_BYTES = 2048
#: What a host does may hang; then it is silent as well after so long, seconds.
STALLED_S = 150.0


def sealed(key: bytes, message: Mapping[str, Any]) -> bytes:
    """A message with its signature."""
    body = json.dumps(message, sort_keys=True).encode()
    return hmac.new(key, body, hashlib.sha256).hexdigest().encode() + b" " + body


def opened(key: bytes, packet: bytes) -> Optional[dict[str, Any]]:  # noqa: UP045 (python 3.9)
    """The message of a packet; None where it is not signed with the key."""
    signature, _, body = packet.partition(b" ")
    if not hmac.compare_digest(hmac.new(key, body, hashlib.sha256).hexdigest().encode(), signature):
        return None
    message = json.loads(body)
    return message if isinstance(message, dict) else None


@dataclass
class Peer:
    """Another host: its session, the number of its last message, sessions that it had before, and what it said."""

    session: str = ""
    number: int = -1
    ended: set[str] = field(default_factory=set)
    heard: Optional[Heard] = None  # noqa: UP045


def take(peer: Peer, message: Mapping[str, Any], own_session: str, now: float) -> bool:
    """Take what a host said, unless it is old; whether it counts. Raises: KeyError, TypeError, ValueError."""
    session, number = str(message["session"]), int(message["number"])
    if session in peer.ended or (session == peer.session and number <= peer.number):
        return False
    if session != peer.session:
        # Until it repeats this host's session it may be a recording: it is answered, and not believed.
        if message["repeats"] == own_session and peer.session:
            peer.ended.add(peer.session)
        peer.session, peer.number = session, -1
    if message["repeats"] != own_session:
        return False
    peer.number = number
    told = (int(message["epoch"]), str(message["phase"]), str(message["digest"]))
    peer.heard = Heard(*told, now, message["answered"] is True, int(message["failures"]))
    return True


class Beats:
    """A socket on the hosts' interface, and the threads that tell and listen."""

    def __init__(self, me: str, hosts: Mapping[str, str], port: int, key: bytes, digest: str) -> None:
        self.me, self.port, self.key, self.digest = me, port, key, digest
        self.addresses = {name: address for name, address in hosts.items() if name != me}
        self.session = secrets.token_hex(16)
        self.peers = {name: Peer() for name in self.addresses}
        self.now: tuple[int, str, bool, int] = (0, "ended", False, 0)
        self.acted_at = time.monotonic()
        self._number = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((hosts[me], port))

    def start(self) -> None:
        """Begin to tell and to listen."""
        for target in (self._tell, self._listen):
            threading.Thread(target=_always, args=(target,), daemon=True).start()

    def say(self, epoch: int, phase: str, *, answered: bool = False, failures: int = 0) -> None:
        """From now on tell this; it is told at once as well."""
        self.acted_at = time.monotonic()
        if (epoch, phase, answered, failures) != self.now:
            self.now = (epoch, phase, answered, failures)
            self._send()

    def heard(self) -> dict[str, Optional[Heard]]:  # noqa: UP045
        """What every other host said last."""
        return {name: peer.heard for name, peer in self.peers.items()}

    def _tell(self) -> None:
        if time.monotonic() - self.acted_at < STALLED_S:
            self._send()
        time.sleep(EVERY_S)

    def _send(self) -> None:
        epoch, phase, answered, failures = self.now
        for name, address in self.addresses.items():
            self._number += 1
            message = {
                "from": self.me, "to": name, "session": self.session, "repeats": self.peers[name].session,
                "number": self._number, "epoch": epoch, "phase": phase, "digest": self.digest,
                "answered": answered, "failures": failures,
            }  # fmt: skip
            try:
                self._socket.sendto(sealed(self.key, message), (address, self.port))
            except OSError:
                # No route, or a full buffer: the other host finds this one silent.
                continue

    def _listen(self) -> None:
        packet, (address, _) = self._socket.recvfrom(MOST_BYTES)
        try:
            message = opened(self.key, packet)
            if message and message["to"] == self.me and self.addresses.get(message["from"]) == address:
                take(self.peers[message["from"]], message, self.session, time.monotonic())
        except (ValueError, KeyError, TypeError):
            return


def _always(step: Callable[[], None]) -> None:
    while True:
        try:
            step()
        except OSError:
            time.sleep(EVERY_S)
