"""A repository that others describe too: used as they describe it, or switched off where Ingot's own comes.

apt takes two descriptions of one address and suite for one repository, and reads none of its sources at all where they
name different keys (apt-pkg/deb/debmetaindex.cc, "Conflicting values set for option Signed-By").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ingot.facts.apt_sources import FIELD, Repository, SourceFile
from ingot.facts.packages import DescribedSources
from ingot.operations.package_source import Source

#: Fields that say nothing of whom to trust, and may stand in a description that Ingot uses.
_HARMLESS = frozenset({"architectures", "languages", "signed-by", "by-hash", "pdiffs", "description"})
_PORTS = {"http": 80, "https": 443}
_OPTION_OF_FIELD = {"architectures": "arch", "languages": "lang", "by-hash": "by-hash", "pdiffs": "pdiffs"}
_WRITTEN = "# Written by Ingot."

#: A repository as apt tells them apart: address and suite.
Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Edit:
    """A file of others that changes: the digest of what it was, and its new bytes."""

    path: str
    before_sha256: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Others:
    """What others say of one of Ingot's sources.

    `used` is the file whose description serves as it is: nothing of Ingot's is added then. Else `edits` are files that
    change together with the coming of Ingot's own, and `stale` are descriptions that Ingot wrote under another name.
    """

    used: str | None = None
    edits: tuple[Edit, ...] = ()
    stale: tuple[str, ...] = ()


def place(uri: str, suite: str, architecture: str) -> Place:
    """What is fetched: scheme and host in small letters, no default port, one slash at the end."""
    uri, suite = (text.replace("$(ARCH)", architecture) for text in (uri, suite))
    try:
        parts = urlsplit(uri)
        port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    except ValueError:
        return uri, suite
    user, at, _ = parts.netloc.rpartition("@")
    address = f"{parts.scheme}://{user}{at}{parts.hostname or ''}{port}{parts.path.rstrip('/')}/"
    return address, "/" if suite in ("./", "/") else suite


def others(source: Source, described: DescribedSources) -> Others:
    """What to do with descriptions of the same repository that are not this source's own."""
    wanted = places(source.all_uris, source.all_suites, described.architecture)
    files = [one for one in described.files if one.path != source.path]
    found = [
        (file, one)
        for file in files
        for one in file.repositories
        if one.is_on and wanted & places(one.uris, one.suites, described.architecture)
    ]
    serving = next((one for _, one in found if _serves(one, source, wanted, described)), None)
    if serving and all(_signers(one) == _signers(serving) for _, one in found):
        return Others(used=serving.file)
    touched = {file.path: file for file, _ in found}
    stale = tuple(path for path, file in touched.items() if is_ingots(file))
    edits = (_edited(file, source, wanted, described) for path, file in touched.items() if path not in stale)
    return Others(None, tuple(edits), stale)


def places(uris: Sequence[str], suites: Sequence[str], architecture: str) -> frozenset[Place]:
    """Each address with each suite."""
    return frozenset(place(uri, suite, architecture) for uri in uris for suite in suites)


def switched_off(file: SourceFile, which: Sequence[Repository], instead: str) -> Edit:
    """A file with some of its descriptions switched off, and a word on the file that stands for them."""
    lines = file.text.split("\n")
    for one in reversed(which):
        begin, end = one.lines
        ending = "\r" if any(line.endswith("\r") for line in lines[begin:end]) else ""
        if file.path.endswith(".sources"):
            off = _with_fields(lines[begin:end], {"Enabled": "no"}, ending)
            lines[begin:end] = [f"# Changed by Ingot, see {instead}.{ending}", *off]
        else:
            lines[begin:end] = [f"# Switched off by Ingot, see {instead}: {lines[begin]}"]
    content = SourceFile(file.path, "\n".join(lines)).bytes
    return Edit(file.path, hashlib.sha256(file.bytes).hexdigest(), content)


def is_ingots(file: SourceFile) -> bool:
    """Whether Ingot wrote it."""
    return file.path.rpartition("/")[2].startswith("ingot-") and file.text.startswith(_WRITTEN)


def _signers(one: Repository) -> tuple[str, ...]:
    return tuple(sorted(one.fields.get("signed-by", "").split()))


def _serves(one: Repository, source: Source, wanted: frozenset[Place], described: DescribedSources) -> bool:
    """Whether a description brings all that the source would, trusted with the expected keys alone."""
    keys = [described.keyrings.get(path, ()) for path in _signers(one)]
    found = {fingerprint for ring in keys for fingerprint in ring}
    return (
        "deb" in one.types
        and wanted <= places(one.uris, one.suites, described.architecture)
        and set(source.all_components) <= set(one.components)
        and set(source.all_architectures or [described.architecture])
        <= set(one.fields.get("architectures", "").split() or [*source.all_architectures, described.architecture])
        and all(name in _HARMLESS or name.startswith("x-") for name in one.fields)
        and bool(keys)
        and all(keys)
        and found <= set(source.fingerprints)
    )


def _is_covered(one: Repository, source: Source, architecture: str) -> bool:
    """Whether the source brings all of what a description brings for the places that both are about."""
    own = {*source.all_architectures, architecture}
    return (
        set(one.types) <= {"deb"}
        and set(one.components) <= set(source.all_components)
        and set(one.fields.get("architectures", "").split()) <= own
    )


def _edited(file: SourceFile, source: Source, wanted: frozenset[Place], described: DescribedSources) -> Edit:
    lines = file.text.split("\n")
    # From the end, so that what is still to come keeps its place.
    for one in reversed(file.repositories):
        if not one.is_on or not wanted & places(one.uris, one.suites, described.architecture):
            continue
        begin, end = one.lines
        change = _stanza if file.path.endswith(".sources") else _line
        lines[begin:end] = change(lines[begin:end], one, source, wanted, described.architecture)
    content = SourceFile(file.path, "\n".join(lines)).bytes
    return Edit(file.path, hashlib.sha256(file.bytes).hexdigest(), content)


def _line(
    lines: Sequence[str], one: Repository, source: Source, _wanted: frozenset[Place], architecture: str
) -> Iterator[str]:
    (line,) = lines
    end = "\r" if line.endswith("\r") else ""
    if _is_covered(one, source, architecture):
        yield f"# Switched off by Ingot, see {source.path}: {line}"
        return
    yield f"# Given another key by Ingot, see {source.path}: {line}"
    options = {
        _OPTION_OF_FIELD[name]: ",".join(value.split())
        for name, value in one.fields.items()
        if name in _OPTION_OF_FIELD
    }
    given = " ".join(f"{name}={value}" for name, value in (options | {"signed-by": source.keyring}).items())
    yield " ".join([one.types[0], f"[{given}]", one.uris[0], one.suites[0], *one.components]) + end


def _stanza(
    lines: Sequence[str], one: Repository, source: Source, wanted: frozenset[Place], architecture: str
) -> Iterator[str]:
    """The stanza with what is Ingot's taken out of it: a stanza for each part that stays, or the whole switched off."""
    changes: list[Mapping[str, str | None]] = []
    for uri in one.uris:
        rest = [suite for suite in one.suites if place(uri, suite, architecture) not in wanted]
        if rest:
            changes.append({"URIs": uri, "Suites": " ".join(rest)})
    same = [
        (uri, suite) for uri in one.uris for suite in one.suites if place(uri, suite, architecture) in wanted
    ]  # fmt: skip
    if not _is_covered(one, source, architecture):
        unsafe = {name: None for name in one.fields if name not in _HARMLESS and not name.startswith("x-")}
        changes += [{**unsafe, "URIs": uri, "Suites": suite, "Signed-By": source.keyring} for uri, suite in same]
    end = "\r" if any(line.endswith("\r") for line in lines) else ""
    yield f"# Changed by Ingot, see {source.path}.{end}"
    for index, change in enumerate(changes or [{"Enabled": "no"}]):
        if index:
            yield end
        yield from _with_fields(lines, change, end)


def _with_fields(lines: Sequence[str], changes: Mapping[str, str | None], end: str) -> list[str]:
    """A stanza's lines with these fields; None takes one away. Comments stay."""
    wanted = {name.lower(): (name, value) for name, value in changes.items()}
    kept: list[str] = []
    skips = False
    for line in lines:
        match = FIELD.match(line)
        if match:
            skips = match.group(1).lower() in wanted
        elif line.startswith("#"):
            kept.append(line)
            continue
        if not skips:
            kept.append(line)
    return kept + [f"{name}: {value}{end}" for name, value in wanted.values() if value is not None]
