"""A value of `sources` becomes a repository of packages."""

from __future__ import annotations

from ingot.operations.packages import Source
from ingot.settings.sources import DistributionRepository, Repository


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
