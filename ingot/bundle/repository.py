"""The part of a package repository that is needed, as it is published: its makers' signatures stay what proves it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from ingot.bundle.store import Entry, Missing, Store
from ingot.errors import IngotError
from ingot.facts.openpgp import fingerprints

#: Indexes as they are published, what is smallest first; apt takes each.
_FORMS = (".xz", ".bz2", ".gz", "")
_SUM = re.compile(r"^ ([0-9a-f]{64}) +(\d+) +(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Part:
    """Some suites of a repository: `uri` without variables, `place` where they stand in a bundle, the trusted keys."""

    place: str
    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    architecture: str
    keyring: bytes

    def directory(self, suite: str) -> str:
        """Where a suite's index is, below the repository."""
        return suite.strip("/").removeprefix("./") if suite.endswith("/") else f"dists/{suite}"


def index(store: Store, part: Part) -> Iterator[Entry]:
    """The signed index of each suite, and the lists of packages that it names. Raises: IngotError."""
    for suite in part.suites:
        below = part.directory(suite)
        release, entries = _release(store, part, below)
        yield from entries
        sums = {path.removeprefix("./"): (sha256, int(size)) for sha256, size, path in _sums(release)}
        for name in _lists(part, suite, release):
            form = next((one for one in _FORMS if f"{name}{one}" in sums), None)
            if form is None:
                if name.endswith("binary-all/Packages"):
                    continue
                raise IngotError(
                    f"{part.uri} {suite} has no {name} in its index; correct suite and component in `sources`."
                )
            yield from _list(
                store, part, below, f"{name}{form}", sums[f"{name}{form}"], "Acquire-By-Hash: yes" in release
            )


def _release(store: Store, part: Part, below: str) -> tuple[str, list[Entry]]:
    where = f"{below}/" if below else ""
    try:
        entries = [_fetch(store, part, f"{where}InRelease")]
    except Missing:
        # Signed apart: some vendors' flat repositories.
        try:
            entries = [_fetch(store, part, f"{where}{name}") for name in ("Release", "Release.gpg")]
        except Missing as missing:
            raise IngotError(f"{part.uri} has no signed index ({missing}); correct it in `sources`.") from None
    return store.object(entries[0].sha256).read_text(encoding="utf-8", errors="replace"), entries


def _sums(release: str) -> Sequence[tuple[str, str, str]]:
    return _SUM.findall(release)


def _lists(part: Part, suite: str, release: str) -> Iterator[str]:
    if suite.endswith("/"):
        yield "Packages"
        return
    has_all = re.search(r"^Architectures:.*\ball\b", release, re.MULTILINE)
    in_one = re.search(r"^No-Support-for-Architecture-all: .*\bPackages\b", release, re.MULTILINE)
    for component in part.components:
        yield f"{component}/binary-{part.architecture}/Packages"
        if has_all and not in_one:
            yield f"{component}/binary-all/Packages"


def _list(store: Store, part: Part, below: str, name: str, wanted: tuple[str, int], by_hash: bool) -> Iterator[Entry]:
    where = f"{below}/" if below else ""
    sha256, size = wanted
    directory = name.rpartition("/")[0]
    hashed = f"{where}{directory}{'/' if directory else ''}by-hash/SHA256/{sha256}"
    # An index that is published anew while this runs still has the old lists by their digests.
    first, second = (hashed, f"{where}{name}") if by_hash else (f"{where}{name}", hashed)
    try:
        entry = _fetch(store, part, first, sha256, size)
    except Missing:
        entry = _fetch(store, part, second, sha256, size)
    yield Entry(f"{part.place}/{where}{name}", entry.sha256, entry.bytes, entry.origin)
    if by_hash:
        yield Entry(f"{part.place}/{hashed}", entry.sha256, entry.bytes, entry.origin)


def pool(store: Store, part: Part, file: str, sha256: str, size: int) -> Entry:
    """A package by its place below the repository. Raises: IngotError."""
    return store.name(_address(part, file), f"{part.place}/{file}", sha256, size)


def _fetch(store: Store, part: Part, below: str, sha256: str | None = None, size: int | None = None) -> Entry:
    return store.fetch(_address(part, below), f"{part.place}/{below}", sha256, size)


def _address(part: Part, below: str) -> str:
    return f"{part.uri.rstrip('/')}/{quote(below, safe='/~+:')}"


def key(store: Store, address: str, wanted: Sequence[str], path: str) -> Entry:
    """A vendor's key, with one of the expected fingerprints. Raises: IngotError."""
    entry = store.fetch(address, path)
    found = fingerprints(store.object(entry.sha256).read_bytes())
    if not set(found) & set(wanted):
        raise IngotError(
            f"the key at {address} has fingerprint {' '.join(found) or 'none'} where {' '.join(wanted)} was expected; "
            "compare both with the vendor's page before changing `sources`."
        )
    return entry


def places(parts: Sequence[Part]) -> Mapping[str, list[Part]]:
    """The parts by address: a site that mirrors two vendors in one place needs a package at both places."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part.uri.rstrip("/"), []).append(part)
    return found
