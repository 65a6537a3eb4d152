"""The engine of a host: planned from what is measured, and brought to the plan one replica at a time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host, state

from ingot.engines import Service, Step
from ingot.engines.group_service import part
from ingot.engines.vllm import HOST_ACCOUNTS, HOST_LIBRARY, MIDDLEWARE, MIDDLEWARE_FILE, USER
from ingot.errors import IngotError
from ingot.facts.disk_rate import DiskRate
from ingot.facts.engine import STARTS, STATE, UNIT, EngineLook, EngineState
from ingot.facts.errors import ParseError
from ingot.facts.replica_holds import HOLDS_FILE, read_holds
from ingot.facts.schema import SCHEMA_FILE, schema_json
from ingot.operations import logs, tree, units
from ingot.operations.changes import announce
from ingot.operations.gateway import drain, fronting
from ingot.operations.operation import operation
from ingot.operations.refuse import refuse
from ingot.operations.render import template
from ingot.operations.serving import canary, fleet, group, planning, replica_watch, templates
from ingot.operations.serving import outlook as outlooks
from ingot.operations.serving.outlook import Outlook
from ingot.operations.serving.rollout import COMPOSE, VALIDATE, Commands, Rollout, ask
from ingot.operations.serving.services import removal, services
from ingot.operations.serving.starts import Starts
from ingot.operations.serving.stored import LAST_GOOD
from ingot.operations.standing import standing
from ingot.settings import Settings, of_host
from ingot.settings.serving import service_name
from ingot.sizing import SizingError

UNIT_FILE = f"/etc/systemd/system/{UNIT}"
ROTATION = "/etc/logrotate.d/ingot-engine"


def entries(accounting_days: int, fleet_port: int, unit: str | None = None) -> list[tree.Entry]:
    """The engine's directories, its boot unit, the watch over its GPUs, and its accounts, kept for so many days.

    `unit` is the text of the boot unit of a host that serves together with others.
    """
    return [
        tree.Dir(COMPOSE.rpartition("/")[0], mode="0750"),
        tree.Dir(STATE),
        tree.File(SCHEMA_FILE, schema_json()),
        tree.Dir(f"{STATE}/engine", mode="0755"),
        tree.Dir(f"{STATE}/{LAST_GOOD}", mode="0750"),
        tree.Dir(f"{STATE}/engine/cache", mode="0711"),
        tree.File(UNIT_FILE, unit or template("engine/ingot-engine.service", compose=COMPOSE)),
        tree.Dir(HOST_LIBRARY),
        tree.File(f"{HOST_LIBRARY}/{MIDDLEWARE_FILE}", MIDDLEWARE),
        *replica_watch.entries(fleet_port),
        *(group.program() if unit else ()),
        tree.Dir(HOST_ACCOUNTS.rpartition("/")[0]),
        tree.Dir(HOST_ACCOUNTS, user=USER.partition(":")[0], mode="0750"),
        tree.File(ROTATION, logs.rotation(f"{HOST_ACCOUNTS}/*.jsonl", "roles/engine.py", accounting_days)),
    ]


@operation()
def places() -> Commands:
    """Have the engine's directories, its boot unit and its accounts' rotation."""
    values = of_host(host)
    together = values.together
    unit = group.unit(f"{service_name(together.model)}-0") if together else None
    wanted = entries(values.accounting_days, values.gateway_fleet_port, unit)
    yield from tree.tree._inner(entries=wanted, validate=units.verified(UNIT_FILE, *replica_watch.UNITS))


@operation()
def outlook() -> Commands:
    """See what the plan would replace, and print it as one table once every host of the run was seen."""
    run = fleet.of_run()
    try:
        seen: Outlook | None = look()
    # Its own operation says what is wrong.
    except (IngotError, SizingError, ParseError):
        seen = None
    # Hosts that serve together change as one, and take no turns with others.
    run.saw(host.name, None if of_host(host).together else seen)
    host.noop("nothing is replaced" if seen and not seen.changes else "seen")
    yield from ()


def look(found: EngineState | None = None) -> Outlook | None:
    """What a look at the host in context means for it; None where Docker does not answer.

    Raises: IngotError or SizingError with one sentence, where there is no plan.
    """
    seen: EngineState = standing(host, EngineLook) if found is None else found
    settings = of_host(host)
    planned = planning.host_plan(seen)
    if not seen.docker:
        return None
    starts = Starts.from_stored(seen.files.get(STARTS))
    wanted = services(planned, settings, starts.disk_bytes_per_s)
    if together := settings.together:
        at = group.place(host, together)
        wanted = tuple(part(one, at, cpu=settings.engine_build == "cpu") for one in wanted)
    return outlooks.outlook(host.name, seen, planned, wanted, settings, starts, fronted=fronting.is_fronted())


@operation()
def replicas() -> Commands:
    """Measure, plan, and bring every replica to the plan, one at a time; the old one returns when the new one fails."""
    run = fleet.of_run()
    seen = run.outlooks.get(host.name) or look()
    if seen is None:
        yield refuse(
            f"{host.name}: Docker does not answer, expected it to list the engine's containers; read "
            "`systemctl status docker` on the host."
        )
        return
    if together := of_host(host).together:
        yield from group.serve(seen, group.place(host, together), together, of_host(host))
        return
    if group.is_left(seen.found.files):
        yield from group.leave()
        if state.is_executing:
            seen = run.outlooks[host.name] = look(ask(EngineLook)) or seen
    if not (seen.changes and state.is_executing):
        yield from serve(seen, of_host(host), run)
        return
    waited, stopped = (False, run.refuse(seen)) if seen.refusal else run.take_turn(seen)
    if stopped:
        yield refuse(f"{host.name}: nothing was replaced here: {stopped}; mend that, and deploy again.")
        return
    well = False
    try:
        if waited:
            seen = look(ask(EngineLook)) or seen
        well = yield from serve(seen, of_host(host), run)
    finally:
        # Also where a command failed, or the host was lost: pyinfra ends this body then.
        run.ended(host.name, well=well)


def serve(seen: Outlook, settings: Settings, run: fleet.Fleet | None = None) -> Generator[PyinfraCommand, None, bool]:
    """Bring a host to what is wanted, one replica at a time. Returns: whether it serves that; else it is refused.

    `run` is the deploy that this is a part of; None: the services are of another time, and are taken as they are.
    """
    if run and state.is_executing and any(step.action == "replace" for step in seen.todo):
        seen = _timed(seen)
    rollout = Rollout(settings, seen.planned, seen.wanted, seen.found, seen.starts)
    waiting = _held_though_well(seen.found)
    if waiting:
        announce([f"let {address} have requests again: it answers" for address in waiting])
        yield StringCommand(replica_watch.LOOK)
    if not seen.changes and rollout.agrees():
        if not waiting:
            host.noop(f"{len(seen.wanted)} replicas serve as planned")
        return True
    back = _marked_though_well(seen)
    announce(_sentences(seen.todo, seen.surplus, back))
    # Before another is stopped: a run that was cut off may have left no other in the pool.
    for service in back:
        yield from drain.restore(service.model, service.endpoint)
    yield from tree.tree._inner(entries=templates.entries(request.arguments for request in seen.planned.served))
    for step, place in zip(seen.todo, seen.bridges, strict=True):
        failed = (yield from rollout.bridge(step, place)) if place else None
        if not failed:
            failed = yield from rollout.take(step)
            # What serves on spare GPUs stays where nothing else would.
            if place and (not failed or rollout.serves(step.service.name)):
                yield from rollout.leave_bridge(step, place)
        if failed:
            yield refuse(failed)
            return False
    for name in seen.surplus:
        gone = {one.address for one in seen.found.containers if one.service == name}
        values = rollout.settings
        yield from drain.drain({f"{address}:{values.engine_port}" for address in gone}, values.engine_stop_grace_s)
        yield StringCommand(removal(name))
    if run and state.is_executing and seen.policy.canary and run.is_watched(host.name):
        run.observed(host.name)
        trouble = canary.observe(rollout.settings, seen.wanted)
        if trouble:
            yield from rollout.back(seen.todo)
            yield refuse(f"{host.name}: {trouble}")
            return False
    yield from tree.tree._inner(entries=rollout.final(), validate=VALIDATE)
    return True


def _timed(seen: Outlook) -> Outlook:
    """The same with deadlines that follow from how fast the disk reads what is started, where that can be measured."""
    first = next(step.service for step in seen.todo if step.action == "replace")
    weights = next(mount.source for mount in first.mounts if mount.is_model)
    rate: int | None = host.get_fact(DiskRate, directory=weights)
    if rate is None:
        return seen
    starts = replace(seen.starts, disk_bytes_per_s=rate)
    wanted = services(seen.planned, of_host(host), rate)
    by_name = {service.name: service for service in wanted}
    todo = tuple(replace(step, service=by_name[step.service.name]) for step in seen.todo)
    return replace(seen, wanted=wanted, todo=todo, starts=starts)


def _held_though_well(found: EngineState) -> list[str]:
    """Replicas that the host's watch holds out for a fault of their own, and that this look found well."""
    well = {one.address for one in found.containers if one.healthy}
    holds = read_holds(found.files.get(HOLDS_FILE.removeprefix(f"{STATE}/")))
    return [hold.address for hold in holds if not hold.gpu and hold.address.rpartition(":")[0] in well]


def _marked_though_well(seen: Outlook) -> list[Service]:
    """Replicas that serve as wanted and get no requests, since a run was cut off before it took their marks away.

    Where nothing is stopped they need not go first: the marks go with the rest of the files.
    """
    if not seen.changes:
        return []
    out, stepped = seen.found.marked, {step.service.name for step in seen.todo}
    return [one for one in seen.wanted if one.endpoint in out and one.name not in stepped]


def _sentences(todo: Sequence[Step], surplus: Sequence[str], back: Sequence[Service]) -> list[str]:
    said = [f"let {one.name} have requests again: it serves as planned" for one in back]
    said += [
        f"{'start' if step.action == 'replace' else 'wait for'} {step.service.name}: {step.reason}" for step in todo
    ]
    return said + [f"remove {name}: it is no longer planned" for name in surplus]
