"""What the watch is told, and the replicas that it watches."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Settings:
    """Where things are, and what is fatal: Xid numbers, and the driver's recovery actions in small letters.

    `project` is the Compose project of the replicas, `memory` the file that one look leaves for the next, `questions`
    what each kind of engine is asked: its path and the body's fields. `runs` is the directory of the run that changes
    the host and of work that goes on without its connection, `audit` the file that its end is written to; a mark of a
    run stays for `marks_s` after that, since a run may find its host again.
    """

    services: str
    upstreams: str
    engines: str
    fleet: str
    fleet_port: int
    holds: str
    memory: str
    project: str
    questions: Mapping[str, Any]
    fatal_xids: Sequence[int]
    fatal_actions: Sequence[str]
    runs: str
    audit: str
    marks_s: float


@dataclass(frozen=True)
class Replica:
    """A replica as the rollout proved it last: where it is, what it is for, its GPUs, and since when it is proven.

    `ready_by_answer`: its health route says no more than that it lives, so that it is ready when it has answered.
    """

    name: str
    address: str
    gpus: tuple[str, ...]
    health: str
    proven_at: float
    model: str = ""
    kind: str = "generate"
    start_deadline_s: int = 600
    ready_by_answer: bool = False


def proven_replicas(directory: Path) -> list[Replica]:
    """The replicas that the rollout proved, out of their services' files."""
    found = []
    for path in sorted(directory.glob("*.json")):
        try:
            file = json.loads(path.read_text())
            # Older versions wrote the service alone.
            service = file.get("service", file)
            if service.get("group"):
                # Its supervisor watches it: one host of several starts nothing alone.
                continue
            found.append(
                Replica(
                    name=service["name"],
                    address=f"{service['address']}:{service['port']}",
                    gpus=tuple(
                        name.partition("=")[2] for name in service["devices"] if name.startswith("nvidia.com/gpu=")
                    ),
                    health=service["health_path"],
                    proven_at=path.stat().st_mtime,
                    model=service["model"],
                    kind=service.get("kind", "generate"),
                    start_deadline_s=int(service["start_deadline_s"]),
                    ready_by_answer=bool(service.get("ready_by_answer", False)),
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            continue
    return found
