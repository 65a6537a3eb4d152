"""Repositories at one commit, from wherever a source of models points: a hub, a mirror, a directory of this machine."""

from __future__ import annotations

import hashlib
import re
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ingot.catalog.lock import Locked, LockedFile
from ingot.errors import IngotError
from ingot.hub.client import ANSWER_S, Hub
from ingot.operations.weights.manifest import MANIFEST, ModelFile, Origin, chosen, local_manifest, parse_manifest


class Place(Protocol):
    """Somewhere that has repositories."""

    def locked(self, repository: str, revision: str | None) -> Locked:
        """The files that an engine needs of a revision; of the newest where none is given. Raises: IngotError."""
        ...

    def text(self, locked: Locked, path: str) -> str:
        """A small file of a commit. Raises: IngotError."""
        ...

    def part(self, locked: Locked, path: str, start: int, length: int) -> bytes:
        """`length` bytes of a file from `start` on, fewer at its end. Raises: IngotError."""
        ...


@dataclass(frozen=True)
class OnHub:
    """A hub's repositories; the newest commit of a repository is its main branch's."""

    hub: Hub

    def locked(self, repository: str, revision: str | None) -> Locked:
        found = self.hub.commit(repository, revision or "main")
        listed = (ModelFile(one.path, one.bytes, one.sha256, one.git_sha1) for one in found.files)
        return _locked(repository, found.sha, chosen(listed, repository, gguf=True))

    def text(self, locked: Locked, path: str) -> str:
        return self.hub.text(locked.repository, locked.commit, path)

    def part(self, locked: Locked, path: str, start: int, length: int) -> bytes:
        return self.hub.part(locked.repository, locked.commit, path, start, length)


@dataclass(frozen=True)
class OnMirror:
    """A mirror's directories `<uri>/<repository>/<revision>/`, each with a manifest: it has what was put there."""

    uri: str

    def locked(self, repository: str, revision: str | None) -> Locked:
        base = self.uri.rstrip("/")
        if not revision:
            raise IngotError(
                f"{base} is a mirror, which does not say what the newest commit of {repository} is; give the revision "
                "that lies there in site_models"
            )
        place = Origin("mirror", f"{base}/{repository}/{revision}")
        text = _fetched(f"{place.base}/{MANIFEST}")
        return _locked(repository, revision, chosen(parse_manifest(text, place, revision), repository, gguf=True))

    def text(self, locked: Locked, path: str) -> str:
        return _fetched(f"{self.uri.rstrip('/')}/{locked.repository}/{locked.commit}/{path}")

    def part(self, locked: Locked, path: str, start: int, length: int) -> bytes:
        return _part(f"{self.uri.rstrip('/')}/{locked.repository}/{locked.commit}/{path}", start, length)


@dataclass(frozen=True)
class InDirectory:
    """Directories of this machine: a repository is a path, alone or below `root`/<repository>/<revision>.

    A path alone has no commits: its files' digests name its content, and other files are another commit.
    """

    root: Path = field(default_factory=Path)

    def locked(self, repository: str, revision: str | None) -> Locked:
        files = chosen(local_manifest(self._directory(repository, revision)), repository, gguf=True)
        content = _content(files) if repository.startswith("/") else revision or "local"
        return _locked(repository, content, files)

    def text(self, locked: Locked, path: str) -> str:
        revision = None if locked.commit == "local" else locked.commit
        try:
            return (self._directory(locked.repository, revision) / path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise IngotError(f"{path} of {locked.repository} cannot be read ({error})") from None

    def part(self, locked: Locked, path: str, start: int, length: int) -> bytes:
        revision = None if locked.commit == "local" else locked.commit
        try:
            with (self._directory(locked.repository, revision) / path).open("rb") as file:
                file.seek(start)
                return file.read(length)
        except OSError as error:
            raise IngotError(f"{path} of {locked.repository} cannot be read ({error})") from None

    def _directory(self, repository: str, revision: str | None) -> Path:
        if repository.startswith("/"):
            return Path(repository)
        return self.root / repository / revision if revision else self.root / repository


def _content(files: tuple[ModelFile, ...]) -> str:
    """A name of 40 hex digits, as a commit has, for these files."""
    listed = "\n".join(sorted(f"{one.path} {one.sha256 or one.git_sha1}" for one in files))
    return hashlib.sha256(listed.encode()).hexdigest()[:40]


def _locked(repository: str, commit: str, files: tuple[ModelFile, ...]) -> Locked:
    kept = (LockedFile(one.path, one.bytes, one.sha256, None if one.sha256 else one.git_sha1) for one in files)
    return Locked(repository, commit, tuple(sorted(kept, key=lambda one: one.path)))


def _part(address: str, start: int, length: int) -> bytes:
    wanted = {} if address.startswith("file:") else {"Range": f"bytes={start}-{start + length - 1}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=wanted), timeout=ANSWER_S) as answer:
            if answer.status != 206:
                # A file, or a mirror that knows no ranges: what comes before is passed over.
                answer.read(start)
            body: bytes = answer.read(length)
            return body
    except (OSError, ValueError) as error:
        raise IngotError(f"{re.sub('//.*@', '//', address)} cannot be read: {error}") from None


def _fetched(address: str) -> str:
    try:
        with urllib.request.urlopen(address, timeout=ANSWER_S) as answer:
            body: bytes = answer.read()
            return body.decode()
    except (OSError, ValueError) as error:
        near = " (a path of this machine here, of the host in a deploy)" if address.startswith("file:") else ""
        raise IngotError(f"{re.sub('//.*@', '//', address)} cannot be read{near}: {error}") from None
