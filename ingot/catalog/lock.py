"""models.lock.yaml: which commit of each repository an inventory serves, with its files, sizes and digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ingot.catalog.models_by_name import Models
from ingot.sizing.errors import CatalogError
from ingot.sizing.request import Model

SCHEMA = 1
#: What confirms the shapes of a model that was locked.
COMPARED = "its own config.json, compared when it was locked"
HEAD = (
    "# Written by `ingot models lock`: deploys take these commits and files and no others. Keep it in git.\n"
    "# `ingot models lock --update` shows what moved at the hub since, and takes it.\n"
)


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A file of a commit: its path, size, and SHA-256 or the id that git gives it."""

    path: str
    bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


@dataclass(frozen=True, slots=True)
class Locked:
    """A repository at one commit, with the files that an engine needs of it."""

    repository: str
    commit: str
    files: tuple[LockedFile, ...]

    @property
    def weight_bytes(self) -> int:
        """The size of its weight files."""
        return sum(one.bytes for one in self.files if one.path.endswith(".safetensors"))

    @property
    def bytes(self) -> int:
        """The size of all its files."""
        return sum(one.bytes for one in self.files)


@dataclass(frozen=True, slots=True)
class Lock:
    """The repositories of an inventory by name; `hub` is where they were resolved."""

    hub: str
    repositories: Mapping[str, Locked]

    def files(self, repository: str, commit: str | None) -> Sequence[LockedFile] | None:
        """The files of a commit; None where the lock has another commit of the repository, or none."""
        found = self.repositories.get(repository)
        return found.files if found and found.commit == commit else None


def read(path: Path) -> Lock | None:
    """The lock in a file; None where there is no such file. Raises: CatalogError for a file that is no lock."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _read(path: Path, mtime_ns: int, size: int) -> Lock:
    try:
        stored = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if stored["schema"] != SCHEMA:
            raise CatalogError(f"{path} has schema {stored['schema']!r}, expected {SCHEMA}: run `ingot models lock`.")
        repositories = {name: _locked(name, one) for name, one in stored["repositories"].items()}
        return Lock(str(stored["hub"]), repositories)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CatalogError(
            f"{path} is no lock of models ({type(error).__name__}: {error}): take it from git, or remove it and run "
            "`ingot models lock`."
        ) from error


def _locked(name: str, stored: Mapping[str, Any]) -> Locked:
    files = tuple(
        LockedFile(str(one["path"]), int(one["bytes"]), one.get("sha256"), one.get("git_sha1"))
        for one in stored["files"]
    )
    if any(not (one.sha256 or one.git_sha1) for one in files):
        raise ValueError(f"a file of {name} has no digest")
    return Locked(name, str(stored["commit"]), files)


def write(lock: Lock) -> str:
    """A lock as its file holds it: a line a file, so that a change of one is one line of a diff."""
    stored = {
        name: {
            "commit": one.commit,
            "files": [{key: value for key, value in asdict(file).items() if value is not None} for file in one.files],
        }
        for name, one in sorted(lock.repositories.items())
    }
    content = {"schema": SCHEMA, "hub": lock.hub, "repositories": stored}
    return HEAD + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes each file on a line of its own."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        return super().represent_mapping(tag, mapping, flow_style="path" in mapping or None)


def pin(models: Mapping[str, Model], lock: Lock) -> Models:
    """The models at the lock's commits, each with the variants that the lock has; others are left as they are."""
    return Models(dict.fromkeys(models), lambda name: _pinned(models[name], lock) or models[name], {})


def unlocked(names: Iterable[str], models: Mapping[str, Model], lock: Lock) -> list[str]:
    """Those of the named models that the lock has no variant of."""
    return [name for name in names if name in models and _pinned(models[name], lock) is None]


def _pinned(model: Model, lock: Lock) -> Model | None:
    variants = []
    for variant in model.variants:
        found = lock.repositories.get(variant.repository)
        if found is not None:
            bytes_ = found.weight_bytes or variant.checkpoint_bytes
            variants.append(replace(variant, revision=found.commit, checkpoint_bytes=bytes_, verified=True))
    if not variants:
        return None
    speculation = model.speculation
    draft = lock.repositories.get(speculation.repository) if speculation and speculation.repository else None
    if speculation and draft:
        speculation = replace(speculation, revision=draft.commit)
    return replace(model, variants=tuple(variants), speculation=speculation, shapes=COMPARED)
