"""Models on a host that nothing needs any more: shown, and deleted where Ingot can prove that it made them."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host

from ingot.errors import IngotError
from ingot.facts.cache_contents import CacheContents, CacheDirectory, Contents
from ingot.facts.models import MADE, MARKER, QUARANTINE
from ingot.operations import changes
from ingot.operations.operation import operation
from ingot.operations.serving.beside import owners
from ingot.operations.serving.requests import requests
from ingot.settings import Settings, of_host


@dataclass(frozen=True, slots=True)
class Superfluous:
    """A directory that nothing needs, and why it is there."""

    directory: CacheDirectory
    why: str

    @property
    def sentence(self) -> str:
        """What is done with it."""
        return f"delete {self.directory.path} ({self.directory.bytes / 1e9:.2f} GB, {self.why})"


def superfluous(found: Contents, root: str, wanted: Collection[str]) -> list[Superfluous]:
    """The directories that may go, largest first; `wanted` are those that the next deploy would fetch or go on with."""
    gone = []
    for one in found.directories:
        if not one.is_ours:
            continue
        if one.path == f"{root.rstrip('/')}/{QUARANTINE}":
            gone.append(Superfluous(one, "files that were not what they should be"))
        elif one.path != one.made_as:
            if one.made_as not in wanted:
                gone.append(Superfluous(one, "left by a transfer that nothing goes on with"))
        elif one.path not in wanted and not any(_touches(one.path, path) for path in found.needed):
            gone.append(Superfluous(one, "no plan, no rollback and no container needs it"))
    return sorted(gone, key=lambda one: (-one.directory.bytes, one.directory.path))


def _touches(path: str, other: str) -> bool:
    """Whether one of two paths is the other, or lies in it."""
    a, b = f"{path.rstrip('/')}/", f"{other.rstrip('/')}/"
    return a.startswith(b) or b.startswith(a)


def wanted_directories(values: Settings, found: Contents) -> Iterator[str]:
    """Where the models of a host's values lie: the planned variants, or all of a model that is not planned yet."""
    if not values.serve:
        return
    root = values.cache_root
    planned = {model for model, _ in found.replicas}
    # What chooses by a host's GPUs may have chosen either.
    for request in (*requests(values), *requests(values, has_gpu=False)):
        name = request.model.name
        for variant in request.model.variants:
            if name not in planned or (name, variant.name) in found.replicas:
                yield f"{root}/{name}/{variant.directory}"
        yield from (f"{root}/{owner}/{one.directory}" for owner, one in owners(request))


def script(gone: Collection[Superfluous]) -> str:
    """Deletes each, its proof last, so that a run that is cut off leaves what the next one can prove.

    What became another directory meanwhile stays.
    """
    lines = ["set -u"]
    for one in gone:
        path, made_as = shlex.quote(one.directory.path), shlex.quote(one.directory.made_as)
        lines.append(
            f'd={path}; [ ! -L "$d" ] && [ "$(head -n 1 "$d/{MADE}" 2>/dev/null)" = {made_as} ] && '
            f'rm -f -- "$d/{MARKER}" && find "$d" -xdev -mindepth 1 ! -path "$d/{MADE}" -delete && '
            f'rm -f -- "$d/{MADE}" && rmdir -- "$d" || {{ echo "$d could not be deleted" >&2; exit 1; }}'
        )
    return "\n".join(lines)


@operation()
def prune() -> Generator[PyinfraCommand, None, None]:
    """Delete what Ingot made below `cache_root` and no container, no plan and no rollback needs."""
    values = of_host(host)
    found: Contents = host.get_fact(CacheContents, root=values.cache_root)
    if not found.docker:
        raise IngotError(
            "Docker does not answer, so that nobody can say which models are in use; start it (`systemctl start "
            "docker`) and run this again."
        )
    if found.transferring:
        raise IngotError("models are being fetched there; run this again when that has ended.")
    gone = superfluous(found, values.cache_root, frozenset(wanted_directories(values, found)))
    if not gone:
        host.noop(f"everything below {values.cache_root} is needed, or not Ingot's")
        return
    changes.announce([one.sentence for one in gone])
    yield StringCommand(script(gone))
