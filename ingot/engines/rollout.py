"""In which order replicas are replaced: a full GPU cannot hold old and new at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ingot.engines.service import Service


@dataclass(frozen=True, slots=True)
class Running:
    """What a look at one container of the engine found.

    `digest` is the service's digest as its label says, `status` Docker's word (running, exited, restarting…),
    `healthy` whether its health route answered (and, when idle, a completion came), `age_s` how long it runs,
    `devices` the CDI names it holds.
    """

    name: str
    digest: str
    status: str
    healthy: bool
    age_s: int
    address: str = ""
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """Bring one service up.

    `action` is *replace* (stop what it displaces, start it) or *wait* (it is the right one and still starting).
    `displaces` names the running services that hold its name or its GPUs. `reason` is what the person watching
    reads.
    """

    service: Service
    action: Literal["replace", "wait"]
    displaces: tuple[str, ...]
    reason: str


def steps(wanted: Sequence[Service], running: Mapping[str, Running], marked: Collection[str] = ()) -> tuple[Step, ...]:
    """What is to be done, one replica after the other; empty when every replica serves as wanted.

    Those that are there and get no requests come first, since nobody misses them: they are not healthy, or a run that
    was cut off left them `marked` as draining (`address:port`). Each step is decided on what the steps before it
    leave: what one started is no other's to displace.
    """

    def in_order(service: Service) -> bool:
        found = running.get(service.name)
        return found is None or (found.healthy and service.endpoint not in marked)

    plan: list[Step] = []
    left = dict(running)
    for service in sorted(wanted, key=in_order):
        found = running.get(service.name)
        reason = _reason(service, found)
        if reason is None:
            continue
        if found is not None and found.digest == service.digest and _starting(service, found):
            plan.append(Step(service, "wait", (), reason))
            continue
        displaced = _displaced(service, wanted, left)
        plan.append(Step(service, "replace", displaced, reason))
        left = {name: one for name, one in left.items() if name not in displaced}
        left[service.name] = Running(service.name, service.digest, "running", True, 0, service.address, service.devices)
    return tuple(plan)


def leftovers(wanted: Sequence[Service], running: Mapping[str, Running]) -> tuple[str, ...]:
    """Running containers that nobody wants any more."""
    names = {service.name for service in wanted}
    return tuple(sorted(name for name in running if name not in names))


def _reason(service: Service, found: Running | None) -> str | None:
    if found is None:
        return "it is not there yet"
    if found.digest != service.digest:
        return "its settings changed"
    if found.status != "running":
        return f"its container is {found.status}"
    if _starting(service, found):
        return f"it is still starting ({found.age_s} s)"
    if not found.healthy:
        return "it does not answer"
    return None


def _starting(service: Service, found: Running) -> bool:
    return found.status == "running" and not found.healthy and found.age_s < service.start_deadline_s


def _displaced(service: Service, wanted: Sequence[Service], running: Mapping[str, Running]) -> tuple[str, ...]:
    """Containers holding its name, its address or one of its GPUs.

    A container that stays wanted as it is displaces nobody and is not displaced: sharing a GPU is the plan's will.
    """
    staying = {other.name for other in wanted if other.name in running and running[other.name].digest == other.digest}
    return tuple(
        sorted(
            name
            for name, old in running.items()
            if name == service.name
            or (
                name not in staying
                and (old.address == service.address or bool(set(old.devices) & set(service.devices)))
            )
        )
    )
