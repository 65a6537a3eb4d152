"""A good state: all that makes a host serve as it did when a deploy of it ended proven. Pure.

Keys, certificates and their private keys are no part of it: what was revoked or renewed since stays as it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ingot.engines import Service
from ingot.facts.engine import STATE

#: Of this form of a good state.
SCHEMA = 1
DIRECTORY = f"{STATE}/good"
#: Values that the engine's Compose file and its proof take from settings, kept with the services.
VALUES = ("engine_build", "engine_hold_s", "engine_log_max_files", "engine_log_max_size", "engine_network")
#: nginx.conf names all that nginx reads, keys included; and the room for them grows with their number.
_CHANGES_WITH_KEYS = re.compile(r"return 200 '[0-9a-f]{16}|map_hash_max_size \d+;")


@dataclass(frozen=True, slots=True)
class GoodState:
    """`number` counts up on each host and is never used again. `services` in the plan's order, `files` of the gateway
    by path, `values` some settings of that time."""

    number: int
    at: str
    run: str
    commit: str | None
    services: tuple[Service, ...]
    plan: Mapping[str, Any] = field(default_factory=dict)
    upstreams: Sequence[Mapping[str, Any]] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The same for states that serve the same, whatever keys there were and whoever made them."""
        served = {
            "services": [one.to_dict() for one in self.services],
            "upstreams": [{**one, "draining": []} for one in self.upstreams],
            "files": {path: _CHANGES_WITH_KEYS.sub("", text) for path, text in self.files.items()},
        }
        return hashlib.sha256(json.dumps(served, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that serve it together, the head first; none where this host serves alone."""
        return self.services[0].group if self.services else ()

    @property
    def images(self) -> tuple[str, ...]:
        """The images that its services run from."""
        return tuple(sorted({one.image for one in self.services}))

    @property
    def sources(self) -> tuple[str, ...]:
        """The directories and files of the host that its services read."""
        return tuple(sorted({mount.source for one in self.services for mount in one.mounts if mount.read_only}))

    def words(self) -> str:
        """What it serves, for a person: models with their image and the directory of their weights."""
        if not self.services:
            return "the gateway alone"
        models = dict.fromkeys(one.model for one in self.services)
        return "; ".join(self._model(name) for name in models)

    def _model(self, name: str) -> str:
        replicas = [one for one in self.services if one.model == name]
        weights = next((mount.source for mount in replicas[0].mounts if mount.is_model), "")
        revision = weights.rpartition("/")[2][:12]
        times = f"{len(replicas)} x " if len(replicas) > 1 else ""
        return f"{times}{name}{f' at {revision}' if revision else ''}, image {_short(replicas[0].image)}"

    def to_dict(self) -> dict[str, Any]:
        """What the file of a state holds."""
        return {
            "schema": SCHEMA,
            "number": self.number,
            "at": self.at,
            "run": self.run,
            "commit": self.commit,
            "services": [one.to_dict() for one in self.services],
            "plan": dict(self.plan),
            "upstreams": [dict(one) for one in self.upstreams],
            "values": dict(self.values),
            "files": dict(self.files),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> GoodState:
        """The state that `to_dict` wrote. Raises: KeyError, TypeError or ValueError where another form was written."""
        if stored["schema"] != SCHEMA:
            raise ValueError(f"schema {stored['schema']}")
        return cls(
            number=int(stored["number"]),
            at=str(stored["at"]),
            run=str(stored["run"]),
            commit=stored["commit"],
            services=tuple(Service.from_dict(one) for one in stored["services"]),
            plan=stored["plan"],
            upstreams=stored["upstreams"],
            values=stored["values"],
            files=stored["files"],
        )


def read(stored: Iterable[Any]) -> tuple[GoodState, ...]:
    """The states that a host keeps, oldest first; one that is torn or of another form is passed over."""
    found = []
    for one in stored:
        try:
            found.append(GoodState.from_dict(one))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    return tuple(sorted(found, key=lambda state: state.number))


def kept(states: Sequence[GoodState], now: GoodState, keep: int) -> tuple[GoodState, ...]:
    """The states after a deploy that came to `now`, oldest first; the newest is what serves.

    A state that serves the same as `now` makes way for it: what one would go back to always differs.
    """
    if states and states[-1].digest == now.digest:
        return tuple(states[-keep:])
    number = max((one.number for one in states), default=0) + 1
    others = [one for one in states if one.digest != now.digest]
    return (*others, replace(now, number=number))[-keep:]


def target(states: Sequence[GoodState], now: str, number: int | None) -> GoodState | None:
    """The state to go back to: the one asked for, else the newest that differs from what serves `now` and is older.

    `now` is a digest. None: there is no such state.
    """
    if number is not None:
        return next((one for one in states if one.number == number), None)
    serving = next((one.number for one in reversed(states) if one.digest == now), None)
    older = [one for one in states if one.digest != now and (serving is None or one.number < serving)]
    return older[-1] if older else None


def _short(image: str) -> str:
    name, at, digest = image.rpartition("@")
    return f"{name}{at}{digest[:19]}" if at else image[:19]
