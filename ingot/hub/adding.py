"""A repository becomes a model of the site: read, described, and written to the site's file."""

from __future__ import annotations

from pathlib import Path

from ingot.catalog import load_models, site
from ingot.engines.registry import registry
from ingot.errors import IngotError
from ingot.hub.client import Hub
from ingot.hub.describe import Described, describe, kind_named
from ingot.hub.fleet import token_of
from ingot.hub.places import InDirectory, OnHub, Place
from ingot.sizing import CatalogError

#: The newest engine whose names are known: a host's own is looked at when the model is to be served.
NEWEST = "999"


def add_to(
    file: Path,
    repository: str,
    *,
    name: str | None,
    revision: str | None,
    kind: str | None,
    hub: str,
    token_file: str | None,
    replace: bool,
) -> Described:
    """Describe a repository and write it to a site's file. Raises: IngotError; then nothing is written."""
    place: Place = OnHub(Hub(hub, token_of(token_file)))
    if Path(repository).is_dir():
        repository, place = str(Path(repository).resolve()), InDirectory()
    described = describe(place, repository, registry(NEWEST), name=name, revision=revision, kind=kind_named(kind))
    try:
        entries = dict(site.read(file))
        if described.name in entries and not replace:
            raise IngotError(
                f"{file} has a model {described.name} already; pass --replace to write over it, or --name for another."
            )
        if described.name not in entries and described.name in load_models():
            raise IngotError(f"the catalog has a model {described.name} already; pass --name for another.")
        entries[described.name] = described.entry
        load_models(entries)
    except CatalogError as error:
        raise IngotError(str(error)) from error
    _replace(file, site.write(entries))
    return described


def _replace(file: Path, content: str) -> None:
    """Write a file in one step: readers see the old content or the new."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.new")
    beside.write_text(content, encoding="utf-8")
    beside.replace(file)
