"""Where this machine gets its own distribution from: the archive of a bundle whose site names none."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from ingot.bundle.closure import run
from ingot.errors import IngotError
from ingot.settings.sources import Archive

FORM = "$(ORIGIN)|$(RELEASE)|$(REPO_URI)"


def machine_archive(distribution: str) -> Archive:
    """The archive of a distribution (`debian`, `ubuntu`) as this machine's apt describes it. Raises: IngotError."""
    try:
        return _archives()[distribution]
    except KeyError:
        raise IngotError(
            f"this machine's apt describes no archive of {distribution}, expected one to take packages from; run "
            'apt-get update here if it is of that distribution, else name the archive as "distribution" of sources.'
        ) from None


def parse_archives(lines: Iterable[str]) -> dict[str, Archive]:
    """Archives by distribution; a line is `origin|suite in the source|uri`, as `apt-get indextargets` formats it."""
    plain: dict[str, str] = {}
    security: dict[str, str] = {}
    for line in lines:
        origin, suite, uri = line.strip().split("|")
        (security if suite.endswith("-security") else plain).setdefault(origin.lower(), uri.rstrip("/"))
    return {origin: Archive(uri=uri, security_uri=security.get(origin)) for origin, uri in plain.items() if origin}


@cache
def _archives() -> dict[str, Archive]:
    argv = ["apt-get", "indextargets", "--format", FORM, "Created-By: Packages"]
    return parse_archives(run(argv, {}).splitlines())
