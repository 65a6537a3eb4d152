"""The distribution's own archive, where a site names one; what the host describes is switched off."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Generator
from dataclasses import dataclass
from urllib.parse import urlsplit

from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host

from ingot.facts.apt_sources import Repository, SourceFile
from ingot.facts.archive import Archive, ArchiveState
from ingot.operations import changes, detached, packages
from ingot.operations.described_sources import is_ingots, switched_off
from ingot.operations.operation import operation
from ingot.operations.package_source import Extension
from ingot.operations.packages import PackagesPlan
from ingot.settings import of_host
from ingot.settings import sources as settings

NAME = "distribution"
PATH = Extension(NAME, "").path
#: Each distribution's keyring, which its installer has put there.
KEYRINGS = {
    "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}
#: What roles install from. Debian's other components come with its own driver (driver/debian_archive.py).
COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "restricted", "universe")}
_SUITE = re.compile(r"(?:-updates|-security|-backports|-proposed-updates|-proposed|/updates)$")
_PATHS = frozenset({"/debian", "/debian-security", "/ubuntu", "/ubuntu-ports"})
_HOSTS = re.compile(r"(?:[\w-]+\.)*(?:debian\.org|ubuntu\.com)")


@dataclass(frozen=True, slots=True)
class Change:
    """What differs: the lines that `packages.sh` follows, and the sentences that announce them."""

    lines: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()


def text(value: settings.Archive, os: str, codename: str, architecture: str) -> str:
    """The archive as apt reads it: the release and its updates from one address, security updates from its own."""
    places = {value.uri: [codename, f"{codename}-updates"]}
    places.setdefault(value.security_uri or value.uri, []).append(f"{codename}-security")
    stanzas = []
    for uri, suites in places.items():
        fields = {
            "Types": "deb",
            "URIs": uri.replace("{os}", os).replace("{codename}", codename),
            "Suites": " ".join(suites),
            "Components": " ".join(COMPONENTS[os]),
            "Architectures": architecture,
            # A part of an archive has neither translations nor differences between indexes.
            "Languages": "none",
            "PDiffs": "no",
            "Check-Valid-Until": "" if value.check_valid_until else "no",
            "Signed-By": KEYRINGS[os],
        }
        stanzas.append("".join(f"{key}: {field}\n" for key, field in fields.items() if field))
    return "# Written by Ingot.\n" + "\n".join(stanzas)


def compare(look: ArchiveState, value: settings.Archive | None) -> Change:
    """What to do so that apt takes the distribution's packages from there, and from nowhere else."""
    if value is None or look.os not in KEYRINGS:
        return Change()
    wanted = text(value, look.os, look.codename, look.described.architecture)
    theirs = _theirs(look)
    stale = [file.path for file, _ in theirs if is_ingots(file)]
    edits = [switched_off(file, found, PATH) for file, found in theirs if not is_ingots(file)]
    is_there = look.sha256 == hashlib.sha256(wanted.encode()).hexdigest() and NAME not in look.described.pending
    if is_there and not edits:
        # Ingot's own with further components follow this one.
        return Change()
    lines = [
        f"theirs\t{NAME}\t{edit.path}\t{edit.before_sha256}\t{base64.b64encode(edit.content).decode()}"
        for edit in edits
    ]
    lines += [f"stale\t{NAME}\t{path}" for path in stale]
    lines.append(f"source\t{NAME}\t-\t-\t{base64.b64encode(wanted.encode()).decode()}")
    places = " and ".join(dict.fromkeys(one for one in (value.uri, value.security_uri) if one))
    sentences = [
        *(f"switch off what {edit.path} says of the distribution's archive, and keep a copy" for edit in edits),
        *(f"delete {path}, which goes by another archive" for path in stale),
        f"take the distribution's packages from {places}",
    ]
    return Change(tuple(lines), tuple(sentences))


def switched_off_files(look: ArchiveState, value: settings.Archive | None) -> list[str]:
    """The files in which something is switched off for it."""
    return [] if value is None else [file.path for file, _ in _theirs(look) if not is_ingots(file)]


def _theirs(look: ArchiveState) -> list[tuple[SourceFile, list[Repository]]]:
    """What other files than Ingot's own describe of the archive, by file."""
    found = (
        (file, [one for one in file.repositories if one.is_on and _is_archive(one, look)])
        for file in look.described.files
        if file.path != PATH
    )
    return [(file, ones) for file, ones in found if ones]


def _is_archive(one: Repository, look: ArchiveState) -> bool:
    """Whether a description is of the host's own distribution, by its key or, without one, by its address."""
    if any(_SUITE.sub("", suite) != look.codename for suite in one.suites):
        return False
    signed_by = one.fields.get("signed-by")
    if signed_by:
        return f"{look.os}-archive-" in signed_by
    return all(_is_archive_address(uri) for uri in one.uris)


def _is_archive_address(uri: str) -> bool:
    parts = urlsplit(uri)
    return parts.path.rstrip("/") in _PATHS or bool(_HOSTS.fullmatch(parts.hostname or ""))


@operation()
def archive() -> Generator[PyinfraCommand, None, None]:
    """
    Have the distribution's packages come from sources["distribution"], where there is one.

    Nothing is switched off before apt has read the new source, and all is as before where that fails.

    **Example:**

    .. code:: python

        archive.archive(name="Packages of the distribution")
    """
    value = of_host(host).sources.distribution
    if value is None:
        host.noop("the distribution's packages come from where the host says")
        return
    change = compare(host.get_fact(Archive, path=PATH), value)
    if not change.lines:
        host.noop("the distribution's packages come from the site's archive")
        return
    changes.announce(change.sentences)
    plan = PackagesPlan(change.lines, change.sentences)
    yield from detached.commands(
        "ingot-packages", packages.RUN, packages.members(plan, host.name, packages.LOCK_TIMEOUT_S), packages.LIMIT_S
    )
