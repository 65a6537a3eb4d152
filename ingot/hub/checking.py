"""Whether what hosts serve is locked, known to their engine, and still where it was locked from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from pyinfra.api.host import Host

from ingot.catalog import load_models
from ingot.engines.registry import registry
from ingot.engines.validity import problems
from ingot.errors import IngotError
from ingot.hub.fleet import wanted
from ingot.settings.engine import Engine
from ingot.settings.read import section
from ingot.settings.serving import Serving
from ingot.sizing import CatalogError


@dataclass(frozen=True, slots=True)
class Stand:
    """A variant that may be served, its commit, and what names it: the lock, the site, the catalog, or nothing."""

    variant: str
    repository: str
    commit: str | None
    by: Literal["lock", "site", "catalog", "nothing"]


def stands(hosts: Sequence[Host]) -> list[Stand]:
    """What each variant that hosts may serve stands on. Raises: IngotError where the values of a host are wrong."""
    own = load_models()
    found: dict[str, Stand] = {}
    for host in hosts:
        serving = section(host, Serving)
        try:
            lock = serving.lock
        except CatalogError as error:
            raise IngotError(str(error)) from error
        for one in serving.serve:
            model = serving.catalog[one.model]
            theirs = {each.name: each.revision for each in own[model.name].variants} if model.name in own else {}
            for variant in model.variants:
                if one.variant not in (None, variant.name):
                    continue
                label = f"{model.name} ({variant.name})"
                known = lock.repositories.get(variant.repository) if lock else None
                by: Literal["lock", "site", "catalog", "nothing"] = "lock" if known else "nothing"
                if known is None and variant.revision:
                    by = "catalog" if theirs.get(variant.name) == variant.revision else "site"
                commit = known.commit if known else variant.revision
                found[label] = Stand(label, variant.repository, commit, by)
    return list(found.values())


def check_hosts(hosts: Sequence[Host], *, offline: bool) -> list[str]:
    """One sentence for each thing that is wrong. Raises: IngotError where the values of a host are."""
    found = dict.fromkeys(sentence for host in hosts for sentence in _of_host(host))
    if not offline:
        found |= dict.fromkeys(_at_the_hub(hosts))
    return list(found)


def _of_host(host: Host) -> Iterator[str]:
    serving = section(host, Serving)
    known = registry(section(host, Engine).engine_version)
    for one in serving.serve:
        request = one.request(serving.catalog)
        if request.engine != known.engine:
            continue
        architectures = [variant.architecture for variant in request.model.variants]
        for clause in problems(request.arguments, request.speculation, architectures, request.model.kind, known):
            yield f"{one.model}: {clause}."
    for wrong in serving.unlocked():
        yield f"{wrong.value}: expected {wrong.words}."
    with suppress(CatalogError):
        # A lock that cannot be read was said above, as a value that is wrong.
        if missing := serving.without_lock():
            yield f"{missing}."


def _at_the_hub(hosts: Sequence[Host]) -> Iterator[str]:
    """Commits that cannot be had any more, or have other files than were locked."""
    asked = wanted(hosts)
    locks = {host.name: section(host, Serving).lock for host in hosts}
    lock = next((one for one in locks.values() if one), None)
    seen: set[str] = set()
    for wish in asked.wishes:
        known = lock.repositories.get(wish.repository) if lock else None
        if known is None or wish.repository in seen:
            continue
        seen.add(wish.repository)
        try:
            now = wish.place.locked(wish.repository, known.commit)
        except IngotError as error:
            yield f"{wish.label}: {error}."
            continue
        if now.files != known.files:
            yield (
                f"{wish.label}: {wish.repository} has other files at {known.commit[:12]} than were locked: "
                "do not deploy it before you know why."
            )
