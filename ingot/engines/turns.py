"""Which host of a fleet may replace its replicas now: a canary first, then as many as hurt nobody. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ingot.engines.rollout import Running, Step

#: Where a host is on its way. Only a host that is *waiting* may begin; *holding* is a canary that is observed.
Phase = Literal["waiting", "working", "holding", "done", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What the values of a host say: the floor (None: one, where a replica can stay), failures, and the canary.

    `others_serve`: another host must serve a model while it has no replica here.
    """

    min_healthy: int | None = None
    max_failures: int = 1
    canary: bool = True
    others_serve: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """One host of a rollout, and by model how many of its replicas serve.

    `healthy` is what serves now, `lowest` the least that serves while its replicas are replaced; both are 0 for a model
    that they lack. `changes`: it has something to replace or to start. `comes`: it asks for its turn sooner or later.
    """

    host: str
    phase: Phase = "waiting"
    healthy: Mapping[str, int] = field(default_factory=dict)
    lowest: Mapping[str, int] = field(default_factory=dict)
    changes: bool = True
    comes: bool = True
    policy: Policy = field(default_factory=Policy)

    @property
    def taken(self) -> Mapping[str, int]:
        """By model, how many replicas are missing at the worst moment; models that lose none are left out."""
        dips = {model: count - self.lowest.get(model, 0) for model, count in self.healthy.items()}
        return {model: dip for model, dip in dips.items() if dip > 0}

    @property
    def sure(self) -> Mapping[str, int]:
        """By model, how many replicas serve for sure, whatever this host does now."""
        return self.lowest if self.phase == "working" else self.healthy


@dataclass(frozen=True, slots=True)
class Turn:
    """What a host that asks may do: *go*, *wait* or *stop*, and why."""

    word: Literal["go", "wait", "stop"]
    why: str = ""


GO = Turn("go")


def canary_of(members: Sequence[Member]) -> Member | None:
    """The host that changes first: the one that has begun, else the first in order that may begin, else the first."""
    changing = [one for one in members if one.changes and one.phase != "stopped"]
    begun = [one for one in changing if one.phase != "waiting"]
    able = [one for one in changing if one.comes and not _short(one, members)]
    return next(iter([*begun, *able, *changing]), None)


def turn(host: str, members: Sequence[Member], canary: str | None = None) -> Turn:
    """Whether a waiting host may begin.

    `members` are in the order in which they take turns. `canary` names the host that began first, where one has. When
    no host works or is observed, at least one that `comes` is told to go, or all of them to stop: everything ends.
    """
    me = next(one for one in members if one.host == host)
    first = next((one for one in members if one.host == canary), None) or canary_of(members)
    failed, policy = [one for one in members if one.phase == "failed"], me.policy
    if policy.canary and first and first.phase == "failed":
        return Turn("stop", f"the canary {first.host} failed")
    if len(failed) >= policy.max_failures:
        names = ", ".join(one.host for one in failed)
        return Turn("stop", f"{names} failed, and rollout_max_failures is {policy.max_failures}")
    if policy.canary and first and first is not me and first.phase != "done":
        return Turn("wait", f"the canary {first.host} {'is observed' if first.phase == 'holding' else 'goes first'}")
    short = _short(me, members)
    if short:
        working = [one.host for one in members if one.phase in ("working", "holding")]
        able = [one.host for one in members if _waits(one) and not _short(one, members)]
        if working or able:
            return Turn("wait", f"{', '.join(working or able)} {'replaces' if working else 'adds'} replicas first")
        return Turn("stop", short)
    if me.taken:
        busy = [one.host for one in members if one.phase == "working" and one.taken]
        before = members[: members.index(me)]
        busy += [one.host for one in before if _waits(one) and one.taken and not _short(one, members)]
        if len(busy) + len(failed) >= policy.max_failures:
            return Turn("wait", f"{', '.join(busy)} replaces its replicas first")
    return GO


def _waits(one: Member) -> bool:
    return one.changes and one.comes and one.phase == "waiting"


def _short(me: Member, members: Sequence[Member]) -> str:
    """The clause that says what a host would leave too few of; empty where it may begin."""
    policy = me.policy
    for model, dip in sorted(me.taken.items()):
        others = sum(one.sure.get(model, 0) for one in members if one is not me)
        left = others + me.healthy[model] - dip
        if policy.others_serve and not me.lowest.get(model, 0) and not others:
            return f"no other host serves {model} while it has no replica here, and rollout_outage is 'other-hosts'"
        floor = policy.min_healthy
        if floor is None:
            # Others' at their best: what works now comes back.
            best = sum(one.healthy.get(model, 0) for one in members if one is not me)
            floor = 1 if best + me.healthy[model] - dip > 0 else 0
        if left < floor:
            stated = f"rollout_min_healthy is {floor}" if policy.min_healthy is not None else "one shall stay"
            return f"{left} healthy replicas of {model} would be left in the fleet, and {stated}"
    return ""


def counted(running: Mapping[str, Running], models: Mapping[str, str]) -> dict[str, int]:
    """Healthy replicas by model; `models` says which model a container serves, by its name."""
    found: dict[str, int] = {}
    for name, one in running.items():
        if name in models and one.status == "running" and one.healthy:
            found[models[name]] = found.get(models[name], 0) + 1
    return found


def lows(steps: Sequence[Step], running: Mapping[str, Running], models: Mapping[str, str]) -> list[dict[str, int]]:
    """By step, how many replicas of each model serve while it is taken, if every step before it succeeded."""
    left, serves = dict(running), dict(models)
    found = []
    for step in steps:
        for name in step.displaces:
            left.pop(name, None)
        found.append(counted(left, serves))
        service = step.service
        left[service.name] = Running(service.name, service.digest, "running", True, 0, service.address, service.devices)
        serves[service.name] = service.model
    return found


def lowest(healthy: Mapping[str, int], by_step: Sequence[Mapping[str, int]], kept: Mapping[str, int]) -> dict[str, int]:
    """By model, the least that serves at any time: before, during each step, and of those `kept` at the end."""
    return {model: min([count, *(one.get(model, 0) for one in (*by_step, kept))]) for model, count in healthy.items()}
