"""A bundle on a host: only what it lacks travels, each object is proven there, and all becomes visible at once."""

from __future__ import annotations

import shlex
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import BinaryIO, cast

from pyinfra.api.host import Host

from ingot.bundle.manifest import Manifest
from ingot.bundle.store import Entry, Store
from ingot.errors import IngotError
from ingot.inventory.connector import IngotConnector

SCRIPT = (files(__package__) / "push.sh").read_text()
#: Where a bundle is on a host, and what shows it.
TO, CURRENT = "/srv/ingot-bundle", "current"
#: What travels at a time: a push that was cut off goes on with the next of these.
BATCH_BYTES = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class There:
    """What a host has of bundles: the serial of the one it shows (0: none), free bytes, and its objects' sizes."""

    serial: int
    free_bytes: int
    objects: dict[str, int]


@dataclass(frozen=True, slots=True)
class Pushed:
    """What came of it: objects that travelled, and their bytes."""

    new: int
    new_bytes: int


def parse_there(output: str) -> There:
    """What `look` printed. Raises: IngotError."""
    lines = [line.split() for line in output.splitlines()]
    try:
        numbers = {name: int(value) for name, value in lines[:2]}
        return There(numbers["serial"], numbers["free"], {name: int(size) for size, name in lines[2:]})
    except (ValueError, KeyError) as error:
        raise IngotError(f"it told nothing of its bundle ({error!r}); see that bash and find are there") from None


def push(
    store: Store,
    bundle: Manifest,
    host: Host,
    *,
    to: str = TO,
    older: bool = False,
    whole: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Pushed:
    """Bring what this host needs of a proven bundle, or the whole. Raises: IngotError, naming the host."""
    wanted = bundle.files if whole else bundle.of_host(host.name)
    connector = cast(IngotConnector, host.connector)

    def ask(step: str, feed: Callable[[BinaryIO], None] | None = None) -> str:
        status, output, errors = connector.stream(f"set -- {shlex.quote(to)} {step}\n{SCRIPT}", feed)
        if status:
            raise IngotError(f"{host.name}: {errors.strip() or f'ended with status {status}'}.")
        return output

    there = parse_there(ask("look"))
    if there.serial > bundle.serial and not older:
        raise IngotError(
            f"{host.name}: it has a newer bundle ({there.serial}) than this one ({bundle.serial}); give --older to go "
            "back to this."
        )
    lacking = missing(wanted, there)
    needed = sum(one.bytes for one in lacking)
    if needed > there.free_bytes:
        raise IngotError(
            f"{host.name}: {there.free_bytes / 1e9:.1f} GB are free for {to}, expected {needed / 1e9:.1f} GB; make "
            "room, or name a larger disk's directory with --at."
        )
    done = 0
    for batch in batches(lacking):
        ask("take", lambda pipe, batch=batch: _send(store, batch, pipe))  # type: ignore[misc]
        done += sum(one.bytes for one in batch)
        say(f"{host.name}: {done / 1e9:.1f} of {needed / 1e9:.1f} GB")
    lines = f"{bundle.serial}\n" + "".join(f"{one.sha256} {one.path}\n" for one in wanted)
    ask("show", lambda pipe: _write(pipe, lines.encode()))
    return Pushed(len(lacking), needed)


def missing(wanted: Sequence[Entry], there: There) -> list[Entry]:
    """Objects that a host lacks, each once."""
    each = {one.sha256: one for one in wanted}
    return [one for one in each.values() if there.objects.get(one.sha256) != one.bytes]


def batches(entries: Sequence[Entry], most: int = BATCH_BYTES) -> Iterator[list[Entry]]:
    """Objects in parts of about this many bytes."""
    batch: list[Entry] = []
    for one in entries:
        if batch and sum(other.bytes for other in batch) + one.bytes > most:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def _send(store: Store, batch: Sequence[Entry], pipe: BinaryIO) -> None:
    with tarfile.open(fileobj=pipe, mode="w|") as tar:
        for one in batch:
            member = tarfile.TarInfo(one.sha256)
            member.size, member.mode = one.bytes, 0o644
            with store.object(one.sha256).open("rb") as content:
                tar.addfile(member, content)


def _write(pipe: BinaryIO, content: bytes) -> None:
    pipe.write(content)
