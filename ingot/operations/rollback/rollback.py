"""A host goes back to a state that it keeps: engine first, replica by replica and proven, then the gateway."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host

from ingot.engines.group_service import stands
from ingot.facts.engine import STARTS, EngineLook, EngineState
from ingot.facts.good_states import INCLUDED, Missing, Serving, ServingLook
from ingot.facts.nginx_sites import CONFIGURATION
from ingot.facts.pool import Pool, PoolState
from ingot.gateway.upstreams import Upstream
from ingot.operations import changes, tree
from ingot.operations.gateway import drain, fronting
from ingot.operations.gateway import gateway as operations
from ingot.operations.operation import operation
from ingot.operations.refuse import Refusal
from ingot.operations.rollback.keep import serving
from ingot.operations.rollback.state import GoodState, read, target
from ingot.operations.rollback.together import Part
from ingot.operations.serving import engine, group
from ingot.operations.serving.outlook import Outlook, outlook
from ingot.operations.serving.planning import Planned
from ingot.operations.serving.starts import Starts
from ingot.settings import Settings, of_host
from ingot.sizing import HostPlan

#: nginx' part of the filter: whether requests of some teams are redacted and counted.
FILTERED = f"{INCLUDED}/filter.conf"
#: What is no part of a state is tested as it is: keys and certificates, beside the files that come back.
VALIDATE = (
    f"tar -C {INCLUDED.rpartition('/')[0]} -c {INCLUDED.rpartition('/')[2]} | "
    f"tar -C {{stage}}{INCLUDED.rpartition('/')[0]} -x --skip-old-files && {operations.VALIDATE}"
)
_RESULT = "ingot_rolled_back"

Commands = Generator[PyinfraCommand, None, None]


@operation()
def rollback(number: int | None = None) -> Commands:
    """
    Go back to a state that was proven, and prove it again: nothing is fetched, and no key that was revoked comes back.

    + number: of the state; None: the newest that differs from what serves now and is older. A host of a group needs it,
      and goes back with all others of it, which do the same

    **Example:**

    .. code:: python

        rollback.rollback(name="Go back to what served before")
    """
    found, settings = look(), of_host(host)
    now = serving(found, settings)
    wanted = chosen(found, settings, number)
    if problem := unfit(found, wanted):
        raise Refusal(problem)
    remember(wanted)
    # What a host of a group serves may stay as it is while that of another does not.
    if wanted.digest == now.digest and not wanted.hosts:
        host.noop(f"state {wanted.number} serves already")
        return
    changes.announce([f"go back to state {wanted.number} of {wanted.at}: {wanted.words()}"])
    if wanted.services:
        proven = yield from _engines(wanted, settings)
        if not proven:
            return
    if wanted.digest != now.digest:
        yield from _gateway(found, wanted)


def look() -> Serving:
    """What the host in context serves, and the states that it keeps. Raises: Refusal."""
    found: Serving = host.get_fact(ServingLook)
    if not found.answered:
        raise Refusal(f"{host.name}: it did not say which states it keeps; see that sudo works there, and run again.")
    return found


def part() -> Part:
    """What the host in context keeps, and serves, as a host of a group. Raises: Refusal."""
    settings = of_host(host)
    if misfit := next(group.misfits(host, settings), None):
        raise Refusal(f"{host.name}: {misfit}.")
    found = look()
    return Part(read(found.states), serving(found, settings))


def chosen(found: Serving, settings: Settings, number: int | None) -> GoodState:
    """The state that the host in context goes back to. Raises: Refusal."""
    states, now = read(found.states), serving(found, settings)
    item = settings.together
    hosts = item.hosts if item else ()
    if now.hosts and now.hosts != hosts:
        raise Refusal(
            f"{host.name}: it serves one replica together with {_others(now.hosts)}, and its `serve` says otherwise, "
            f"expected both alike; set `serve` back to roll them back together, or deploy {', '.join(now.hosts)}."
        )
    wanted = target(states, now.digest, number)
    if wanted is None:
        raise Refusal(_no_state(states, now.digest, number))
    if wanted.hosts != hosts:
        then = f"served together with {_others(wanted.hosts)}" if wanted.hosts else "served by itself"
        raise Refusal(
            f"{host.name}: state {wanted.number} is of a time when it {then}, expected one of the same hosts as now, "
            f"since a rollback changes no `serve`; take another of `ingot history {host.name}`, or deploy an earlier "
            "commit of the fleet's repository."
        )
    return wanted


def prospect(number: int) -> Outlook:
    """What a rollback of its group means for the host in context, which is looked at alone. Raises: Refusal."""
    found, settings = look(), of_host(host)
    wanted = chosen(found, settings, number)
    if problem := unfit(found, wanted):
        raise Refusal(problem)
    seen, _ = _outlook(wanted, settings)
    return seen


def _others(hosts: Sequence[str]) -> str:
    return " and ".join(name for name in hosts if name != host.name)


def remember(wanted: GoodState) -> None:
    """Keep which state a host goes to, for whoever shows it."""
    host.connector_data[_RESULT] = wanted


def rolled_back(of: Any) -> GoodState | None:
    """The state that a host went to."""
    found: GoodState | None = of.connector_data.get(_RESULT)
    return found


def _no_state(states: Sequence[GoodState], now: str, number: int | None) -> str:
    kept = ", ".join(f"{one.number}{' (serves now)' if one.digest == now else ''}" for one in states) or "none"
    asked = f"no state {number}" if number is not None else "no state older than what serves now"
    return (
        f"{host.name}: it keeps {asked}, expected one of those that it keeps ({kept}); see `ingot history "
        f"{host.name}`, or deploy an earlier commit of the fleet's repository."
    )


def unfit(found: Serving, wanted: GoodState) -> str | None:
    """Why a state cannot come back as it was, before anything is changed; None where it can."""
    if (FILTERED in found.files) != (FILTERED in wanted.files):
        then, now = ("with", "without") if FILTERED in wanted.files else ("without", "with")
        return (
            f"{host.name}: state {wanted.number} served {then} redaction and budgets, and the host now serves {now} "
            "them, expected the same of both, since a rollback changes no team's protection; deploy an earlier commit."
        )
    if not wanted.services:
        return None
    lacking = host.get_fact(Missing, images=wanted.images, paths=wanted.sources)
    if lacking is None:
        return f"{host.name}: it did not say whether it has what state {wanted.number} needs; run again."
    if lacking:
        return (
            f"{host.name}: {', '.join(lacking)} is gone, expected it to be kept for state {wanted.number}; take "
            f"another state of `ingot history {host.name}`, or deploy an earlier commit, which fetches it again."
        )
    return None


def _engines(wanted: GoodState, settings: Settings) -> Generator[PyinfraCommand, None, bool]:
    """Every replica as it was, proven; False where one failed, which has refused the host."""
    seen, then = _outlook(wanted, settings)
    if item := settings.together:
        # The unit names the container of the model that served then.
        yield from tree.tree._inner(entries=[tree.File(engine.UNIT_FILE, group.unit(wanted.services[0].name))])
        return (yield from group.serve(seen, group.place(host, item), item, then))
    if seen.refusal:
        raise Refusal(f"{host.name}: nothing was replaced here: {seen.refusal}; mend that, and run again.")
    return (yield from engine.serve(seen, then))


def _outlook(wanted: GoodState, settings: Settings) -> tuple[Outlook, Settings]:
    """What the engine's way back means for the host in context, and the settings of that time. Raises: Refusal."""
    found: EngineState = host.get_fact(EngineLook)
    if not found.docker:
        raise Refusal(
            f"{host.name}: Docker does not answer, expected it to list the engine's containers; read "
            "`systemctl status docker` on the host."
        )
    if (item := settings.together) and not stands(wanted.services[0], at := group.place(host, item)):
        raise Refusal(
            f"{host.name}: state {wanted.number} reached the hosts of its group by other addresses or another "
            f"interface, expected {at.interface} with {at.address}, and {at.hosts[0][0]} at {at.hosts[0][1]}; deploy "
            "an earlier commit of the fleet's repository."
        )
    then = settings.model_copy(update=_values(wanted))
    stored = wanted.plan
    planned = Planned(HostPlan.from_dict(stored["plan"]), {}, stored["free_bytes"], stored["inputs"], "rolled back")
    starts = Starts.from_stored(found.files.get(STARTS))
    fronted = fronting.is_fronted()
    return outlook(host.name, found, planned, wanted.services, then, starts, fronted=fronted), then


def _values(wanted: GoodState) -> dict[str, Any]:
    """Settings of that time, as their types are."""
    return {name: IPv4Network(value) if name == "engine_network" else value for name, value in wanted.values.items()}


def _gateway(found: Serving, wanted: GoodState) -> Commands:
    """nginx' files as they were, with the keys and certificates of now."""
    entries: list[tree.Entry] = [tree.Dir(INCLUDED)] if wanted.files else []
    entries += [tree.File(path, text) for path, text in wanted.files.items()]
    entries += [tree.Absent(path) for path in found.files if path not in wanted.files]
    if wanted.services:
        pool: PoolState = host.get_fact(Pool)
        pool = replace(pool, affinity="js_var $affinity" in wanted.files.get(CONFIGURATION, ""))
        routed = [Upstream(str(one["model"]), tuple(one["replicas"])) for one in wanted.upstreams]
        entries += drain.pool_files(pool, routed)
    yield from tree.tree._inner(entries=entries, validate=VALIDATE)
    yield StringCommand(operations.RELOAD)
    yield from operations.in_effect._inner()
