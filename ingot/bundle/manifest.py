"""What a bundle holds, signed once: nothing of it is used before signature and digests are proven."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ingot.bundle.store import Entry, Store, sha256_of
from ingot.errors import IngotError
from ingot.secrets import bundle_key

SCHEMA = 1
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"


@dataclass(frozen=True)
class Manifest:
    """A bundle's content. `serial` (seconds since 1970 when it was made) tells which of two is older.

    `files` are all files, `hosts` the paths that each host needs, `values` what group_data says of them, with {base}
    for where they are, `images` the digests of engine images by path (config and manifest, as Docker's two stores call
    an image).
    """

    serial: int
    created: str
    files: tuple[Entry, ...]
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    images: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """The size of its objects, each once."""
        return sum({one.sha256: one.bytes for one in self.files}.values())

    def of_host(self, name: str) -> tuple[Entry, ...]:
        """The files that a host needs. Raises: IngotError for a host that it was not made for."""
        if name not in self.hosts:
            raise IngotError(
                f"{name}: this bundle was made for {', '.join(sorted(self.hosts))}; make one with this host's state."
            )
        wanted = frozenset(self.hosts[name])
        return tuple(one for one in self.files if one.path in wanted)


def text(manifest: Manifest) -> str:
    """A manifest as its file has it: a line a file."""
    head = {key: value for key, value in asdict(manifest).items() if key != "files"}
    lines = ",\n".join(json.dumps(asdict(one), ensure_ascii=False) for one in manifest.files)
    return f'{{"schema": {SCHEMA},\n{json.dumps(head, ensure_ascii=False)[1:-1]},\n"files": [\n{lines}\n]}}\n'


def parse(content: bytes, where: str) -> Manifest:
    """The manifest in a file. Raises: IngotError where it is none, or of a newer Ingot."""
    try:
        stored = json.loads(content)
        if stored["schema"] != SCHEMA:
            raise IngotError(f"{where} has schema {stored['schema']!r}, expected {SCHEMA}: use the Ingot that made it.")
        return Manifest(
            int(stored["serial"]),
            str(stored["created"]),
            tuple(_entry(one) for one in stored["files"]),
            {name: tuple(paths) for name, paths in stored["hosts"].items()},
            stored["values"],
            stored["images"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IngotError(f"{where} is no manifest of a bundle ({error!r}); copy the bundle again.") from None


def _entry(stored: Mapping[str, Any]) -> Entry:
    path = str(stored["path"])
    if (
        path.startswith("/")
        or any(part in ("", ".", "..") for part in path.split("/"))
        or any(ord(one) < 32 for one in path)
    ):
        raise ValueError(f"a path {path!r}")
    sha256 = str(stored["sha256"])
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError(f"a digest {sha256!r}")
    return Entry(path, sha256, int(stored["bytes"]), str(stored["origin"]))


def read_signed(directory: Path, public: str) -> Manifest:
    """The manifest of a bundle, by a public key (PEM) that its signature fits. Raises: IngotError."""
    try:
        content, signature = (directory / MANIFEST).read_bytes(), (directory / SIGNATURE).read_bytes()
    except FileNotFoundError as missing:
        raise IngotError(f"{missing.filename}: not there, expected a bundle of `ingot bundle create`.") from None
    if not bundle_key.is_signed(content, signature, public):
        raise IngotError(
            f"{directory / MANIFEST}: its signature is not by the key with fingerprint "
            f"{bundle_key.fingerprint(public)}; it was changed on its way, or somebody else made it: use nothing of it."
        )
    return parse(content, str(directory / MANIFEST))


def wrong_objects(
    store: Store, entries: Iterable[Entry], say: Callable[[str], None] = lambda line: None
) -> list[tuple[Entry, str]]:
    """The entries whose object is not as the manifest says, and what is wrong with it; several are read at a time."""
    each = {one.sha256: one for one in entries}

    def trouble(one: Entry) -> str | None:
        file = store.object(one.sha256)
        try:
            if file.stat().st_size != one.bytes:
                return f"has {file.stat().st_size} bytes, expected {one.bytes}"
            found = sha256_of(file)
        except OSError as error:
            return "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        return None if found == one.sha256 else f"has SHA-256 {found}, expected {one.sha256}"

    total, read, told = sum(one.bytes for one in each.values()), 0, 0
    found: list[tuple[Entry, str]] = []
    # hashlib lets go of the interpreter while it reads.
    with ThreadPoolExecutor(4) as pool:
        for one, wrong in zip(each.values(), pool.map(trouble, each.values()), strict=True):
            read += one.bytes
            if read - told > 10e9:
                told = read
                say(f"{read / 1e9:.0f} of {total / 1e9:.0f} GB proven")
            if wrong:
                found.append((one, wrong))
    return found
