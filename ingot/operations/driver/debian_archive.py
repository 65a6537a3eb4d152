"""Debian's own driver: the components of its archive that carry it, described where a host lacks them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingot.facts.apt_sources import Repository
from ingot.operations.package_source import Extension

#: What the driver's packages and their dependencies are in. Source: Debian wiki NvidiaGraphicsDrivers.
COMPONENTS = ("contrib", "non-free", "non-free-firmware")
NAME = "debian"
PATH = Extension(NAME, "").path

# Third parties publish below /debian, too, but name a keyring of their own.
_KEYRING = "debian-archive-"
_ADDRESS = re.compile(r"/debian(-security)?(/|\.list|$)")


def extension(described: Sequence[Repository]) -> Extension | None:
    """The missing components of Debian's archive, from where the host has `main`; None when it has all.

    A repository that apt knows already must be described with the same key again, so that the host's own way of
    trusting it is kept word for word.
    """
    theirs = [one for one in described if one.file != PATH]
    known = {
        (uri.rstrip("/"), suite, component)
        for one in theirs
        for uri in one.uris
        for suite in one.suites
        for component in one.components
    }
    stanzas: dict[str, None] = {}
    for one in theirs:
        if "main" not in one.components or not _is_debian(one):
            continue
        for uri in one.uris:
            for suite in one.suites:
                missing = [part for part in COMPONENTS if (uri.rstrip("/"), suite, part) not in known]
                if missing:
                    stanzas[_stanza(uri, suite, missing, one)] = None
    return Extension(NAME, "# Written by Ingot.\n" + "\n".join(stanzas)) if stanzas else None


def _is_debian(one: Repository) -> bool:
    trusted_by = one.fields.get("signed-by")
    return _KEYRING in trusted_by if trusted_by else any(_ADDRESS.search(uri) for uri in one.uris)


def _stanza(uri: str, suite: str, components: Sequence[str], like: Repository) -> str:
    fields = {"Types": "deb", "URIs": uri, "Suites": suite, "Components": " ".join(components)}
    fields |= {name.title(): value for name, value in sorted(like.fields.items())}
    return "".join(f"{name}: {value}\n" for name, value in fields.items())
