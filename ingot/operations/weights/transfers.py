"""Weights that begin to travel at the start of a run, while a driver is built and Docker installed."""

from __future__ import annotations

import shlex
from dataclasses import replace
from importlib.resources import files

from pyinfra.context import host, state

from ingot.errors import IngotError
from ingot.facts.models import Models
from ingot.operations import changes, detached, proxy
from ingot.operations.operation import operation
from ingot.operations.serving import planning
from ingot.operations.standing import standing
from ingot.operations.weights import models, peers
from ingot.operations.weights.manifest import origins
from ingot.settings import of_host

SCRIPT = (files(__package__) / "transfers.sh").read_text()


@operation()
def needed(early: bool) -> models.Commands:
    """
    See whether this host lacks weights, for the others that may have them.

    + early: by the plan that is expected, else by the one that is measured
    """
    values = of_host(host)
    if not state.is_executing or not values.cache_peer_port or values.without_lock():
        host.noop("hosts do not share their models")
        return
    planned = planning.expected_plan() if early else planning.host_plan()
    directories = models.wanted_models(values.cache_root, planned) if planned else ()
    there = host.get_fact(Models, root=values.cache_root, targets=[one.target for one in directories])
    lacking = [one.label for one, _ in models.unverified(directories, there, values.lock)] if directories else []
    peers.lacks(bool(lacking))
    host.noop(f"lacks {', '.join(lacking) or 'no weights'}")
    yield from ()


@operation()
def transfers() -> models.Commands:
    """
    Begin to fetch the weights that the host will serve, and leave that at work: `models.cached` waits for it.

    Nothing here refuses a host. What cannot be told yet, what has no room and what this machine pushes is for the
    cache's role, which verifies all of it.
    """
    if not state.is_executing:
        # What a run would do is told once, by the role whose work it is.
        host.noop("the cache's role says what is to be fetched")
        return
    values = of_host(host)
    planned = planning.expected_plan()
    if planned is None or values.without_lock():
        host.noop("what is served cannot be told yet")
        return
    directories = models.wanted_models(values.cache_root, planned)
    token = models.curl_token(values.cache_hub_token_file)
    there = standing(host, Models, root=values.cache_root, targets=[one.target for one in directories])
    members: dict[str, str | bytes] = {}
    snippets: list[str] = []
    room = there.room
    for wanted, why in models.unverified(directories, there, values.lock):
        found = there.directories[wanted.target]
        try:
            places = origins(values.sources.of_models, wanted.variant, wanted.label)
            places = tuple(one for one in places if one.kind != "push")
            listed = models.listed_files(wanted, places, token, values.lock)
        except IngotError:
            continue
        same = models.same_files(wanted, listed)
        needed = models.missing_bytes(listed, found, same)
        if not places or models.refusal(values, wanted, listed, found, room, same):
            continue
        room = replace(room, free_bytes=room.free_bytes - needed)
        number = len(snippets)
        waived = values.models_waived.get(wanted.variant.repository)
        members[f"{number}/plan"] = models.plan_text(
            host.name, wanted, places, listed, found, waived, values.cache_bandwidth_mb_s, peers.known(values), same
        )
        members[f"{number}/curl"] = token
        members |= {f"{number}/{name}": text for name, text in proxy.members().items()}
        snippets.append(f'( set -- "$1/{number}"; {models.progress(wanted, listed)} )')
        where = " or ".join(one.base for one in places)
        changes.announce(
            [f"begin to fetch {wanted.label} from {where}: {needed / 1e9:.2f} GB to {wanted.target} ({why})"]
        )
    if not snippets:
        host.noop("no weights are to be fetched")
        return
    members |= {"models.sh": models.SCRIPT, "progress": f"{{ {'; '.join(snippets)}; }} | paste -sd, -"}
    # At boot the disk that models are meant for may not be mounted.
    on = f'"$(stat -c %m -- {shlex.quote(values.cache_root)} 2>/dev/null)"'
    members["guard"] = f"[ {on} = {shlex.quote(there.room.mount)} ]"
    # No secret stays on a disk: what needs one goes on after a reboot in the role that waits for it.
    secret = bool(token) or bool(values.proxy and values.proxy.login_file)
    yield from detached.begun(models.TRANSFERS, SCRIPT, members, rivals=[models.UNIT], again=not secret)
