"""Replicas taken out of the gateway's pool before they stop, and put back once they serve again.

The marks lie in upstreams.json, so that a run which dies half way leaves them for the next to see: the engine role
writes the file without marks when every replica serves as planned, and the gateway role has nginx follow it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Sequence
from dataclasses import replace

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import host

from ingot.facts.engine_metrics import BUSY_AWK
from ingot.facts.gateway import ENGINES, FLEET
from ingot.facts.nginx_sites import CONFIGURATION
from ingot.facts.pool import Pool, PoolState
from ingot.gateway.upstreams import UPSTREAMS_FILE, Upstream, engines, marked, unmarked, upstreams_json
from ingot.operations import tree
from ingot.operations.gateway.pool import engines_conf, fleet_conf
from ingot.settings import section
from ingot.settings.gateway import Gateway

#: A reload that leaves the old configuration in use where the new one is refused: the gateway's role comes after, and
#: says what is wrong.
RELOAD = "if systemctl is-active -q nginx; then nginx -t -q && systemctl reload nginx || true; fi"
#: What a host's nginx says to the staged files among those that are there. Where it refuses what is there already, it
#: says nothing about these: the gateway's role comes after, and tells what is wrong.
VALIDATE = (
    "nginx -t -q 2>/dev/null || exit 0; cp -a --no-clobber /etc/nginx/. {stage}/etc/nginx/ && "
    f"nginx -t -q -c {{stage}}{CONFIGURATION}"
)
#: Looks in a row, half a second apart, that must find no request: old workers hand over some that they had accepted.
QUIET_LOOKS = 3
#: Longer than one look at one replica may take, seconds.
LOOK_S = 5
#: curl's status where nothing listens, so that nothing can run there.
REFUSED = 7

Commands = Generator[PyinfraCommand, None, None]


def drain(addresses: Collection[str] | None, grace_s: int, back_in_s: int = 0) -> Commands:
    """Keep new requests from these replicas (`ip:port`; None: all of the host), and let running ones end.

    It waits for at most `grace_s`; what runs then is cut off by whoever stops the replica. A replica that does not
    answer may be at work all the same, so it is given all of that time, and a warning names it. With no replica left
    callers get 503 with Retry-After, and fleet gateways pass the host by; `back_in_s` is when they are expected to
    serve again, 0 where nobody knows. For bodies of operations: `yield from drain.drain(None, grace_s=120)`.
    """
    found: PoolState = host.get_fact(Pool)
    wanted = marked(found.upstreams, addresses, int(time.time()) + back_in_s if back_in_s else 0)
    chosen = [address for one in wanted for address in one.draining]
    if not found.has_gateway or not chosen:
        return
    yield from _write(found, wanted)
    yield StringCommand(RELOAD)
    yield FunctionCommand(wait, (chosen, grace_s), {})


def wait(state: State, host: Host, addresses: Sequence[str], grace_s: int) -> bool:
    """Wait until these replicas are idle, for at most `grace_s`, and warn of those that gave no answer."""
    _, output = host.run_shell_command(StringCommand(idle(addresses, grace_s)), _timeout=grace_s + 60)
    for line in output.stdout_lines:
        logger.warning(f"{host.print_prefix}{host.name}: {line}")
    return True


def restore(model: str, address: str) -> Commands:
    """Give a replica of this model new requests again; nothing where it is not marked."""
    found: PoolState = host.get_fact(Pool)
    yield from _change(found, unmarked(found.upstreams, model, address))


def join(beside: str, model: str, address: str) -> Commands:
    """Give requests to one more replica (`ip:port`), for whatever name the one `beside` it is asked for.

    Where that one has no name yet it is for `model` alone.
    """
    found: PoolState = host.get_fact(Pool)
    named = [one for one in found.upstreams if beside in one.replicas] or [
        one for one in found.upstreams if one.model == model
    ]
    wanted = tuple(
        replace(one, replicas=(*one.replicas, address)) if one in named and address not in one.replicas else one
        for one in found.upstreams
    )
    yield from _change(found, wanted)


def leave(address: str) -> Commands:
    """Forget a replica that is no longer there."""
    found: PoolState = host.get_fact(Pool)
    wanted = tuple(
        replace(
            one,
            replicas=tuple(a for a in one.replicas if a != address),
            draining=tuple(a for a in one.draining if a != address),
        )
        for one in found.upstreams
    )
    yield from _change(found, wanted)


def _change(found: PoolState, wanted: Sequence[Upstream]) -> Commands:
    if found.has_gateway and tuple(wanted) != found.upstreams:
        yield from _write(found, wanted)
        yield StringCommand(RELOAD)


def idle(addresses: Sequence[str], grace_s: int) -> str:
    """A shell command that waits until no request runs or waits on these replicas, for at most `grace_s`.

    It prints a sentence where the time is up and a replica has not said whether requests run.
    """
    return (
        f"end=$(($(date +%s) + {grace_s})); quiet=0; unknown=; "
        f"while [ $quiet -lt {QUIET_LOOKS} ]; do sleep 0.5; busy=; silent=; "
        f"for address in {' '.join(addresses)}; do "
        "left=$((end - $(date +%s))); [ $left -gt 0 ] || break 2; "
        f"[ $left -le {LOOK_S} ] || left={LOOK_S}; "
        'told=$(curl --silent --noproxy "*" --max-time $left --write-out "\\nstatus %{http_code}\\n" '
        '"http://$address/metrics"); status=$?; '
        'running=$(printf "%s\\n" "$told" | awk \''
        f"{BUSY_AWK}'); "
        # One that does not say is asked no further: who has a request running there has a connection.
        '[ "$running" != none ] || running=$(ss --no-header --tcp --numeric state established dst $address '
        "| grep -c .); "
        f"if [ $status -ne 0 ] && [ $status -ne {REFUSED} ] || [ $running = unknown ]; then "
        'silent="$silent $address"; elif [ $running != 0 ]; then busy=yes; fi; done; unknown=$silent; '
        'if [ -z "$busy$silent" ]; then quiet=$((quiet + 1)); else quiet=0; fi; done; '
        f"for address in ${{silent:-$unknown}}; do "
        f'echo "$address did not say within {grace_s} s whether requests run; those that do are cut off."; done'
    )


def _write(found: PoolState, wanted: Sequence[Upstream]) -> Commands:
    yield from tree.tree._inner(entries=pool_files(found, wanted), validate=VALIDATE)


def pool_files(found: PoolState, wanted: Sequence[Upstream]) -> list[tree.File]:
    """The files that say which replicas get requests, for the host in context."""
    served = engines(wanted, held_out=found.held_out, held=[one.address for one in found.holds])
    # As nginx was told last: what the values say now is the gateway role's to bring.
    entries = [
        tree.File(UPSTREAMS_FILE, upstreams_json(wanted)),
        tree.File(ENGINES, engines_conf(served, affinity=found.affinity)),
    ]
    if found.fronted:
        entries.append(tree.File(FLEET, fleet_conf(served, section(host, Gateway).gateway_fleet_port, found.ipv6)))
    return entries
