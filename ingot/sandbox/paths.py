"""Where test hosts live on this machine."""

import os
from dataclasses import dataclass
from pathlib import Path


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
