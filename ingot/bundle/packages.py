"""The packages of a bundle: for each host what its roles would install, out of repositories as they are published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ingot.bundle import repository
from ingot.bundle.closure import Needed, Root
from ingot.bundle.machine_archive import machine_archive
from ingot.bundle.repository import Part
from ingot.bundle.store import Entry, Store
from ingot.bundle.target import Target
from ingot.bundle.wishes import ARCHIVE, SECURITY, Wish, key_place
from ingot.operations import archive

#: Files that are fetched at a time.
AT_ONCE = 8


@dataclass
class Packages:
    """Gathers packages for one host after the other; what several need is fetched once."""

    store: Store
    tree: Path
    work: Path
    say: Callable[[str], None]
    _indexes: dict[tuple[str, str, str], tuple[Entry, ...]] = field(default_factory=dict)
    _keys: dict[str, Entry] = field(default_factory=dict)

    def of(self, name: str, target: Target, wish: Wish) -> tuple[Entry, ...]:
        """Every file that apt reads on this host: keys, indexes and packages. Raises: IngotError."""
        found: dict[str, Entry] = {}
        parts = list(self._parts(target, wish, found))
        for part in parts:
            self._index(part, found)
        root = Root(self.work / name, self.tree, target.look.described.architecture)
        sources = {part.place.replace("/", "-"): _described(part, root) for part in parts}
        root.prepare(target.dpkg_status, sources, {_keyring(part): part.keyring for part in parts})
        root.read()
        for pin in wish.pins:
            root.pin(pin)
        if wish.first:
            for entry in self._fetched(root.closure([wish.first]), parts):
                found[entry.path] = entry
                if Path(entry.path).name.startswith(f"{wish.first}_"):
                    self.store.fetch(entry.origin, entry.path, entry.sha256, entry.bytes)
                    root.pin_by(self.store.object(entry.sha256))
        names = [*([wish.first] if wish.first else []), *wish.names, *filter(root.has, wish.optional)]
        needed = root.closure(names)
        self.say(f"{name}: {len(needed)} packages, {sum(one.bytes for one in needed) / 1e6:.0f} MB")
        found |= {entry.path: entry for entry in self._fetched(needed, parts)}
        return tuple(found.values())

    def _parts(self, target: Target, wish: Wish, found: dict[str, Entry]) -> Iterator[Part]:
        os, codename = target.look.driver.os.id, target.look.codename
        architecture = target.look.described.architecture
        theirs = wish.archive or machine_archive(os)
        own = (
            (ARCHIVE, theirs.uri, (codename, f"{codename}-updates")),
            (SECURITY, theirs.security_uri or theirs.uri, (f"{codename}-security",)),
        )
        for place, uri, names in own:
            here = uri.replace("{os}", os).replace("{codename}", codename)
            components = archive.COMPONENTS[os]
            yield Part(place.replace("{os}", os), here, names, components, architecture, target.archive_keys)
        for place, source in wish.sources.items():
            entry = self._key(source.key_url, source.fingerprints, key_place(place))
            found[entry.path] = entry
            keyring = self.store.object(entry.sha256).read_bytes()
            (uri,) = source.all_uris
            uri = uri.replace("$(ARCH)", architecture)
            yield Part(place, uri, source.all_suites, source.all_components, architecture, keyring)

    def _key(self, address: str, wanted: tuple[str, ...], path: str) -> Entry:
        known = self._keys.get(path) or repository.key(self.store, address, wanted, path)
        return self._keys.setdefault(path, known)

    def _index(self, part: Part, found: dict[str, Entry]) -> None:
        key = (part.place, " ".join(part.suites), part.architecture)
        if key not in self._indexes:
            self._indexes[key] = tuple(repository.index(self.store, part))
            self.store.tree(self._indexes[key], self.tree)
        found |= {entry.path: entry for entry in self._indexes[key]}

    def _fetched(self, needed: tuple[Needed, ...], parts: list[Part]) -> Iterator[Entry]:
        by_place = {part.place: part for part in parts}
        beside: Mapping[str, list[Part]] = repository.places(parts)

        def fetch(one: Needed) -> list[Entry]:
            place = max((at for at in by_place if one.path.startswith(f"{at}/")), key=len)
            file = one.path.removeprefix(f"{place}/")
            entry = repository.pool(self.store, by_place[place], file, one.sha256, one.bytes)
            same = beside[by_place[place].uri.rstrip("/")]
            return [Entry(f"{part.place}/{file}", entry.sha256, entry.bytes, entry.origin) for part in same]

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for entries in pool.map(fetch, needed):
                yield from entries


def _described(part: Part, root: Root) -> str:
    """A part as apt reads it, from the tree. Dates are the bundle's own: what it holds is older every day."""
    fields = {
        "Types": "deb",
        "URIs": f"file:{root.tree}/{part.place}",
        "Suites": " ".join(part.suites),
        "Components": " ".join(part.components),
        "Architectures": part.architecture,
        "Languages": "none",
        "PDiffs": "no",
        "Signed-By": str(root.keyring(_keyring(part))),
    }
    return "".join(f"{key}: {value}\n" for key, value in fields.items() if value)


def _keyring(part: Part) -> str:
    """A file's name; apt tells the two forms of keyrings apart by its end."""
    return f"{part.place.replace('/', '-')}.{'asc' if part.keyring.startswith(b'-----') else 'gpg'}"
