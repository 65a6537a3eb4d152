"""What the hosts of an inventory may serve, and from where: read of their values, without connecting to any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyinfra.api.host import Host

from ingot.catalog import load_models
from ingot.errors import IngotError
from ingot.hub.client import Hub
from ingot.hub.places import InDirectory, OnHub, OnMirror, Place
from ingot.hub.resolve import Wish, wishes_of
from ingot.settings.cache import Cache
from ingot.settings.read import section
from ingot.settings.serving import Serving
from ingot.settings.sources import Sources


@dataclass(frozen=True)
class Wanted:
    """Every repository that hosts may serve, each once, the file of their lock, and where most of it comes from.

    `waived` are digests by path, by repository, of files that may name code.
    """

    wishes: tuple[Wish, ...]
    lock: Path
    hub: str
    waived: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def wanted(hosts: Sequence[Host]) -> Wanted:
    """What hosts may serve. Raises: IngotError where their values are wrong, or they serve nothing."""
    wishes: dict[tuple[str, str], Wish] = {}
    locks: set[str] = set()
    hubs: list[str] = []
    waived: dict[str, Mapping[str, str]] = {}
    for host in hosts:
        serving = section(host, Serving)
        if not serving.serve:
            continue
        source, cache = section(host, Sources).sources.models, section(host, Cache)
        token = token_of(cache.cache_hub_token_file)
        locks |= {serving.models_lock} if serving.models_lock else set()
        hubs.append(source.uri)
        waived |= serving.models_waived
        for one in _wishes(serving, source.kind, source.uri, token):
            wishes.setdefault((one.repository, one.label), one)
    if not wishes:
        raise IngotError("no host of the inventory serves a model; add `serve` to a host's file or its group's values.")
    if len(locks) != 1:
        said = ", ".join(sorted(locks)) or "None"
        raise IngotError(
            f"models_lock of these hosts is {said}, expected one file for all; set it in group_data/all.py."
        )
    return Wanted(tuple(wishes.values()), Path(locks.pop()).expanduser(), max(hubs, key=hubs.count), waived)


def _wishes(serving: Serving, kind: str, uri: str, token: str | None) -> Iterator[Wish]:
    models = serving.catalog
    for one in serving.serve:
        yield from wishes_of(
            [models[one.model]], load_models(), lambda name: place_of(kind, uri, name, token), {one.model: one.variant}
        )
        for label, repository, revision in one.beside(models):
            place = place_of(kind, uri, repository, token)
            yield Wish(repository, one.model, label, place, revision, fixed=revision is not None)


def place_of(kind: str, uri: str, repository: str, token: str | None) -> Place:
    """Where a repository is: one that is a path is a directory of this machine, whatever the source."""
    if repository.startswith("/"):
        return InDirectory()
    if kind == "hub":
        return OnHub(Hub(uri, token))
    return OnMirror(uri) if kind == "mirror" else InDirectory(Path(uri).expanduser())


def token_of(file: str | None) -> str | None:
    """The hub token in a file of this machine. Raises: IngotError when it is missing or empty."""
    if not file:
        return None
    try:
        token = Path(file).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise IngotError(f"cache_hub_token_file {file} cannot be read ({error.strerror}); correct it.") from None
    if not token or any(character.isspace() for character in token):
        raise IngotError(f"cache_hub_token_file {file} holds no token, expected one word; correct it.")
    return token
