"""A host's membership of an inventory: its file and its pinned host key, taken out in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from ingot.errors import IngotError
from ingot.onboarding.host_file import path_of
from ingot.onboarding.known_hosts import entry_name, locked, pins, read
from ingot.secrets import files


@dataclass(frozen=True)
class Membership:
    """What an inventory holds of a host: its file, and the name that its host key is pinned for (None: unreadable)."""

    host: str
    file: Path
    pinned_as: str | None

    @property
    def known_hosts(self) -> Path:
        return self.file.parent / "known_hosts"

    def sentences(self) -> tuple[str, ...]:
        """What `end` does."""
        pinned = self.pinned_as and pins(read(self.known_hosts), self.pinned_as)
        return (
            *((f"remove the host key of {self.pinned_as} from {self.known_hosts}",) if pinned else ()),
            f"delete {self.file}",
        )

    def end(self) -> None:
        """Take the host out. The file is deleted last, so that an interrupted run can be repeated."""
        with locked(self.file.parent):
            text = read(self.known_hosts)
            if self.pinned_as and pins(text, self.pinned_as):
                files.replace(self.known_hosts, without(text, self.pinned_as), 0o644)
            self.file.unlink(missing_ok=True)


def membership(inventory: Path, host: str) -> Membership:
    """Find what an inventory holds of a host.

    Raises: IngotError when the host has no file, so that there is nothing to take out.
    """
    file = path_of(inventory, host)
    if not file.is_file():
        raise IngotError(
            f"{host}: {inventory} has no file {file} for it, so that it cannot be taken out; remove it where "
            "the inventory lists it (a test host: `ingot sandbox down`)."
        )
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        pinned_as = entry_name(str(data["address"]), int(data.get("port", 22)))
    except (yaml.YAMLError, ValueError, TypeError, KeyError):
        pinned_as = None
    return Membership(host, file, pinned_as)


def without(text: str, name: str) -> str:
    """A known_hosts text without the pins of a name; a line that names other hosts too keeps their names."""
    return "".join(f"{kept}\n" for line in text.splitlines() if (kept := _without(line, name)))


def _without(line: str, name: str) -> str:
    """The line without the name of a server; empty when it names no other server."""
    if not pins(line, name):
        return line
    patterns, _, key = line.strip().partition(" ")
    others = [one for one in patterns.split(",") if not pins(f"{one} {key}", name)]
    return f"{','.join(others)} {key}" if others else ""
