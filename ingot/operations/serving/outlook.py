"""What a rollout is about to do, seen before anything changes: by host and replica, with the outages that it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingot.engines import Running, Service, Step, leftovers, steps
from ingot.engines.turns import Member, Policy, canary_of, counted, lowest, lows
from ingot.facts.engine import EngineState
from ingot.operations.serving.planning import Planned
from ingot.operations.serving.rollout import Bridge
from ingot.operations.serving.starts import Starts
from ingot.operations.serving.stored import stored_services
from ingot.settings import Settings
from ingot.settings.engine import FIRST_ADDRESS, room

#: What a service's fields are called where one of them is another than before.
_WORDS = {
    "image": "image",
    "argv": "arguments",
    "env": "variables",
    "mounts": "files",
    "devices": "GPUs",
    "model": "model",
    "address": "address",
}


@dataclass(frozen=True, slots=True)
class Outlook:
    """One host: what was found there, what is wanted, and the steps from one to the other.

    `by_step` says how many replicas of each model serve during each step, `bridges` where the new one serves meanwhile
    on spare GPUs (None: nowhere), `refusal` why the host's values do not let it begin.
    """

    host: str
    found: EngineState
    planned: Planned
    wanted: tuple[Service, ...]
    todo: tuple[Step, ...]
    surplus: tuple[str, ...]
    healthy: Mapping[str, int]
    by_step: tuple[Mapping[str, int], ...]
    policy: Policy
    fronted: bool
    starts: Starts
    bridges: tuple[Bridge | None, ...] = ()
    refusal: str = ""

    @property
    def changes(self) -> bool:
        """Whether a replica is touched."""
        return bool(self.todo or self.surplus)

    @property
    def lowest(self) -> Mapping[str, int]:
        """By model, the least that serves at any time of the rollout."""
        kept: dict[str, int] = {}
        for service in self.wanted:
            kept[service.model] = kept.get(service.model, 0) + 1
        return lowest(self.healthy, self.by_step, kept)


def outlook(
    host: str,
    found: EngineState,
    planned: Planned,
    wanted: tuple[Service, ...],
    values: Settings,
    starts: Starts,
    *,
    fronted: bool,
) -> Outlook:
    """What a look at a host means for it. Pure."""
    running = by_name(found)
    models = {one.name: one.model for one in wanted} | _models(found)
    todo, healthy = steps(wanted, running, found.marked), counted(by_name(found), models)
    by_step = lows(todo, running, models)
    bridges: list[Bridge | None] = [None] * len(todo)
    refusal = ""
    for index, step in enumerate(todo):
        gone = _gone(healthy, by_step[index])
        if gone and values.rollout_outage == "spare-gpus":
            bridges[index] = spare(step.service, found, planned, wanted, values)
            if bridges[index] and gone == [step.service.model]:
                by_step[index] = {**by_step[index], step.service.model: 1}
            else:
                refusal = (
                    f"{step.service.name} is the last of {', '.join(gone)} here and no {len(step.service.devices)} "
                    "spare GPUs are there to start the new one first, and rollout_outage is 'spare-gpus'"
                )
        elif gone and values.rollout_outage == "other-hosts" and not fronted:
            refusal = (
                f"{step.service.name} is the last of {', '.join(gone)} here and no fleet gateway stands before this "
                "host, and rollout_outage is 'other-hosts'"
            )
    return Outlook(
        host,
        found,
        planned,
        wanted,
        todo,
        leftovers(wanted, running),
        healthy,
        tuple(by_step),
        Policy(
            values.rollout_min_healthy,
            values.rollout_max_failures,
            values.rollout_canary,
            values.rollout_outage == "other-hosts",
        ),
        fronted,
        starts,
        tuple(bridges),
        refusal,
    )


def _gone(before: Mapping[str, int], low: Mapping[str, int]) -> list[str]:
    """The models that serve before a step, and have no replica while it is taken."""
    return [model for model in sorted(before) if before[model] and not low.get(model)]


def spare(
    service: Service, found: EngineState, planned: Planned, wanted: Sequence[Service], values: Settings
) -> Bridge | None:
    """GPUs that nobody uses or is planned for, as many as a service needs, and an address; None where they lack."""
    used = {device for one in wanted for device in one.devices}
    used |= {device for one in found.containers for device in one.devices}
    free = [name for uuid in sorted(planned.free_bytes) if (name := f"nvidia.com/gpu={uuid}") not in used]
    taken = {one.address for one in wanted} | {one.address for one in found.containers}
    addresses = (str(values.engine_network[FIRST_ADDRESS + number]) for number in range(room(values.engine_network)))
    address = next((one for one in addresses if one not in taken), None)
    if address is None or len(free) < len(service.devices) or not service.devices:
        return None
    return Bridge(tuple(free[: len(service.devices)]), address)


def changed(step: Step, last: Service | None) -> str:
    """What happens to a replica, in words: `replace: arguments and image`."""
    if step.action == "wait":
        return f"wait: {step.reason}"
    verb = "replace" if step.displaces else "start"
    parts = [word for field, word in _WORDS.items() if last and getattr(last, field) != getattr(step.service, field)]
    if step.reason == "its settings changed" and parts:
        return f"{verb}: {' and '.join([', '.join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)}"
    return f"{verb}: {step.reason}"


def outage(one: Outlook, index: int, others: Mapping[str, int]) -> str:
    """What callers notice of a step; `others` are healthy replicas of each model on other hosts."""
    step = one.todo[index]
    before, low = one.healthy, one.by_step[index]
    gone = _gone(before, low)
    if one.bridges and (place := one.bridges[index]):
        return f"none: starts on spare GPUs first ({', '.join(place.devices)})"
    if not gone:
        left = low.get(step.service.model, 0)
        return f"none: {left} of {before[step.service.model]} serve" if before.get(step.service.model) else "none"
    if one.fronted and all(others.get(model) for model in gone):
        return f"none behind the fleet gateway: {sum(others[model] for model in gone)} serve on other hosts"
    seconds = one.starts.seconds.get(step.service.name)
    return f"yes: 503 with Retry-After, {f'about {seconds} s' if seconds else 'as long as its start takes'}"


def by_name(found: EngineState) -> dict[str, Running]:
    """The containers that a look found, by service, in the rollout's terms."""
    return {
        one.service: Running(one.service, one.digest, one.status, one.healthy, one.age_s, one.address, one.devices)
        for one in found.containers
    }


def serving(found: EngineState) -> dict[str, int]:
    """Healthy replicas of a host by model, by the services that were proven there last."""
    return counted(by_name(found), _models(found))


def _models(found: EngineState) -> dict[str, str]:
    """The model of each service that was proven on a host last."""
    return {name: last.service.model for name, last in stored_services(found.files).items()}


HEAD = ("order", "host", "replica", "change", "outage")


def rows(seen: Sequence[Outlook]) -> list[tuple[str, ...]]:
    """The table of a rollout, as words: one row for each replica that is touched, in the order in which it is."""
    changing = [one for one in seen if one.changes]
    made: list[tuple[str, ...]] = []
    for order, one in _ordered(changing):
        others: dict[str, int] = {}
        for other in seen:
            for model, count in other.healthy.items():
                others[model] = others.get(model, 0) + (count if other is not one else 0)
        last = stored_services(one.found.files)
        for index, step in enumerate(one.todo):
            name = step.service.name
            made.append(
                (
                    order,
                    one.host,
                    name,
                    changed(step, last[name].service if name in last else None),
                    outage(one, index, others),
                )
            )
        made += [(order, one.host, name, "remove: it is no longer planned", "none") for name in one.surplus]
    return made


def together(seen: Sequence[Outlook]) -> list[tuple[str, ...]]:
    """The same of hosts that serve one replica, which is changed on all of them at the same time, or on none."""
    made: list[tuple[str, ...]] = []
    for one in seen if any(other.changes for other in seen) else ():
        (service,) = one.wanted
        last = stored_services(one.found.files)
        steps = [changed(step, last[service.name].service if service.name in last else None) for step in one.todo]
        change = next(iter(steps), "restart: with the others of its group")
        made.append(("1", one.host, service.name, change, "yes: 503 with Retry-After, as long as its start takes"))
    return made


def _ordered(changing: Sequence[Outlook]) -> list[tuple[str, Outlook]]:
    """The hosts with their places: the canary, then as many at once as may fail; who only adds comes with the first."""
    members = [Member(one.host, "waiting", one.healthy, one.lowest, policy=one.policy) for one in changing]
    if not members:
        return []
    policy = changing[0].policy
    canary = canary_of(members) if policy.canary and len(members) > 1 else None
    placed = [("1 canary", one) for one in changing if canary and one.host == canary.host]
    first, takers = 2 if canary else 1, 0
    for one, member in zip(changing, members, strict=True):
        if canary and one.host == canary.host:
            continue
        batch = takers // policy.max_failures if member.taken else 0
        takers += bool(member.taken)
        placed.append((str(first + batch), one))
    return sorted(placed, key=lambda place: int(place[0].split()[0]))


def lines(table: Sequence[tuple[str, ...]]) -> list[str]:
    """A table of words as lines of aligned columns, under its head."""
    all_rows = [HEAD, *table]
    widths = [max(len(row[column]) for row in all_rows) for column in range(len(HEAD))]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in all_rows]
