"""A model hub over HTTP as Hugging Face speaks it: commits, files with their digests, and small files' contents."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from ingot.errors import IngotError

#: How long one answer may take, how often a full quota is waited for, and the longest wait; seconds.
ANSWER_S = 30
ATTEMPTS = 4
LONGEST_WAIT_S = 310
#: What a small file may have: config.json, an adapter's config.
SMALL_BYTES = 4 * 1024**2

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a commit: SHA-256 where it is kept apart from git (LFS), and the id that git gives it."""

    path: str
    bytes: int
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True, slots=True)
class Commit:
    """A repository at one commit. `gated` says that its makers' consent is needed."""

    repository: str
    sha: str
    files: tuple[HubFile, ...]
    gated: bool = False


@dataclass(frozen=True)
class Hub:
    """A hub at `uri`; `token` goes to that host alone. `wait` sleeps, in seconds."""

    uri: str
    token: str | None = field(default=None, repr=False)
    wait: Callable[[float], None] = time.sleep

    def commit(self, repository: str, revision: str = "main") -> Commit:
        """What a revision (a branch or a commit) is now.

        Raises: IngotError, one sentence (unknown, gated, unreachable, not a hub).
        """
        path = f"/api/models/{quote(repository)}/revision/{quote(revision, safe='')}?blobs=true"
        answer = self._get(path, repository)
        try:
            stored = json.loads(answer)
            files = tuple(
                HubFile(
                    str(one["rfilename"]),
                    int(one["size"]),
                    one["lfs"]["sha256"] if one.get("lfs") else None,
                    one.get("blobId"),
                )
                for one in stored["siblings"]
            )
            sha = str(stored["sha"])
        except (ValueError, KeyError, TypeError) as error:
            raise IngotError(f"{self.uri} answered for {repository} with no list of files ({error!r})") from None
        if not _COMMIT.fullmatch(sha) or (_COMMIT.fullmatch(revision) and sha != revision):
            raise IngotError(f"{self.uri} answered for {repository} at {revision} with commit {sha!r}")
        return Commit(repository, sha, files, bool(stored.get("gated")))

    def text(self, repository: str, commit: str, path: str) -> str:
        """A small file of a commit. Raises: IngotError."""
        return self._get(f"/{quote(repository)}/resolve/{commit}/{quote(path)}", repository)

    def part(self, repository: str, commit: str, path: str, start: int, length: int) -> bytes:
        """`length` bytes of a file from `start` on, fewer at its end. Raises: IngotError."""
        wanted = f"bytes={start}-{start + length - 1}"
        body = self._read(f"/{quote(repository)}/resolve/{commit}/{quote(path)}", repository, length, wanted)
        return body[:length]

    def _get(self, path: str, repository: str) -> str:
        body = self._read(path, repository, SMALL_BYTES + 1)
        if len(body) > SMALL_BYTES:
            raise IngotError(f"{self.uri.rstrip('/')}{path} has more than {SMALL_BYTES} bytes, expected a small file")
        try:
            return body.decode()
        except ValueError as error:
            raise IngotError(f"{self.uri.rstrip('/')}{path} is no text ({error})") from None

    def _read(self, path: str, repository: str, most: int, wanted: str | None = None) -> bytes:
        address = self.uri.rstrip("/") + path
        for attempt in range(1, ATTEMPTS + 1):
            request = self._request(address)
            if wanted:
                request.add_header("Range", wanted)
            try:
                with _OPENER.open(request, timeout=ANSWER_S) as answer:
                    if wanted and answer.status != 206:
                        raise IngotError(f"{self.uri} gives no part of a file (it answered {answer.status} for {path})")
                    body: bytes = answer.read(most)
                    return body
            except urllib.error.HTTPError as error:
                with error:
                    seconds = _pause(error, attempt)
                if seconds is None or attempt == ATTEMPTS:
                    raise IngotError(self._refused(error.code, repository, address)) from None
                self.wait(seconds)
            except (OSError, ValueError) as error:
                reason = getattr(error, "reason", error)
                raise IngotError(
                    f"{self.uri} does not answer for {repository} ({reason}); check the address, a proxy "
                    "(https_proxy), or name a mirror in sources['models']"
                ) from None
        raise AssertionError("every attempt returns or raises")

    def _request(self, address: str) -> urllib.request.Request:
        request = urllib.request.Request(address, headers={"User-Agent": "ingot"})
        if self.token:
            # Not among those that a redirect carries on.
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        return request

    def _refused(self, status: int, repository: str, address: str) -> str:
        where = urlsplit(address).netloc
        if status in (401, 403):
            return (
                f"{where} does not show {repository} ({status}): it is gated or private; accept its terms there, and "
                "give a token by cache_hub_token_file"
            )
        if status == 404:
            return f"{where} has no {repository}, or not this revision of it ({status}); correct its name"
        return f"{where} answered for {repository} with {status}; try again later"


def _pause(error: urllib.error.HTTPError, attempt: int) -> float | None:
    """How long to wait before another attempt; None where there is no use in one."""
    if error.code == 429:
        # Hugging Face: RateLimit: "api";r=0;t=55
        said = re.search(r"\bt=(\d+)", error.headers.get("RateLimit") or "")
        after = error.headers.get("Retry-After") or ""
        seconds = int(said.group(1)) + 1 if said else int(after) if after.isdigit() else 15 * attempt
        return min(seconds, LONGEST_WAIT_S)
    return float(attempt) if error.code >= 500 else None


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects by HTTPS, or within the host: what is asked here is small and never on a foreign plain one."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        there, here = urlsplit(newurl), urlsplit(req.full_url)
        if there.scheme != "https" and there.netloc != here.netloc:
            raise ValueError(f"redirected to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_SameHost)
