"""The files of a bundle by their digests: fetched once, whole or not at all, and linked where paths are needed."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from ingot.errors import IngotError

#: Below a bundle's directory: objects by digest, and what is at work.
OBJECTS, WORK = "objects", ".work"
ATTEMPTS = 4
ANSWER_S = 60
#: How often what takes long is told of, seconds.
TELL_S = 10
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a bundle: where it is for who reads it, its digest and size, and where it came from."""

    path: str
    sha256: str
    bytes: int
    origin: str = ""


class Missing(IngotError):
    """A server says that it has no such file."""


@dataclass
class Store:
    """The objects below a bundle's directory. `known` are those that the site has.

    `wait` sleeps, in seconds; `say` is told of what takes long.
    """

    root: Path
    token: str | None = field(default=None, repr=False)
    known: frozenset[str] = frozenset()
    say: Callable[[str], None] = lambda line: None
    wait: Callable[[float], None] = time.sleep

    def object(self, sha256: str) -> Path:
        """Where an object is, or will be."""
        return self.root / OBJECTS / sha256[:2] / sha256

    def take(self, file: Path, path: str, origin: str = "") -> Entry:
        """A file of this machine becomes an object; it stays where it is."""
        with self._part(f"take-{os.getpid()}") as part, file.open("rb") as source, part.open("wb") as target:
            sha256 = _copy(source, target)
            target.flush()
            return self._keep(part, path, sha256, origin or str(file))

    def put(self, content: bytes, path: str, origin: str = "") -> Entry:
        """A content becomes an object."""
        with self._part(f"put-{os.getpid()}") as part:
            part.write_bytes(content)
            return self._keep(part, path, hashlib.sha256(content).hexdigest(), origin)

    def name(self, address: str, path: str, sha256: str | None, bytes_: int) -> Entry:
        """The same as `fetch` for what nothing here reads: what the site has is not fetched again."""
        if sha256 in self.known:
            return Entry(path, str(sha256), bytes_, address)
        return self.fetch(address, path, sha256, bytes_)

    def fetch(self, address: str, path: str, sha256: str | None = None, bytes_: int | None = None) -> Entry:
        """What is at an https, http or file address becomes an object; nothing is fetched that is here already.

        With a digest what was fetched before a cut is kept, and the rest is asked for.

        Raises: Missing where there is none, IngotError where it cannot be had, or is not as it should be.
        """
        if sha256 and self.object(sha256).is_file():
            return Entry(path, sha256, self.object(sha256).stat().st_size, address)
        if address.startswith("file:"):
            file = Path(unquote(address.removeprefix("file://").removeprefix("file:")))
            if not file.is_file():
                raise Missing(f"{file}: no such file")
            entry = self.take(file, path, address)
            if sha256 and entry.sha256 != sha256:
                raise IngotError(f"{file} has SHA-256 {entry.sha256}, expected {sha256}; make it anew.")
            return entry
        name = sha256 or hashlib.sha256(address.encode()).hexdigest()
        with self._part(name, keep=sha256 is not None) as part:
            found = self._download(address, part, resume=sha256 is not None)
            size = part.stat().st_size
            if (sha256 and found != sha256) or (bytes_ is not None and size != bytes_):
                part.unlink()
                raise IngotError(
                    f"{address} has {size} bytes with SHA-256 {found}, expected {bytes_ or 'any'} with "
                    f"{sha256 or 'any'}; it was changed on its way or at its source: try again, or name another source."
                )
            return self._keep(part, path, found, address)

    def _download(self, address: str, part: Path, *, resume: bool) -> str:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(address, part, resume=resume)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code in (404, 410):
                        raise Missing(f"{address}: not there ({error.code})") from None
                    asked = error.headers.get("Retry-After") or ""
                if error.code < 429 or attempt == ATTEMPTS:
                    raise IngotError(
                        f"{address} answered {error.code}; check its address and who may have it."
                    ) from None
                self.wait(min(int(asked), 310) if asked.isdigit() else 5.0 * attempt)
            except (OSError, http.client.HTTPException) as error:
                if attempt == ATTEMPTS:
                    reason = getattr(error, "reason", error)
                    raise IngotError(
                        f"{address} cannot be fetched ({reason}); check the network of this machine, or https_proxy."
                    ) from None
                self.wait(1.0 * attempt)
        raise AssertionError("every attempt returns or raises")

    def _attempt(self, address: str, part: Path, *, resume: bool) -> str:
        digest = hashlib.sha256()
        have = 0
        if resume and part.exists():
            with part.open("rb") as before:
                while piece := before.read(_PIECE):
                    digest.update(piece)
                    have += len(piece)
        request = urllib.request.Request(address, headers={"User-Agent": "ingot"})
        if have:
            request.add_header("Range", f"bytes={have}-")
        if self.token:
            # Not among those that a redirect carries on.
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            if have and answer.status != 206:
                digest, have = hashlib.sha256(), 0
            expected = answer.headers.get("Content-Length")
            got, began, told = 0, time.monotonic(), time.monotonic()
            with part.open("ab" if have else "wb") as target:
                while piece := answer.read(_PIECE):
                    digest.update(piece)
                    target.write(piece)
                    got += len(piece)
                    now = time.monotonic()
                    if now - told >= TELL_S:
                        told = now
                        of = f" of {(have + int(expected)) / 1e9:.2f}" if expected else ""
                        rate = got / 1e6 / (now - began)
                        self.say(f"{address}: {(have + got) / 1e9:.2f}{of} GB, {rate:.0f} MB/s")
        if expected and got < int(expected):
            raise OSError(f"cut off after {got} of {expected} bytes")
        return digest.hexdigest()

    def _keep(self, part: Path, path: str, sha256: str, origin: str) -> Entry:
        target = self.object(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        size = part.stat().st_size
        part.chmod(0o644)
        part.replace(target)
        return Entry(path, sha256, size, origin)

    @contextmanager
    def _part(self, name: str, *, keep: bool = False) -> Iterator[Path]:
        part = self.root / WORK / f"{name}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
        finally:
            if not keep:
                part.unlink(missing_ok=True)

    def tree(self, entries: Iterable[Entry], where: Path) -> Path:
        """The entries under their paths, as hard links."""
        for entry in entries:
            place = where / entry.path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.hardlink_to(self.object(entry.sha256))
        return where

    def done(self) -> None:
        """Delete what was only at work."""
        shutil.rmtree(self.root / WORK, ignore_errors=True)


def sha256_of(file: Path) -> str:
    """The digest of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := source.read(_PIECE):
        digest.update(piece)
        target.write(piece)
    return digest.hexdigest()
