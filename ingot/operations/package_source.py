"""Repositories of packages as Ingot describes them to apt, and how a value of `sources` becomes one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ingot.settings.sources import DistributionRepository, Repository


@dataclass(frozen=True, slots=True)
class Source:
    """A package repository. Its key is fetched on the host and must have one of the given fingerprints.

    `uris`, `suites`, `components`, `architectures` and `key_fingerprint` are one string or several; a flat
    repository has a suite ending in a slash and no components. `key_url` is an https, http or file address.
    """

    name: str
    uris: str | Sequence[str]
    suites: str | Sequence[str]
    components: str | Sequence[str]
    key_url: str
    key_fingerprint: str | Sequence[str]
    architectures: str | Sequence[str] | None = None

    @property
    def path(self) -> str:
        """Where its description is."""
        return f"/etc/apt/sources.list.d/ingot-{self.name}.sources"

    @property
    def keyring(self) -> str:
        """Where its key is; no other repository is trusted with it."""
        return f"/etc/apt/keyrings/ingot-{self.name}.gpg"

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The accepted fingerprints as gpg writes them."""
        given = self.key_fingerprint
        return tuple(re.sub(r"\s", "", one).upper() for one in ([given] if isinstance(given, str) else given))

    @property
    def all_uris(self) -> tuple[str, ...]:
        """The addresses."""
        return _several(self.uris)

    @property
    def all_suites(self) -> tuple[str, ...]:
        """The suites."""
        return _several(self.suites)

    @property
    def all_components(self) -> tuple[str, ...]:
        """The components; none for a flat repository."""
        return _several(self.components)

    @property
    def all_architectures(self) -> tuple[str, ...]:
        """The architectures; none where they are the host's."""
        return _several(self.architectures or ())

    @property
    def text(self) -> str:
        """The deb822 description."""
        fields = {
            "Types": "deb",
            "URIs": " ".join(self.all_uris),
            "Suites": " ".join(self.all_suites),
            "Components": " ".join(self.all_components),
            "Architectures": " ".join(self.all_architectures),
            "Signed-By": self.keyring,
        }
        return "# Written by Ingot.\n" + "".join(f"{key}: {value}\n" for key, value in fields.items() if value)


@dataclass(frozen=True, slots=True)
class Extension:
    """More components of repositories that the host trusts already: `text` describes them in deb822, without a key."""

    name: str
    text: str = field(repr=False)

    @property
    def path(self) -> str:
        """Where its description is."""
        return f"/etc/apt/sources.list.d/ingot-{self.name}.sources"


def vendor(name: str, value: Repository, os: str, codename: str, architectures: str | None = None) -> Source:
    """A vendor's repository as a package source; `os` and `codename` fill `{os}` and `{codename}`."""

    def of(text: str) -> str:
        return text.replace("{os}", os).replace("{codename}", codename)

    return Source(
        name,
        of(value.uri),
        of(value.suite),
        of(value.component),
        of(value.key_url),
        value.key_fingerprint,
        architectures,
    )


def upstream(name: str, value: DistributionRepository, repository: str) -> Source:
    """A repository with a key of its own per distribution; `repository` is `distro/arch` and fills `{repository}`."""
    distro = repository.partition("/")[0]

    def of(text: str) -> str:
        return text.replace("{repository}", repository)

    return Source(
        name,
        of(value.uri),
        of(value.suite),
        of(value.component),
        of(value.key_url.get(distro, value.key_url["default"])),
        value.key_fingerprint.get(distro, value.key_fingerprint["default"]),
    )


def _several(given: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(given.split()) if isinstance(given, str) else tuple(given)
