"""One replica as a value: everything a container runtime must know to run it, and nothing about how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

#: What services of earlier versions are of; a service of it is written down as they wrote it.
DEFAULT_ENGINE = "vllm"


#: Where a container has its model; one whose engine reads the model's name there has it in a directory of that name.
MODEL_AT = "/model"


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory of the host inside the container."""

    source: str
    target: str
    read_only: bool = True

    @property
    def is_model(self) -> bool:
        """Whether it is the model's weights."""
        return self.target == MODEL_AT or self.target.startswith(f"{MODEL_AT}/")


@dataclass(frozen=True, slots=True)
class Service:
    """One engine process group in one container.

    `name` is the Compose service, `model` what callers ask for. `image` is immutable (`name@sha256:…`, or the id of
    a loaded image). `argv` is the whole command, `env` and `ulimits` are sorted pairs, `devices` are CDI names,
    `user` is `uid:gid`. `stop_grace_s` is how long running requests may take when it stops, `start_deadline_s` how
    long a start may take before it counts as failed. `aliases` are other names that callers ask for it by. `most`
    is how many requests the gateway gives it at once; None: any number. `ready_by_answer` says that its health route
    tells no more than that it lives: it has loaded its model when it has answered. `group` are the hosts that serve it
    together, the head first: this is the part of one of them, on the host's own network, started by a supervisor there.
    """

    name: str
    model: str
    image: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    mounts: tuple[Mount, ...]
    devices: tuple[str, ...]
    user: str
    tmpfs: tuple[str, ...]
    ulimits: tuple[tuple[str, int], ...]
    shm_bytes: int
    pids: int
    address: str
    port: int
    health_path: str
    stop_grace_s: int
    start_deadline_s: int
    kind: str = "generate"
    width: int | None = None
    calls_tools: bool = False
    reasons: bool = False
    adapters: tuple[str, ...] = ()
    engine: str = DEFAULT_ENGINE
    most: int | None = None
    aliases: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    ready_by_answer: bool = False

    @property
    def endpoint(self) -> str:
        """Where the host reaches it: `address:port`."""
        return f"{self.address}:{self.port}"

    @property
    def digest(self) -> str:
        """Changes when anything that the running container depends on changes: its label, read back from it.

        The two deadlines are left out: they are about waiting, so changing them must not restart a service.
        """
        lasting = {key: value for key, value in self.to_dict().items() if key not in _ABOUT_WAITING}
        return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The service as JSON-able values."""
        values = asdict(self)
        if self.engine == DEFAULT_ENGINE:
            # Another digest would restart what every version before this one started.
            del values["engine"], values["most"]
        if not self.aliases:
            del values["aliases"]
        if not self.group:
            del values["group"]
        if not self.ready_by_answer:
            del values["ready_by_answer"]
        return values

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Service:
        """The service that `to_dict` wrote, also after a round trip through JSON.

        Raises: KeyError or TypeError when it was written by a version that knew other fields.
        """
        if {"engine", "most", "aliases", "group", "ready_by_answer", *stored} != {field.name for field in fields(cls)}:
            raise KeyError(f"fields {sorted(stored)}")
        return cls(
            **{
                **stored,
                "argv": tuple(stored["argv"]),
                "env": tuple((key, value) for key, value in stored["env"]),
                "mounts": tuple(Mount(**mount) for mount in stored["mounts"]),
                "devices": tuple(stored["devices"]),
                "tmpfs": tuple(stored["tmpfs"]),
                "ulimits": tuple((key, value) for key, value in stored["ulimits"]),
                "adapters": tuple(stored["adapters"]),
                "aliases": tuple(stored.get("aliases", ())),
                "group": tuple(stored.get("group", ())),
            }
        )


_ABOUT_WAITING = frozenset({"start_deadline_s", "stop_grace_s"})
