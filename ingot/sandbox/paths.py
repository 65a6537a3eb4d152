"""Where test hosts live on this machine."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ingot.sandbox.errors import SandboxError

#: All that a sandbox ever puts into its two directories.
CACHE_ENTRIES = frozenset({"apt-key", "apt.lock", "engine-image", "images", "llama-image", "mirror", "model.lock"})
STATE_ENTRIES = frozenset({"hosts", "key", "key.pub", "secrets"})


@dataclass(frozen=True)
class Paths:
    """The two directories of a sandbox: `cache` may be deleted at any time, `state` belongs to living hosts."""

    cache: Path
    state: Path

    @classmethod
    def from_environment(cls) -> "Paths":
        """$INGOT_SANDBOX_CACHE and $INGOT_SANDBOX_STATE, or the usual places under /var."""
        return cls(
            cache=Path(os.environ.get("INGOT_SANDBOX_CACHE") or "/var/cache/ingot-sandbox").absolute(),
            state=Path(os.environ.get("INGOT_SANDBOX_STATE") or "/var/lib/ingot-sandbox").absolute(),
        )

    @property
    def images(self) -> Path:
        """Root file systems, one directory per content key."""
        return self.cache / "images"

    @property
    def mirror(self) -> Path:
        """Packages, engine images and models that guests see read-only at /srv/ingot-mirror."""
        return self.cache / "mirror"

    @property
    def key(self) -> Path:
        """The operator's SSH key; its public half is beside it with `.pub`."""
        return self.state / "key"

    @property
    def hosts(self) -> Path:
        """One directory per host."""
        return self.state / "hosts"

    def host(self, name: str) -> Path:
        """Everything that belongs to host `name`."""
        return self.hosts / name


def remove(directory: Path, entries: frozenset[str]) -> None:
    """Delete a directory of a sandbox's, which may have been named by mistake.

    Raises: SandboxError, and nothing is deleted, when anything else than these entries lies in it.
    """
    if not directory.exists():
        return
    # What a write that was cut off has left begins with a dot and the entry's name.
    others = sorted(
        one.name
        for one in directory.iterdir()
        if one.name not in entries and not one.name.startswith(tuple(f".{entry}." for entry in entries))
    )
    if others:
        raise SandboxError(
            f"{directory} stays, since {', '.join(others[:3])} in it is not Ingot's: move that away, or delete the "
            "directory yourself"
        )
    shutil.rmtree(directory)
