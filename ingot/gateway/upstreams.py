"""The engines behind a gateway: the engine role's list of them becomes nginx' upstreams."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import quote

#: Written by the engine role; the gateway's only knowledge of engines.
UPSTREAMS_FILE = "/var/lib/ingot/upstreams.json"
# Both a model's name and an address are written into nginx' configuration.
_WORD = re.compile(r"[A-Za-z0-9._:/@-]+")

#: Why no replica of a model may be used; "" when one may.
Out = Literal["", "draining", "held out"]


@dataclass(frozen=True)
class Upstream:
    """A served model, the addresses (`ip:port`) of its replicas, and which of them get no new requests.

    `ready_at`: when those are expected to serve again, in seconds since 1970; 0 where nobody knows. `engine` is the
    name of one that leaves accounts and the check of names to the gateway, "" of one that does both. `most` is how many
    requests one replica is given at once; None: any number. `gathered`: it is asked for streams where callers ask for
    one piece, since it stops for callers who leave in the middle of streams alone. `weights` are the shares of replicas
    by address where they are of several models; 1 where nothing is said.
    """

    model: str
    replicas: tuple[str, ...]
    draining: tuple[str, ...] = ()
    ready_at: int = 0
    engine: str = ""
    most: int | None = None
    gathered: bool = False
    weights: tuple[tuple[str, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The entry of UPSTREAMS_FILE."""
        marks: dict[str, Any] = {"draining": list(self.draining)} if self.draining else {}
        if self.draining and self.ready_at:
            marks["ready_at"] = self.ready_at
        marks |= {"engine": self.engine} if self.engine else {}
        marks |= {"most": self.most} if self.most is not None else {}
        marks |= {"gathered": True} if self.gathered else {}
        marks |= {"weights": dict(self.weights)} if self.weights else {}
        return {"model": self.model, "replicas": list(self.replicas), **marks}


@dataclass(frozen=True)
class Server:
    """A replica's address for nginx; a replica that is `down` gets no new requests.

    `weight` is its share of requests; one that is a `backup` gets them while no other can be used.
    """

    address: str
    down: bool = False
    weight: int = 1
    backup: bool = False


@dataclass(frozen=True)
class Engine:
    """An nginx upstream: a name, the model it serves, its servers, why none of them may be used, and until when.

    `engine`, `most` and `gathered` are those of its `Upstream`.
    """

    name: str
    model: str
    servers: tuple[Server, ...]
    out: Out = ""
    ready_at: int = 0
    engine: str = ""
    most: int | None = None
    gathered: bool = False

    @property
    def has_backup(self) -> bool:
        """Whether a server waits for the others to fail, which nginx does not do where a hash chooses."""
        return any(server.backup for server in self.servers)

    @property
    def has_shares(self) -> bool:
        """Whether some servers shall get more requests than others."""
        return any(server.weight != 1 for server in self.servers)

    @property
    def queries(self) -> tuple[str, ...]:
        """Query strings that ask for this model, as WebSocket clients write them."""
        return tuple(dict.fromkeys(f"model={word}" for word in (self.model, quote(self.model, safe=""))))

    @property
    def entry(self) -> str:
        """What `/v1/models/{id}` tells of this model, in a shape that OpenAI's and Anthropic's clients both read."""
        return json.dumps(_entry(self.model))


def parse_upstreams(text: str) -> tuple[tuple[Upstream, ...], str | None]:
    """The engine role's list of served models, and what is wrong with it if it cannot be read."""
    if not text.strip():
        return (), None
    try:
        found = tuple(map(_upstream, json.loads(text)))
        for upstream in found:
            words = (upstream.model, *upstream.replicas, *((upstream.engine,) if upstream.engine else ()))
            if not all(map(_WORD.fullmatch, words)):
                return (), f"{upstream} holds other characters than letters, digits and . _ : / @ -"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return (), f"{type(error).__name__}: {error}"
    return tuple(upstream for upstream in found if upstream.replicas), None


def _upstream(entry: dict[str, Any]) -> Upstream:
    draining, ready_at = tuple(entry.get("draining", ())), int(entry.get("ready_at", 0))
    most = entry.get("most")
    return Upstream(
        entry["model"],
        tuple(entry["replicas"]),
        draining,
        ready_at,
        str(entry.get("engine", "")),
        None if most is None else int(most),
        bool(entry.get("gathered")),
        tuple(sorted((str(address), int(weight)) for address, weight in entry.get("weights", {}).items())),
    )


def upstreams_json(upstreams: Sequence[Upstream]) -> str:
    """The text of UPSTREAMS_FILE."""
    return json.dumps([one.to_dict() for one in upstreams], indent=1, sort_keys=True) + "\n"


def marked(upstreams: Sequence[Upstream], addresses: Collection[str] | None, ready_at: int = 0) -> tuple[Upstream, ...]:
    """The upstreams with these replicas draining as well, until they are expected back; None: all of them."""

    def one_marked(one: Upstream) -> Upstream:
        draining = tuple(a for a in one.replicas if addresses is None or a in {*addresses, *one.draining})
        return replace(one, draining=draining, ready_at=ready_at if set(draining) - set(one.draining) else one.ready_at)

    return tuple(map(one_marked, upstreams))


def unmarked(upstreams: Sequence[Upstream], model: str, address: str) -> tuple[Upstream, ...]:
    """The upstreams with a replica of this model in use again.

    Another model's mark at the same address stays: who asks for that one must not meet this one.
    """
    return tuple(
        replace(one, draining=tuple(a for a in one.draining if a != address)) if one.model == model else one
        for one in upstreams
    )


def engines(upstreams: Sequence[Upstream], *, held_out: bool = False, held: Collection[str] = ()) -> list[Engine]:
    """An nginx upstream per served model; those of a host that is held out are all out of use.

    `held` are addresses that the host itself holds out since their GPU failed.
    """
    made = []
    for index, one in enumerate(upstreams):
        weights = dict(one.weights)
        servers = tuple(
            Server(address, address in one.draining or address in held, weights.get(address, 1))
            for address in one.replicas
        )
        out: Out = "held out" if held_out else "draining" if all(server.down for server in servers) else ""
        ready_at = one.ready_at if out == "draining" else 0
        made.append(Engine(f"engine_{index}", one.model, servers, out, ready_at, one.engine, one.most, one.gathered))
    return made


def model_list(served: Sequence[Engine]) -> str:
    """`/v1/models` of a host with several engines, in a shape that OpenAI's and Anthropic's clients both read."""
    return json.dumps({"object": "list", "data": [_entry(engine.model) for engine in served], "has_more": False})


def _entry(model: str) -> dict[str, object]:
    openai = {"id": model, "object": "model", "created": 0, "owned_by": "ingot"}
    return {**openai, "type": "model", "display_name": model, "created_at": "1970-01-01T00:00:00Z"}
