"""Model weights on a host: fetched or pushed, verified file by file, published whole, and then left alone."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from pyinfra.api.command import FileUploadCommand, PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from ingot.errors import IngotError
from ingot.facts.models import MARKER, Fetched, ModelDirectory, Models, Room, Text
from ingot.operations import changes, detached, planning
from ingot.operations.refuse import refuse
from ingot.sizing import Variant

SCRIPT = (files(__package__) / "models.sh").read_text()
MANIFEST = "ingot-manifest.json"
#: What an engine reads of a repository. No Python, no pickles: loading those runs code.
ALLOWED = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja", ".tiktoken"})
#: A second copy of the weights in another layout, which some repositories carry beside the usual one.
SECOND_COPY = re.compile(r"consolidated.*\.safetensors(\.index\.json)?")
#: Part of the file system that stays free beside a model.
SPARE = 0.10
#: How long a run waits for one model, seconds.
LIMIT_S = 6 * 3600

Commands = Generator[PyinfraCommand, None, None]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a manifest: its size, the digest it must have (sha256, or the id git gives it), where to get it."""

    path: str
    bytes: int
    sha256: str | None
    git_sha1: str | None = None
    url: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model directory as it shall be: `{root}/{model}/{variant}/{revision}`."""

    model: str
    variant: Variant
    root: str

    @property
    def target(self) -> str:
        """Where it lies on the host."""
        return f"{self.root}/{self.model}/{self.variant.directory}"

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.model} ({self.variant.name})"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a variant comes from. `kind` is hub, mirror or push; `base` its address or a directory of this machine."""

    kind: str
    base: str


def origin(sources: Mapping[str, Any], wanted: Wanted) -> Origin:
    """The origin of a variant: a repository that is a path is pushed from there, others come from the source.

    Raises: IngotError, one sentence.
    """
    source, variant = sources.get("models") or {}, wanted.variant
    kind, repository = source.get("kind", "mirror"), variant.repository
    if kind not in ("hub", "mirror", "push") or not source.get("uri"):
        raise IngotError(
            f'sources["models"] is {source}, expected `uri` and `kind` ("hub", "mirror" or "push"); see group_data.'
        )
    if not variant.revision or (kind == "hub" and not re.fullmatch(r"[0-9a-f]{40}", variant.revision)):
        raise IngotError(
            f"{wanted.label} has revision {variant.revision!r}, expected a commit of 40 hex digits, since what is "
            f"served must not change by itself; choose one of {repository} and give it in `site_models`."
        )
    base = str(source["uri"]).rstrip("/")
    if repository.startswith("/"):
        return Origin("push", repository)
    if kind == "hub":
        return Origin("hub", f"{base}/{repository}")
    return Origin(kind, f"{base}/{repository}/{variant.revision}")


def manifest_url(place: Origin, wanted: Wanted) -> str:
    """The address that lists the files of a hub repository or of a mirror's directory."""
    if place.kind == "hub":
        base = place.base.removesuffix(f"/{wanted.variant.repository}")
        return f"{base}/api/models/{wanted.variant.repository}/revision/{wanted.variant.revision}?blobs=true"
    return f"{place.base}/{MANIFEST}"


def parse_manifest(text: str, place: Origin, revision: str) -> tuple[ModelFile, ...]:
    """The files that a manifest lists, ours or the hub's answer for a commit.

    Raises: IngotError when it is not one, or is for another commit.
    """
    try:
        stored = json.loads(text)
        if place.kind != "hub":
            return tuple(
                ModelFile(one["path"], int(one["bytes"]), str(one["sha256"]), url=f"{place.base}/{one['path']}")
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
                f"{place.base}/resolve/{revision}/{one['rfilename']}",
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
            found.append(ModelFile(str(path.relative_to(directory)), path.stat().st_size, digest, url=str(path)))
    return tuple(found)


def chosen(listed: Iterable[ModelFile], label: str) -> tuple[ModelFile, ...]:
    """The files that an engine needs: weights of the root in one layout, and small files of kinds without code.

    Raises: IngotError for a path that would leave the directory, and for a model without safetensors.
    """
    every = tuple(listed)
    for one in every:
        path = PurePosixPath(one.path)
        if path.is_absolute() or ".." in path.parts or not re.fullmatch(r"[\w.+=@/-]+", one.path, re.ASCII):
            raise IngotError(f"{label} lists the file {one.path!r}, expected a plain relative path; refuse its source.")
    usual = any(re.fullmatch(r"model.*\.safetensors", one.path) for one in every)
    taken = tuple(
        one
        for one in every
        if PurePosixPath(one.path).suffix in ALLOWED
        and PurePosixPath(one.path).name not in (MANIFEST, MARKER)
        and not (one.path.endswith(".safetensors") and "/" in one.path)
        and not (usual and SECOND_COPY.fullmatch(one.path))
    )
    if not any(one.path.endswith(".safetensors") for one in taken):
        others = sorted({PurePosixPath(one.path).suffix or one.path for one in every})
        raise IngotError(
            f"{label} has no .safetensors weights (only {', '.join(others) or 'nothing'}), expected them since other "
            "formats can run code when loaded; choose a variant that has them."
        )
    return taken


def trouble(found: ModelDirectory) -> str | None:
    """Why a directory is not as it was verified, without reading its files; None when it is."""
    if not found.entries:
        return "not there yet"
    if found.verified is None:
        return "never verified"
    known = {one.path: one for one in found.verified}
    for path, verified in known.items():
        now = found.entries.get(path)
        if now is None:
            return f"{path} is missing"
        if now.kind != "f" or (now.bytes, now.mtime) != (verified.bytes, verified.mtime):
            return f"{path} changed since it was verified"
    for path, now in found.entries.items():
        if now.kind != "d" and path not in known and path != MARKER:
            return f"{path} does not belong there"
    return None


def missing_bytes(listed: Iterable[ModelFile], found: ModelDirectory) -> int:
    """How much the file system must still take, given what is there and what an interrupted transfer left."""

    def present(one: ModelFile) -> int:
        names = (one.path, f"{one.path}.part")
        sizes = (
            tree[name].bytes for tree in (found.entries, found.incomplete) for name in names if name in tree
        )  # fmt: skip
        return min(max(sizes, default=0), one.bytes)

    return sum(one.bytes - present(one) for one in listed)


def no_room(label: str, root: str, needed: int, count: int, room: Room) -> str | None:
    """The sentence that refuses a model for want of space or inodes; None when it fits with something to spare."""
    if needed and needed * (1 + SPARE) > room.free_bytes:
        return (
            f"{label} needs {needed * (1 + SPARE) / 1e9:.1f} GB at {root} (10 % to spare), {room.free_bytes / 1e9:.1f} "
            f"GB are free there (mounted at {room.mount}); free some, or set cache_root to a larger file system."
        )
    if needed and room.free_inodes is not None and count * 2 > room.free_inodes:
        return (
            f"{label} needs {count * 2} inodes at {root}, {room.free_inodes} are free there (mounted at {room.mount}); "
            "delete small files, or set cache_root to another file system."
        )
    return None


def plan_text(host_name: str, wanted: Wanted, listed: Iterable[ModelFile], found: ModelDirectory) -> str:
    """The plan that `models.sh` follows."""
    verified = {one.path: one for one in found.verified or ()}
    lines = [f"host\t{host_name}", f"root\t{wanted.root}", f"target\t{wanted.target}"]
    for one in listed:
        before, now = verified.get(one.path), found.entries.get(one.path)
        kept = bool(before and now and now.kind == "f" and (now.bytes, now.mtime) == (before.bytes, before.mtime))
        sha256 = before.sha256 if before and kept else one.sha256
        fields = (one.path, one.bytes, sha256 or "-", one.git_sha1 or "-", "yes" if kept else "no", one.url)
        lines.append("\t".join(["file", *map(str, fields)]))
    return "\n".join([*lines, ""])


def progress(wanted: Wanted, listed: Iterable[ModelFile]) -> str:
    """A shell snippet that prints how much of the model is there."""
    target, total = shlex.quote(wanted.target), sum(one.bytes for one in listed) // 10**6
    return (
        f'd={target}.incomplete; [ -d "$d" ] || d={target}; '
        f'echo "{wanted.label}: $(($(du -sb "$d" | cut -f1) / 1000000)) of {total} MB"'
    )


def wanted_models(root: str, planned: planning.Planned) -> tuple[Wanted, ...]:
    """The variants that the plan's replicas serve, each once."""
    found: dict[tuple[str, str], Wanted] = {}
    for replica in planned.plan.replicas:
        variant = next(one for one in planned.models[replica.model].variants if one.name == replica.variant)
        found.setdefault((replica.model, replica.variant), Wanted(replica.model, variant, root))
    return tuple(found.values())


class Hidden(str):
    """Text for a standard input: pyinfra logs a fact's arguments, and shows this one masked."""

    __slots__ = ()

    def __str__(self) -> str:
        return "*MASKED*"

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return str(self)


def _token() -> str:
    """curl's option with the hub token, or nothing. Raises: IngotError when its file is missing or empty."""
    path = host.data.cache_hub_token_file
    if not path:
        return ""
    try:
        token = Path(path).expanduser().read_text().strip()
    except OSError as error:
        raise IngotError(f"cache_hub_token_file {path} cannot be read ({error.strerror}); correct it.") from None
    if not re.fullmatch(r"[\w.-]+", token):
        raise IngotError(f"cache_hub_token_file {path} holds no token, expected one word; correct it.")
    return Hidden(f'header = "Authorization: Bearer {token}"\n')


def _listed(wanted: Wanted, place: Origin, token: str) -> tuple[ModelFile, ...]:
    """The files to have. Raises: IngotError."""
    if place.kind == "push":
        return chosen(local_manifest(Path(place.base)), wanted.label)
    url = manifest_url(place, wanted)
    answer: Fetched = host.get_fact(Text, url=url, _stdin=token) if token else host.get_fact(Text, url=url)
    if answer.text is None:
        raise IngotError(
            f"the list of files of {wanted.label} at {url} could not be read ({answer.error}); check "
            'sources["models"], the revision, and cache_hub_token_file where the model is gated.'
        )
    return chosen(parse_manifest(answer.text, place, wanted.variant.revision or ""), wanted.label)


def _pushed(
    wanted: Wanted, listed: Sequence[ModelFile], found: ModelDirectory
) -> Generator[PyinfraCommand, None, tuple[ModelFile, ...]]:
    """Upload what the host lacks, as the user who logs in (root would copy every file once more)."""
    incoming = f"{wanted.target}.incoming"
    quoted = shlex.quote(incoming)
    yield StringCommand(
        f"mkdir -p {shlex.quote(str(PurePosixPath(incoming).parent))} && "
        f'install -d -m 0700 -o "${{SUDO_USER:-root}}" {quoted}'
    )
    sent = []
    for index, one in enumerate(listed):
        now = found.entries.get(one.path) or found.incomplete.get(one.path)
        if now is None or now.bytes != one.bytes:
            name = str(index)
            arrived = found.incoming.get(name)
            if arrived is None or arrived.bytes != one.bytes:
                yield FileUploadCommand(one.url, f"{incoming}/{name}", _sudo=False)
        sent.append(replace(one, url=f"move:{incoming}/{index}"))
    return tuple(sent)


@operation()
def cached() -> Commands:
    """
    Have the weights of the host's plan below `cache_root`, verified; nothing is read again while nothing changed.

    A variant comes from the hub (a pinned commit), a mirror with manifests, or a directory of this machine. Space
    is checked first, transfers resume, a corrupt file is set aside and fetched once more, and the directory
    appears under its name only when all of it is verified.
    """
    data = host.data
    try:
        directories = wanted_models(data.cache_root, planning.host_plan())
        token = _token()
    except IngotError as error:
        yield refuse(str(error) if str(error).startswith(f"{host.name}:") else f"{host.name}: {error}")
        return
    state = host.get_fact(Models, root=data.cache_root, targets=[one.target for one in directories])
    pending = [(one, why) for one in directories if (why := trouble(state.directories[one.target]))]
    if not pending:
        host.noop(f"{', '.join(one.label for one in directories)} verified in {data.cache_root}")
        return
    for wanted, why in pending:
        found = state.directories[wanted.target]
        try:
            place = origin(data.sources, wanted)
            listed = _listed(wanted, place, token)
            needed = missing_bytes(listed, found)
            refused = no_room(wanted.label, data.cache_root, needed, len(listed), state.room)
            if refused:
                raise IngotError(refused)
        except IngotError as error:
            yield refuse(f"{host.name}: {error}")
            return
        how = {"hub": "fetch", "mirror": "fetch", "push": "push"}[place.kind]
        changes.announce([f"{how} {wanted.label} from {place.base}: {needed / 1e9:.2f} GB to {wanted.target} ({why})"])
        if place.kind == "push":
            listed = yield from _pushed(wanted, listed, found)
        members = {
            "plan": plan_text(host.name, wanted, listed, found),
            "progress": progress(wanted, listed),
            "curl": token,
        }
        yield from detached.commands("ingot-models", SCRIPT, members, LIMIT_S)
