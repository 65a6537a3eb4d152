"""A repository becomes a model of the site: read, described, and written to the site's file."""

from __future__ import annotations

import re
from pathlib import Path

from ingot.catalog import load_models, site
from ingot.engines.registry import registry
from ingot.errors import IngotError
from ingot.hub.client import Hub
from ingot.hub.describe import Described, describe, kind_named
from ingot.hub.fleet import token_of
from ingot.hub.places import InDirectory, OnHub, Place
from ingot.sizing import CatalogError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
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
    if name is not None and not _NAME.fullmatch(name):
        raise IngotError(f"--name is {name!r}, expected letters, digits, dots and dashes: correct it.")
    place: Place = OnHub(Hub(hub, token_of(token_file)))
    if Path(repository).is_dir():
        repository, place = str(Path(repository).resolve()), InDirectory()
    elif not _REPOSITORY.fullmatch(repository):
        raise IngotError(f"{repository!r} is no directory here and no ORG/NAME of a hub; correct it.")
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
