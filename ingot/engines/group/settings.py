"""What the supervisor of one host is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Settings:
    """Who belongs together, and what is started here.

    `hosts` are names and addresses, the head first; `me` is this host's name. `digest` is that of all that must be the
    same on every host: others are no members. `service` of the Compose file `compose` runs in `container`. `owner` is
    `uid:gid` of the engine's processes. `state` is what runs read, `epoch` the number of the last epoch, `log` the
    last words of the engine before. `endpoint` and `question` are where the head is asked, and what.
    """

    hosts: Mapping[str, str]
    me: str
    digest: str
    interface: str
    port: int
    owner: str
    compose: str
    service: str
    container: str
    key: str
    state: str
    epoch: str
    log: str
    endpoint: str
    health: str
    question: tuple[str, Mapping[str, Any]]
    start_deadline_s: int

    @property
    def head(self) -> str:
        """The name of the host whose gateway has the replica."""
        return next(iter(self.hosts))

    @property
    def leads(self) -> bool:
        """Whether this host is the head."""
        return self.me == self.head

    @property
    def peers(self) -> dict[str, str]:
        """Name and address of every other host."""
        return {name: address for name, address in self.hosts.items() if name != self.me}

    @classmethod
    def read(cls, file: Path) -> Settings:
        """The settings in a file. Raises: OSError, ValueError, TypeError."""
        return cls(**json.loads(file.read_text()))
