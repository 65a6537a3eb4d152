"""The engine of a host: planned from what is measured, and brought to the plan one replica at a time."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.command import StringCommand
from pyinfra.context import host

from ingot.engines import Running, Step, leftovers, steps
from ingot.engines.vllm import HOST_ACCOUNTS, HOST_LIBRARY, MIDDLEWARE, MIDDLEWARE_FILE, USER
from ingot.facts.engine import STATE, EngineLook, EngineState
from ingot.facts.replica_holds import HOLDS_FILE, read_holds
from ingot.facts.schema import SCHEMA_FILE, schema_json
from ingot.operations import logs, tree
from ingot.operations.changes import announce
from ingot.operations.operation import operation
from ingot.operations.refuse import refuse
from ingot.operations.render import template
from ingot.operations.serving import planning, replica_watch, templates
from ingot.operations.serving.rollout import COMPOSE, Commands, Rollout
from ingot.operations.serving.services import removal, services
from ingot.operations.serving.stored import LAST_GOOD
from ingot.settings import of_host

UNIT = "/etc/systemd/system/ingot-engine.service"
ROTATION = "/etc/logrotate.d/ingot-engine"


def entries(accounting_days: int, fleet_port: int) -> list[tree.Entry]:
    """The engine's directories, its boot unit, the watch over its GPUs, and its accounts, kept for so many days."""
    return [
        tree.Dir(COMPOSE.rpartition("/")[0], mode="0750"),
        tree.Dir(STATE),
        tree.File(SCHEMA_FILE, schema_json()),
        tree.Dir(f"{STATE}/engine", mode="0755"),
        tree.Dir(f"{STATE}/{LAST_GOOD}", mode="0750"),
        tree.Dir(f"{STATE}/engine/cache", mode="0711"),
        tree.File(UNIT, template("engine/ingot-engine.service", compose=COMPOSE)),
        tree.Dir(HOST_LIBRARY),
        tree.File(f"{HOST_LIBRARY}/{MIDDLEWARE_FILE}", MIDDLEWARE),
        *replica_watch.entries(fleet_port),
        tree.Dir(HOST_ACCOUNTS.rpartition("/")[0]),
        tree.Dir(HOST_ACCOUNTS, user=USER.partition(":")[0], mode="0750"),
        tree.File(ROTATION, logs.rotation(f"{HOST_ACCOUNTS}/*.jsonl", "roles/engine.py", accounting_days)),
    ]


@operation()
def places() -> Commands:
    """Have the engine's directories, its boot unit and its accounts' rotation."""
    values = of_host(host)
    yield from tree.tree._inner(entries=entries(values.accounting_days, values.gateway_fleet_port))


def running(found: EngineState) -> dict[str, Running]:
    """What the look found, in the rollout's terms."""
    return {
        one.service: Running(one.service, one.digest, one.status, one.healthy, one.age_s, one.address, one.devices)
        for one in found.containers
    }


@operation()
def replicas() -> Commands:
    """Measure, plan, and bring every replica to the plan, one at a time; the old one returns when the new one fails."""
    found: EngineState = host.get_fact(EngineLook)
    settings = of_host(host)
    planned = planning.host_plan(found)
    if not found.docker:
        yield refuse(
            f"{host.name}: Docker does not answer, expected it to list the engine's containers; read "
            "`systemctl status docker` on the host."
        )
        return
    wanted = services(planned, settings)
    read = templates.entries(request.arguments for request in planned.served)
    rollout = Rollout(settings, planned, wanted, found)
    todo, surplus = steps(wanted, running(found)), leftovers(wanted, running(found))
    waiting = _held_though_well(found)
    if waiting:
        announce([f"let {address} have requests again: it answers" for address in waiting])
        yield StringCommand(replica_watch.LOOK)
    if not todo and not surplus and rollout.agrees():
        if not waiting:
            host.noop(f"{len(wanted)} replicas serve as planned")
        return
    announce(_sentences(todo, surplus))
    yield from tree.tree._inner(entries=read)
    for step in todo:
        failed = yield from rollout.take(step)
        if failed:
            yield refuse(failed)
            return
    for name in surplus:
        yield StringCommand(removal(name))
    yield from tree.tree._inner(entries=rollout.final())


def _held_though_well(found: EngineState) -> list[str]:
    """Replicas that the host's watch holds out for a fault of their own, and that this look found well."""
    well = {one.address for one in found.containers if one.healthy}
    holds = read_holds(found.files.get(HOLDS_FILE.removeprefix(f"{STATE}/")))
    return [hold.address for hold in holds if not hold.gpu and hold.address.rpartition(":")[0] in well]


def _sentences(todo: Sequence[Step], surplus: Sequence[str]) -> list[str]:
    said = [
        f"{'start' if step.action == 'replace' else 'wait for'} {step.service.name}: {step.reason}" for step in todo
    ]
    return said + [f"remove {name}: it is no longer planned" for name in surplus]
