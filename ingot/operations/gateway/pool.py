"""The gateway's pool: nginx' upstreams as one file, which rollouts change while everything else stays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ingot.gateway.fleet import open_ports
from ingot.gateway.upstreams import Engine
from ingot.operations import render


def engines_conf(served: Sequence[Engine], *, affinity: bool, front: bool = False) -> str:
    """The engines as nginx' upstreams; the file names its own digest, for a deploy to see whether nginx runs it.

    `affinity`: a replica is chosen by what a conversation begins with, instead of by the fewest running requests.
    `front`: the servers are other hosts' gateways.
    """

    def rendered(digest: str) -> str:
        return render.template(
            "gateway/engines.conf",
            engines=served,
            affinity=affinity,
            front=front,
            ready_at=max((one.ready_at for one in served), default=0),
            digest=digest,
        )

    return rendered(hashlib.sha256(rendered("").encode()).hexdigest()[:16])


def fleet_conf(served: Sequence[Engine], first_port: int, ipv6: bool) -> str:
    """The ports on which a member of a fleet takes its gateways' requests."""
    return render.template("gateway/fleet.conf", ports=open_ports(served, first_port), ipv6=ipv6)
