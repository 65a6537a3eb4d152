"""Hosts behind a fleet gateway: each opens a port per model that it can serve, and shuts it when it cannot.

A shut port refuses a connection before anything of a request was sent, so nginx tries the next host whatever the
method: draining and held-out hosts are passed by at once, and no gateway has to be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingot.gateway.shares import divided
from ingot.gateway.upstreams import Engine, Server


@dataclass(frozen=True)
class Member:
    """A host behind a fleet gateway, the address that the gateway reaches it by, and its models in sorted order.

    Of these, `stands_in_for` are others' that it answers for where no host can that serves them. `weight` is its share
    of requests beside other hosts. `parts` are the shares of its models by the names that several models have.
    """

    name: str
    address: str
    models: tuple[str, ...]
    stands_in_for: tuple[str, ...] = ()
    weight: int = 1
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """A gateway's place in a fleet.

    `members` are the hosts behind it, None where it has engines of its own; `fronted`: fleet gateways stand before it.
    `name` is in the certificate of every member, whose ports begin at `first_port`.
    """

    members: tuple[Member, ...] | None
    fronted: bool
    name: str
    first_port: int

    @property
    def is_front(self) -> bool:
        return self.members is not None


def engines(members: Sequence[Member], first_port: int) -> list[Engine]:
    """An nginx upstream per model of the fleet, with every host that serves it, and those that stand in for these.

    A model that no host serves is answered by those that stand in for it.
    """
    served: dict[str, list[Server]] = {}
    by_themselves = {model for one in members for model in one.models if model not in one.stands_in_for}
    given = {model: weights(members, model) for model in {model for one in members for model in one.models}}
    for member in members:
        host = f"[{member.address}]" if ":" in member.address else member.address
        for index, model in enumerate(member.models):
            backup = model in member.stands_in_for and model in by_themselves
            one = Server(f"{host}:{first_port + index}", weight=given[model][member.name], backup=backup)
            served.setdefault(model, []).append(one)
    return [Engine(f"engine_{index}", model, tuple(served[model])) for index, model in enumerate(sorted(served))]


def weights(members: Sequence[Member], name: str) -> Mapping[str, int]:
    """Each member's weight for a name; of one that models share, each model's hosts have its share together."""
    if not any(name in one.parts for one in members):
        return {one.name: one.weight for one in members}
    return divided({one.name: (one.weight, one.parts.get(name, {})) for one in members})


def open_ports(served: Sequence[Engine], first_port: int) -> list[int]:
    """The ports on which a member takes its gateways' requests: those of models that may be used now."""
    return [first_port + index for index, engine in enumerate(served) if not engine.out]
