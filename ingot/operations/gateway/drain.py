"""Replicas taken out of the gateway's pool before they stop, and put back once they serve again.

The marks lie in upstreams.json, so that a run which dies half way leaves them for the next to see: the engine role
writes the file without marks when every replica serves as planned, and the gateway role has nginx follow it.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host

from ingot.facts.gateway import ENGINES, FLEET
from ingot.facts.pool import Pool, PoolState
from ingot.gateway.upstreams import UPSTREAMS_FILE, Upstream, engines, marked, unmarked, upstreams_json
from ingot.operations import tree
from ingot.operations.gateway.pool import engines_conf, fleet_conf

#: A reload that leaves the old configuration in use where the new one is refused: the gateway's role comes after, and
#: says what is wrong.
RELOAD = "if systemctl is-active -q nginx; then nginx -t -q && systemctl reload nginx || true; fi"
#: Looks in a row, half a second apart, that must find no request: old workers hand over some that they had accepted.
QUIET_LOOKS = 3
#: Longer than one look at one replica may take, seconds.
LOOK_S = 5

Commands = Generator[PyinfraCommand, None, None]


def drain(addresses: Collection[str] | None, grace_s: int) -> Commands:
    """Keep new requests from these replicas (`ip:port`; None: all of the host), and let running ones end.

    It waits for at most `grace_s`; what runs then is cut off by whoever stops the replica. With no replica left callers
    get 503 with Retry-After, and fleet gateways pass the host by. For bodies of operations:
    `yield from drain.drain(None, grace_s=120)`.
    """
    found: PoolState = host.get_fact(Pool)
    wanted = marked(found.upstreams, addresses)
    chosen = [address for one in wanted for address in one.draining]
    if not found.has_gateway or not chosen:
        return
    yield from _write(found, wanted)
    yield StringCommand(f"{RELOAD}; {idle(chosen, grace_s)}", _timeout=grace_s + LOOK_S * (len(chosen) + 1) + 60)


def restore(model: str, address: str) -> Commands:
    """Give a replica of this model new requests again; nothing where it is not marked."""
    found: PoolState = host.get_fact(Pool)
    wanted = unmarked(found.upstreams, model, address)
    if not found.has_gateway or wanted == found.upstreams:
        return
    yield from _write(found, wanted)
    yield StringCommand(RELOAD)


def idle(addresses: Sequence[str], grace_s: int) -> str:
    """A shell command that waits until no request runs or waits on these replicas, for at most `grace_s`."""
    return (
        f"end=$(($(date +%s) + {grace_s})); quiet=0; "
        f"while [ $quiet -lt {QUIET_LOOKS} ] && [ $(date +%s) -lt $end ]; do sleep 0.5; "
        f"busy=$(for address in {' '.join(addresses)}; do "
        f'curl --silent --noproxy "*" --max-time {LOOK_S} "http://$address/metrics"; done '
        "| awk '/num_requests_(running|waiting)[{ ]/ {n += $NF} END {print n + 0}'); "
        'if [ "$busy" = 0 ]; then quiet=$((quiet + 1)); else quiet=0; fi; done'
    )


def _write(found: PoolState, wanted: Sequence[Upstream]) -> Commands:
    yield from tree.tree._inner(entries=pool_files(found, wanted))


def pool_files(found: PoolState, wanted: Sequence[Upstream]) -> list[tree.File]:
    """The files that say which replicas get requests, for the host in context."""
    served = engines(wanted, held_out=found.held_out)
    # As nginx was told last: what the values say now is the gateway role's to bring.
    entries = [
        tree.File(UPSTREAMS_FILE, upstreams_json(wanted)),
        tree.File(ENGINES, engines_conf(served, affinity=found.affinity)),
    ]
    if found.fronted:
        entries.append(tree.File(FLEET, fleet_conf(served, host.data.gateway_fleet_port, found.ipv6)))
    return entries
