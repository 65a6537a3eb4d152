"""Where a model's files come from, and which of them an engine needs: all decided before anything is fetched."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ingot.errors import IngotError
from ingot.facts.models import MARKER
from ingot.operations.serving.beside import Weights
from ingot.settings.sources import Models
from ingot.sizing import SizingError
from ingot.sizing.gguf.parts import part_names

MANIFEST = "ingot-manifest.json"
#: Files of a repository that an engine reads. No Python and no pickles, since loading these runs code.
ALLOWED = frozenset({".safetensors", ".gguf", ".json", ".txt", ".model", ".jinja", ".tiktoken"})
#: A second copy of the weights in another layout, which some repositories carry beside the usual one.
SECOND_COPY = re.compile(r"consolidated.*\.safetensors(\.index\.json)?")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file as it must be: its size and its digest (sha256, or the id git gives it); `here` is where this machine has
    it, for one that is pushed."""

    path: str
    bytes: int
    sha256: str | None
    git_sha1: str | None = None
    here: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a variant comes from. `kind` is hub, mirror or push; `base` its address or a directory of this machine."""

    kind: str
    base: str

    def below(self, revision: str | None) -> str:
        """The address that the paths of its files follow."""
        return f"{self.base}/resolve/{revision}" if self.kind == "hub" else self.base


def origins(sources: Iterable[Models], variant: Weights, label: str) -> tuple[Origin, ...]:
    """Where a variant comes from, in the order in which the places are asked.

    Raises: IngotError, one sentence.
    """
    return tuple(dict.fromkeys(origin(source, variant, label) for source in sources))


def origin(source: Models, variant: Weights, label: str) -> Origin:
    """The origin of a variant: a repository that is a path is pushed from there, others come from the source.

    Raises: IngotError, one sentence.
    """
    kind, repository = source.kind, variant.repository
    if not variant.revision or (kind == "hub" and not re.fullmatch(r"[0-9a-f]{40}", variant.revision)):
        raise IngotError(
            f"{label} has revision {variant.revision!r}, expected a commit of 40 hex digits, since what is "
            f"served must not change by itself; run `ingot models lock`."
        )
    base = source.uri.rstrip("/")
    if repository.startswith("/"):
        return Origin("push", repository)
    if kind == "hub":
        return Origin("hub", f"{base}/{repository}")
    return Origin(kind, f"{base}/{repository}/{variant.revision}")


def manifest_url(place: Origin, variant: Weights) -> str:
    """The address that lists the files of a hub repository or of a mirror's directory."""
    if place.kind == "hub":
        base = place.base.removesuffix(f"/{variant.repository}")
        return f"{base}/api/models/{variant.repository}/revision/{variant.revision}?blobs=true"
    return f"{place.base}/{MANIFEST}"


def parse_manifest(text: str, place: Origin, revision: str) -> tuple[ModelFile, ...]:
    """The files that a manifest lists, ours or the hub's answer for a commit.

    Raises: IngotError when it is not one, or is for another commit.
    """
    try:
        stored = json.loads(text)
        if place.kind != "hub":
            return tuple(
                ModelFile(
                    one["path"],
                    int(one["bytes"]),
                    str(one["sha256"]),
                    here=f"{place.base}/{one['path']}" if place.kind == "push" else "",
                )
                for one in stored["files"]
            )
        if stored["sha"] != revision:
            raise IngotError(f"{place.base} answered with commit {stored['sha']}, expected {revision}.")
        return tuple(
            ModelFile(
                one["rfilename"],
                int(one["size"]),
                one["lfs"]["sha256"] if one.get("lfs") else None,
                one["blobId"],
            )
            for one in stored["siblings"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise IngotError(f"what {place.base} lists is not a manifest ({error!r}); check its source.") from None


def local_manifest(directory: Path) -> tuple[ModelFile, ...]:
    """The files of a directory on this machine, from its manifest where it has one, else read and hashed.

    Raises: IngotError when there is no such directory.
    """
    if not directory.is_dir():
        raise IngotError(f"{directory} is not on this machine, expected the model's files there; put them there.")
    place = Origin("push", str(directory))
    if (directory / MANIFEST).is_file():
        return parse_manifest((directory / MANIFEST).read_text(), place, "")
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and path.suffix in ALLOWED:
            with path.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            found.append(ModelFile(str(path.relative_to(directory)), path.stat().st_size, digest, here=str(path)))
    return tuple(found)


def chosen(
    listed: Iterable[ModelFile], label: str, file: str | None = None, *, gguf: bool = False
) -> tuple[ModelFile, ...]:
    """The files that an engine needs: weights of the root in one layout, and small files of kinds without code.

    `file` is the one GGUF file that is wanted, or the first part of a set, all of which are wanted, and nothing else
    then; `gguf`: of a repository without safetensors, all of its GGUF files are meant.

    Raises: IngotError for a path that would leave the directory, a file or a part that is missing, and for a model
    without safetensors.
    """
    every = tuple(listed)
    for one in every:
        path = PurePosixPath(one.path)
        if path.is_absolute() or ".." in path.parts or not re.fullmatch(r"[\w.+=@/-]+", one.path, re.ASCII):
            raise IngotError(f"{label} lists the file {one.path!r}, expected a plain relative path; refuse its source.")
    if file is not None:
        return _parts(every, label, file)
    if gguf and not any(one.path.endswith(".safetensors") for one in every):
        files = tuple(one for one in every if one.path.endswith(".gguf"))
        if files:
            return files
    usual = any(re.fullmatch(r"model.*\.safetensors", one.path) for one in every)
    taken = tuple(
        one
        for one in every
        if PurePosixPath(one.path).suffix in ALLOWED
        and PurePosixPath(one.path).name not in (MANIFEST, MARKER)
        and not (one.path.endswith(".safetensors") and "/" in one.path)
        and not (usual and SECOND_COPY.fullmatch(one.path))
        and not one.path.endswith(".gguf")
    )
    if not any(one.path.endswith(".safetensors") for one in taken):
        others = sorted({PurePosixPath(one.path).suffix or one.path for one in every})
        raise IngotError(
            f"{label} has no .safetensors weights (only {', '.join(others) or 'nothing'}), expected them since other "
            "formats can run code when loaded; choose a variant that has them."
        )
    return taken


def _parts(every: Sequence[ModelFile], label: str, first: str) -> tuple[ModelFile, ...]:
    """A GGUF file, with the other parts of its set where it begins one. Raises: IngotError."""
    try:
        names = part_names(first)
    except SizingError as error:
        raise IngotError(f"{label}: {error}") from None
    there = {one.path: one for one in every}
    missing = [name for name in names if name not in there]
    if missing:
        part = f", one of the {len(names)} parts of {first}," if len(names) > 1 else ""
        raise IngotError(f"{label} has no file {missing[0]}{part} at this commit; correct the variant's `file`.")
    return tuple(there[name] for name in names)
