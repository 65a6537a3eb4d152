"""A known_hosts file as OpenSSH reads it: finds the pinned keys of a name, and adds a line without changing others."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingot.secrets import files

_HASHED = "|1|"


@dataclass(frozen=True, slots=True)
class HostKey:
    """A server's public key: its type (`ssh-ed25519`) and its base64 text."""

    kind: str
    text: str

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it: `SHA256:…`."""
        digest = hashlib.sha256(base64.b64decode(self.text)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Pin:
    """One line that pins a key: where it stands, counted from 1, and the key."""

    line: int
    key: HostKey


def entry_name(address: str, port: int) -> str:
    """How known_hosts names a server: the port only where it is not 22."""
    return address if port == 22 else f"[{address}]:{port}"


def pins(text: str, name: str) -> tuple[Pin, ...]:
    """Every key that a known_hosts text pins for a name; markers (`@revoked`, `@cert-authority`) pin none."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split()
        if len(cells) < 3 or cells[0].startswith(("#", "@")) or not _is_base64(cells[2]):
            continue
        if any(_matches(pattern, name) for pattern in cells[0].split(",")):
            found.append(Pin(number, HostKey(cells[1], cells[2])))
    return tuple(found)


def read(path: Path) -> str:
    """The text of a known_hosts file, empty when there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def with_pin(text: str, name: str, key: HostKey) -> str:
    """The text with a key pinned: unchanged when it is, else one line more, hashed where the others are."""
    if any(pin.key == key for pin in pins(text, name)):
        return text
    is_hashed = any(line.startswith(_HASHED) for line in text.splitlines())
    line = f"{_hashed(name, os.urandom(20)) if is_hashed else name} {key.kind} {key.text}\n"
    return text + ("" if not text or text.endswith("\n") else "\n") + line


def pin(path: Path, name: str, key: HostKey) -> bool:
    """Pin a key in a file, which is replaced in one step; whether that changed it."""
    with locked(path.parent):
        old = read(path)
        new = with_pin(old, name, key)
        if new != old:
            files.replace(path, new, 0o644)
        return new != old


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One writer at a time in a directory, over all processes; made if it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # Under gevent a descriptor is closed some time later; until then it would hold the lock.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _matches(pattern: str, name: str) -> bool:
    if not pattern.startswith(_HASHED):
        return pattern == name
    try:
        salt = base64.b64decode(pattern.split("|")[2])
    except (ValueError, IndexError):
        return False
    return hmac.compare_digest(pattern, _hashed(name, salt))


def _hashed(name: str, salt: bytes) -> str:
    """OpenSSH's HashKnownHosts: HMAC-SHA1 of the name, keyed by a salt of 20 bytes."""
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"{_HASHED}{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except ValueError:
        return False
