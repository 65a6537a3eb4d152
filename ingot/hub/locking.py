"""The lock of an inventory, made or brought up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyinfra.api.host import Host

from ingot.catalog.lock import Lock
from ingot.catalog.lock import read as read_lock
from ingot.catalog.lock import write as write_lock
from ingot.errors import IngotError
from ingot.hub.fleet import wanted
from ingot.hub.resolve import Resolved, resolve
from ingot.sizing import CatalogError


@dataclass(frozen=True)
class Done:
    """A lock that was made, and whether it was written."""

    file: Path
    resolved: Resolved
    written: bool

    def lines(self) -> Iterator[str]:
        """What changed, for people."""
        for move in self.resolved.moves:
            was = f"{move.before[:12]} -> " if move.before else ""
            size = self.resolved.lock.repositories[move.repository].bytes
            yield f"{move.repository}: {was}{move.after[:12]} ({size / 1e9:.1f} GB)"
        for name in self.resolved.dropped:
            yield f"{name}: no longer served"
        count = len(self.resolved.lock.repositories)
        end = "written" if self.written else "nothing written"
        if not self.resolved.moves and not self.resolved.dropped:
            end = "nothing moved"
        yield f"{self.file}: {count} repositories, {end}"

    def errors(self) -> list[str]:
        """What could not be had: a sentence each, and one for each model that nothing is left of."""
        said = [f"{label}: {reason}" for label, reason in self.resolved.failed.items()]
        lacking = (f"{name}: no variant of it could be had, so no lock is written" for name in self.resolved.lacking)
        return [*said, *lacking]

    def to_dict(self) -> dict[str, Any]:
        """What changed, for programs."""
        return {
            "file": str(self.file),
            "written": self.written,
            "moves": [asdict(move) for move in self.resolved.moves],
            "dropped": self.resolved.dropped,
            "failed": self.resolved.failed,
            "lacking": self.resolved.lacking,
        }


def lock_for(
    hosts: Sequence[Host], *, update: bool, dry: bool, whole: bool, say: Callable[[str], None] = lambda line: None
) -> Done:
    """Resolve what hosts may serve and write their lock; `whole` drops what no host serves any more.

    Nothing is written where a model would have no variant left. Raises: IngotError.
    """
    asked = wanted(hosts)
    try:
        before = read_lock(asked.lock)
    except CatalogError as error:
        raise IngotError(str(error)) from error
    resolved = resolve(asked.wishes, before, asked.hub, update=update, say=say, waived=asked.waived)
    if not whole and before:
        kept = {name: before.repositories[name] for name in resolved.dropped}
        resolved.lock = Lock(asked.hub, {**kept, **resolved.lock.repositories})
        resolved.dropped = []
    changes = bool(resolved.moves or resolved.dropped or before is None)
    written = changes and not dry and not resolved.lacking
    if written:
        asked.lock.parent.mkdir(parents=True, exist_ok=True)
        beside = asked.lock.with_name(f".{asked.lock.name}.new")
        beside.write_text(write_lock(resolved.lock), encoding="utf-8")
        beside.replace(asked.lock)
    return Done(asked.lock, resolved, written)
