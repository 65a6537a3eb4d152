"""Model weights on a host: fetched or pushed, verified file by file, published whole, and then left alone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path, PurePosixPath

from pyinfra.api.command import FileUploadCommand, PyinfraCommand, StringCommand
from pyinfra.context import host
from pyinfra.context import state as run

from ingot.catalog.lock import Lock
from ingot.errors import IngotError
from ingot.facts.models import (
    DAMAGE,
    MADE,
    MARKER,
    Fetched,
    ModelDirectory,
    Models,
    ModelsState,
    Room,
    SameFiles,
    Text,
    Verified,
)
from ingot.operations import changes, detached, proxy
from ingot.operations.hidden import Hidden
from ingot.operations.operation import operation
from ingot.operations.serving import planning
from ingot.operations.serving.beside import Weights, owners
from ingot.operations.standing import standing
from ingot.operations.weights import peers
from ingot.operations.weights.manifest import (
    ModelFile,
    Origin,
    chosen,
    local_manifest,
    manifest_url,
    origins,
    parse_manifest,
)
from ingot.secrets import hub_token
from ingot.settings import of_host
from ingot.settings.cache import Cache

SCRIPT = (files(__package__) / "models.sh").read_text()
#: Part of the file system that stays free beside a model.
SPARE = 0.10
#: How long a run waits for one model, seconds.
LIMIT_S = 6 * 3600

#: The unit that fetches one model, and the one of transfers that began early (transfers.py).
UNIT = "ingot-models"
TRANSFERS = "ingot-transfers"

Commands = Generator[PyinfraCommand, None, None]
#: Files of other model directories, by digest.
Same = Mapping[str, Sequence[str]]
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A directory of weights as it shall be: `{root}/{model}/{variant}/{revision}`, a draft's and an adapter's too."""

    model: str
    variant: Weights
    root: str

    @property
    def target(self) -> str:
        """Where it lies on the host."""
        return f"{self.root}/{self.model}/{self.variant.directory}"

    @property
    def file(self) -> str | None:
        """The one GGUF file that it is, where it is one."""
        return getattr(self.variant, "file", None)

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.model} ({self.variant.name})"


def is_proof(verified: Verified, wanted: ModelFile) -> bool:
    """Whether a file that was verified is the one that is wanted: its digest is, not only its place and size."""
    if verified.bytes != wanted.bytes:
        return False
    if wanted.sha256:
        return verified.sha256 == wanted.sha256
    return verified.git_sha1 == wanted.git_sha1


def trouble(found: ModelDirectory, listed: Iterable[ModelFile] | None = None) -> str | None:
    """Why a directory is not as it was verified, or not what is wanted, without reading its files; None when it is.

    `listed` are the files of the lock; None where there is no lock.
    """
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
    for path, damage in found.damaged.items():
        return f"{path} {damage.why}, found {damage.since}"
    wanted = None if listed is None else {one.path: one for one in listed}
    for path, now in found.entries.items():
        if now.kind != "d" and path not in (known if wanted is None else wanted) and path not in (MARKER, MADE):
            return f"{path} does not belong there"
    for path, one in (wanted or {}).items():
        if path not in known:
            return f"{path} is missing"
        if not (one.sha256 or known[path].git_sha1):
            return f"{path} was not yet compared with the lock"
        if not is_proof(known[path], one):
            return f"{path} is another file than the lock has"
    return None


def off_its_mount(values: Cache, room: Room) -> str | None:
    """The sentence that refuses to write where the disk that is meant for models is not mounted."""
    if values.cache_mount is None or room.mount == values.cache_mount.rstrip("/"):
        return None
    return (
        f"cache_root ({values.cache_root}) lies on {room.mount}, expected {values.cache_mount} mounted there; mount "
        "it, or correct cache_mount."
    )


def in_the_way(wanted: Wanted, found: ModelDirectory) -> str | None:
    """The sentence that refuses a model whose transfers would meet somebody else's files; None where they do not."""
    for suffix, there in (("incomplete", found.incomplete), ("incoming", found.incoming)):
        if there and MADE not in there:
            return (
                f"{wanted.target}.{suffix} was not made by Ingot (it holds no {MADE}), expected nothing there; "
                "move it away."
            )
    return None


def same_files(wanted: Wanted, listed: Iterable[ModelFile]) -> Same:
    """What other model directories of the host in context have of these files, by digest: they can share it."""
    digests = sorted({one.sha256 for one in listed if one.sha256 and SHA256.fullmatch(one.sha256)})
    found: Same = host.get_fact(SameFiles, root=wanted.root, but=wanted.target, digests=digests) if digests else {}
    return found


def missing_bytes(listed: Iterable[ModelFile], found: ModelDirectory, same: Same | None = None) -> int:
    """How much the file system must still take, given what is there, what an interrupted transfer left, and what other
    directories have."""

    def present(one: ModelFile) -> int:
        names = (one.path, f"{one.path}.part")
        sizes = (
            tree[name].bytes for tree in (found.entries, found.incomplete) for name in names if name in tree
        )  # fmt: skip
        return min(max(sizes, default=0), one.bytes)

    return sum(one.bytes - present(one) for one in listed if one.sha256 not in (same or {}))


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


def refusal(
    values: Cache,
    wanted: Wanted,
    listed: Sequence[ModelFile],
    found: ModelDirectory,
    room: Room,
    same: Same | None = None,
) -> str | None:
    """The sentence on why a model may not be brought to where it belongs; None where it may."""
    return (
        off_its_mount(values, room)
        or in_the_way(wanted, found)
        or no_room(wanted.label, values.cache_root, missing_bytes(listed, found, same), len(listed), room)
    )


def unverified(directories: Iterable[Wanted], state: ModelsState, lock: Lock | None) -> list[tuple[Wanted, str]]:
    """The directories that are not as they were verified, or not what the lock has, each with why.

    Raises: IngotError for what the lock does not have.
    """
    locked = {one.target: locked_files(one, lock) if lock else None for one in directories}
    return [(one, why) for one in directories if (why := trouble(state.directories[one.target], locked[one.target]))]


def plan_text(
    host_name: str,
    wanted: Wanted,
    sources: Iterable[Origin],
    listed: Iterable[ModelFile],
    found: ModelDirectory,
    waived: Mapping[str, str] | None = None,
    bandwidth_mb_s: int | None = None,
    peers: str = "",
    same: Same | None = None,
) -> str:
    """The plan that `models.sh` follows; `waived` are digests, by path, of files that may name code, `peers` the lines
    about other hosts (peers.py), `same` what other directories have."""
    verified = {one.path: one for one in found.verified or ()}
    lines = [f"host\t{host_name}", f"root\t{wanted.root}", f"target\t{wanted.target}", f"damage\t{DAMAGE}"]
    lines += [f"repository\t{wanted.variant.repository}"]
    lines += [f"bandwidth\t{bandwidth_mb_s}000000"] if bandwidth_mb_s else []
    lines += [f"waived\t{path}\t{sha256}" for path, sha256 in (waived or {}).items()]
    lines += peers.splitlines()
    lines += [f"same\t{sha256}\t{path}" for sha256, paths in (same or {}).items() for path in paths]
    lines += [f"source\t{one.kind}\t{one.below(wanted.variant.revision)}" for one in sources]
    for one in listed:
        before, now = verified.get(one.path), found.entries.get(one.path)
        kept = (
            before is not None
            and now is not None
            and now.kind == "f"
            and (now.bytes, now.mtime) == (before.bytes, before.mtime)
            and one.path not in found.damaged
            and is_proof(before, one)
        )
        sha256 = before.sha256 if before and kept else one.sha256
        fields = (one.path, one.bytes, sha256 or "-", one.git_sha1 or "-", "yes" if kept else "no")
        lines.append("\t".join(["file", *map(str, fields)]))
    return "\n".join([*lines, ""])


def progress(wanted: Wanted, listed: Iterable[ModelFile]) -> str:
    """A shell snippet that prints how much of the model is there, how fast it comes, and how long it will take."""
    target, total = shlex.quote(wanted.target), sum(one.bytes for one in listed) // 10**6
    return (
        f'd={target}.incomplete; [ -d "$d" ] || d={target}; now=$(date +%s); '
        # What a swarm brings has its full length from the start, and holes.
        'whole=$(du -sb --exclude="*.swarm" "$d" | cut -f1); '
        'parts=$(find "$d" -name "*.swarm" -printf "%b\\n" | awk "{ s += \\$1 * 512 } END { print s + 0 }"); '
        'mb=$(((whole + parts) / 1000000)); [ -s "$1/began" ] || echo "$now $mb" >"$1/began"; '
        'read -r since first <"$1/began"; rate=$(((mb - first) / (now > since ? now - since : 1))); '
        f'printf "%s: %s of {total} MB" {shlex.quote(wanted.label)} "$mb"; [ "$rate" -le 0 ] || '
        f'printf ", %s MB/s, %s min left" "$rate" "$((({total} - mb) / rate / 60 + 1))"; echo'
    )


def wanted_models(root: str, planned: planning.Planned) -> tuple[Wanted, ...]:
    """The variants that the plan's replicas serve, each once, and what lies beside them."""
    found: dict[tuple[str, str], Wanted] = {}
    for replica in planned.plan.replicas:
        variant = next(one for one in planned.models[replica.model].variants if one.name == replica.variant)
        found.setdefault((replica.model, replica.variant), Wanted(replica.model, variant, root))
    for request in planned.served:
        for name, one in owners(request):
            found.setdefault((name, one.name), Wanted(name, one, root))
    return tuple(found.values())


def curl_token(file: str | None) -> str:
    """curl's option with the hub token, or nothing. Raises: IngotError when its file is missing or empty."""
    return Hidden(f'header = "Authorization: Bearer {hub_token.read(file)}"\n') if file else ""


def listed_files(wanted: Wanted, places: Sequence[Origin], token: str, lock: Lock | None) -> tuple[ModelFile, ...]:
    """The files of a variant: the lock's, else those that the first place lists that answers. Raises: IngotError."""
    if lock is not None:
        return locked_files(wanted, lock)
    failed = []
    for place in places:
        if place.kind == "push":
            return chosen(local_manifest(Path(place.base)), wanted.label, wanted.file)
        url = manifest_url(place, wanted.variant)
        answer: Fetched = host.get_fact(Text, url=url, **proxy.asking(token if place.kind == "hub" else ""))
        if answer.text is not None:
            return chosen(parse_manifest(answer.text, place, wanted.variant.revision or ""), wanted.label, wanted.file)
        failed.append(f"{url} could not be read ({answer.error})")
    raise IngotError(
        f"the list of files of {wanted.label} at {'; '.join(failed)}; check "
        'sources["models"], the revision, and cache_hub_token_file where the model is gated.'
    )


def locked_files(wanted: Wanted, lock: Lock) -> tuple[ModelFile, ...]:
    """The files of a lock. Raises: IngotError for what the lock does not have."""
    files = lock.files(wanted.variant.repository, wanted.variant.revision)
    if files is None:
        raise IngotError(
            f"{wanted.label} ({wanted.variant.repository} at {wanted.variant.revision}) is not in the lock of models, "
            "and deploys take nothing else; run `ingot models lock`."
        )
    return chosen(
        (ModelFile(one.path, one.bytes, one.sha256, one.git_sha1) for one in files), wanted.label, wanted.file
    )


def _pushed(
    wanted: Wanted, source: Origin, listed: Sequence[ModelFile], found: ModelDirectory
) -> Generator[PyinfraCommand, None, Origin]:
    """Upload what the host lacks, as the user who logs in (root would copy every file once more): where it lies then,
    each file under its place in the list."""
    incoming = f"{wanted.target}.incoming"
    quoted = shlex.quote(incoming)
    yield StringCommand(
        f"mkdir -p {shlex.quote(str(PurePosixPath(incoming).parent))} && "
        f'install -d -m 0700 -o "${{SUDO_USER:-root}}" {quoted} && '
        f"printf '%s\\n' {shlex.quote(wanted.target)} >{quoted}/{MADE}"
    )
    for index, one in enumerate(listed):
        now = found.entries.get(one.path) or found.incomplete.get(one.path)
        if now is None or now.bytes != one.bytes:
            name = str(index)
            arrived = found.incoming.get(name)
            if arrived is None or arrived.bytes != one.bytes:
                yield FileUploadCommand(one.here or f"{source.base}/{one.path}", f"{incoming}/{name}", _sudo=False)
    return replace(source, base=incoming)


@operation()
def cached() -> Commands:
    """
    Have the weights of the host's plan below `cache_root`, verified; nothing is read again while nothing changed.

    A variant comes from the hub (a pinned commit), a mirror with manifests, or a directory of this machine; with a lock
    of models its files are the lock's. Space
    is checked first, transfers resume, a corrupt file is set aside and fetched once more, and the directory
    appears under its name only when all of it is verified.
    """
    values = of_host(host)
    if missing := values.without_lock():
        raise IngotError(f"{missing}.")
    directories = wanted_models(values.cache_root, planning.host_plan())
    token, lock = curl_token(values.cache_hub_token_file), values.lock
    state = standing(host, Models, root=values.cache_root, targets=[one.target for one in directories])
    pending = unverified(directories, state, lock)
    if run.is_executing and (pending or detached.is_begun(TRANSFERS)):
        # What began to travel under the roles before is waited for, and says what went wrong on its way.
        yield from detached.joined(TRANSFERS, LIMIT_S)
        state = standing(host, Models, root=values.cache_root, targets=[one.target for one in directories])
        pending = unverified(directories, state, lock)
    if not pending:
        host.noop(f"{', '.join(one.label for one in directories)} verified in {values.cache_root}")
        return
    if values.cache_disk and not run.is_executing and off_its_mount(values, state.room):
        changes.announce([f"fetch {', '.join(one.label for one, _ in pending)} once their disk is mounted"])
        return
    for wanted, why in pending:
        found = state.directories[wanted.target]
        places = origins(values.sources.of_models, wanted.variant, wanted.label)
        listed = listed_files(wanted, places, token, lock)
        # What is pushed is uploaded before the host's script sees to it.
        same = same_files(wanted, listed) if places[0].kind != "push" else {}
        needed = missing_bytes(listed, found, same)
        if refused := refusal(values, wanted, listed, found, state.room, same):
            raise IngotError(refused)
        how = {"hub": "fetch", "mirror": "fetch", "push": "push"}[places[0].kind]
        where = " or ".join(one.base for one in places)
        changes.announce([f"{how} {wanted.label} from {where}: {needed / 1e9:.2f} GB to {wanted.target} ({why})"])
        if places[0].kind == "push":
            places = ((yield from _pushed(wanted, places[0], listed, found)),)
        waived = values.models_waived.get(wanted.variant.repository)
        members = {
            "plan": plan_text(
                host.name, wanted, places, listed, found, waived, values.cache_bandwidth_mb_s, peers.known(values), same
            ),
            "progress": progress(wanted, listed),
            "curl": token,
            **proxy.members(),
        }
        yield from detached.commands(UNIT, SCRIPT, members, LIMIT_S)
