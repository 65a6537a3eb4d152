"""The gateway's pool of a host as it was last written: replicas, their marks, and whether there is a gateway."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from ingot.facts import sections
from ingot.facts.gateway import ENGINES, FLEET
from ingot.facts.replica_holds import HOLDS_FILE, ReplicaHold, parse_holds
from ingot.gateway.hold_out import ACCEPTANCE_FILE, held_out
from ingot.gateway.upstreams import UPSTREAMS_FILE, Upstream, parse_upstreams


@dataclass(frozen=True, slots=True)
class PoolState:
    """`upstreams` as the engine role wrote them; `has_gateway`: nginx was told of them, by `affinity` to keep
    conversations together; `fronted`: fleet gateways reach it on ports of their own; `holds`: replicas that the host
    holds out since their GPU failed."""

    upstreams: tuple[Upstream, ...] = ()
    held_out: bool = False
    has_gateway: bool = False
    affinity: bool = False
    fronted: bool = False
    ipv6: bool = False
    holds: tuple[ReplicaHold, ...] = ()


class Pool(FactBase[PoolState]):
    """The pool of a host.

    Returns: PoolState(upstreams=(Upstream("qwen", ("172.31.213.10:8000",)),), held_out=False, has_gateway=True,
    affinity=False, fronted=False, ipv6=True)
    """

    def command(self) -> str:
        return sections.compose(
            {
                "upstreams": f"cat {UPSTREAMS_FILE} 2>/dev/null",
                "acceptance": f"cat {ACCEPTANCE_FILE} 2>/dev/null",
                "holds": f"cat {HOLDS_FILE} 2>/dev/null",
                "gateway": f"test -e {ENGINES}",
                "affinity": f"grep -q 'hash [$]affinity' {ENGINES}",
                "fleet": f"test -e {FLEET}",
                "inet_six": "cat /proc/net/if_inet6 2>/dev/null",
            }
        )

    @staticmethod
    def default() -> PoolState:
        return PoolState()

    def process(self, output: list[str]) -> PoolState:
        found = sections.split(output)
        return PoolState(
            parse_upstreams(found["upstreams"].output)[0],
            held_out(found["acceptance"].output),
            found["gateway"].status == 0,
            found["affinity"].status == 0,
            found["fleet"].status == 0,
            bool(found["inet_six"].output),
            parse_holds(found["holds"].output),
        )
