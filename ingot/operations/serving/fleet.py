"""The hosts of one run take turns at replacing replicas: what each knows of the others, and the waiting in between.

pyinfra runs an operation on all hosts at once, each in a greenlet of this process: they ask here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.context import ctx_host, host, state

from ingot.engines.turns import Member, Phase, Turn, turn
from ingot.facts.engine import EngineLook
from ingot.operations.gateway import fronting
from ingot.operations.serving.outlook import Outlook, lines, rows, serving
from ingot.settings import WrongValues, section
from ingot.settings.serving import Serving

#: Seconds between two looks at whose turn it is.
PAUSE_S = 0.5
_FLEET = "ingot_fleet"


@dataclass
class Fleet:
    """The rollout of one run: outlooks by host, where each host is on its way, and which began first."""

    outlooks: dict[str, Outlook] = field(default_factory=dict)
    phases: dict[str, Phase] = field(default_factory=dict)
    asking: set[str] = field(default_factory=set)
    #: Hosts that were seen, whether or not anything is known of them.
    seen: set[str] = field(default_factory=set)
    canary: str | None = None
    #: Hosts that take no part in the run, with their healthy replicas by model; None: not looked at yet.
    elsewhere: dict[str, dict[str, int]] | None = None
    looking: bool = False

    def saw(self, name: str, found: Outlook | None) -> None:
        """Remember what a host would do (None: not known), and print the table once all were seen."""
        self.seen.add(name)
        if found is None:
            self.outlooks.pop(name, None)
        else:
            self.outlooks[name] = found
        names = _in_order()
        if len(names) > 1 and not set(names) <= self.seen:
            return
        table = rows([self.outlooks[one] for one in names if one in self.outlooks])
        if table:
            for line in lines(table):
                logger.info(f"    {line}")

    def members(self) -> list[Member]:
        """The hosts of the run and those elsewhere, as the decision sees them."""
        names = _in_order()
        all_come = _all_at_once(names)
        found = [
            Member(
                name,
                self.phases.get(name, "waiting"),
                one.healthy,
                one.lowest,
                one.changes,
                comes=all_come or name in self.asking,
                policy=one.policy,
            )
            for name in dict.fromkeys([*names, *self.outlooks])
            if (one := self.outlooks.get(name))
        ]
        return found + [
            Member(name, "done", healthy, healthy, changes=False) for name, healthy in (self.elsewhere or {}).items()
        ]

    def take_turn(self, mine: Outlook) -> tuple[bool, str]:
        """Wait until this host may begin. Returns: whether it waited; why it may not, empty where it may."""
        name, policy, said, waited = mine.host, mine.policy, "", False
        self.outlooks[name] = mine
        self.seen.add(name)
        self.asking.add(name)
        taken = Member(name, "waiting", mine.healthy, mine.lowest).taken
        if taken and (policy.min_healthy or policy.others_serve):
            self._look_elsewhere()
        while True:
            decided: Turn = turn(name, self.members(), self.canary)
            if decided.word == "go":
                self.phases[name] = "working"
                self.canary = self.canary or name
                return waited, ""
            if decided.word == "stop":
                self.phases[name] = "stopped"
                return waited, decided.why
            if decided.why != said:
                said = decided.why
                logger.info(f"{host.print_prefix}{name} waits: {said}")
            waited = True
            time.sleep(PAUSE_S)

    def refuse(self, mine: Outlook) -> str:
        """This host does not begin. Returns: why."""
        self.phases[mine.host] = "stopped"
        return mine.refusal

    def is_watched(self, name: str) -> bool:
        """Whether other hosts wait for this one to be observed."""
        if name != self.canary:
            return False
        unseen = [one for one in _in_order() if one not in self.seen]
        waiting = [
            one for one, seen in self.outlooks.items() if seen.changes and self.phases.get(one, "waiting") == "waiting"
        ]
        return bool(unseen or [one for one in waiting if one != name])

    def observed(self, name: str) -> None:
        """The canary serves, and is observed from now on."""
        self.phases[name] = "holding"

    def ended(self, name: str, *, well: bool) -> None:
        """A host's turn is over; what failed counts with the least that may be left of it."""
        self.phases[name] = "done" if well else "failed"
        one = self.outlooks[name]
        after: dict[str, int] = {}
        for service in one.wanted:
            after[service.model] = after.get(service.model, 0) + 1
        self.outlooks[name] = replace(one, healthy=after if well else one.lowest, by_step=(), todo=one.todo)

    def _look_elsewhere(self) -> None:
        """Count what serves on hosts of the inventory that have no part in this run."""
        if self.elsewhere is not None:
            # Another host of the run may be looking.
            while self.looking:
                time.sleep(PAUSE_S)
            return
        self.elsewhere, self.looking = {}, True
        try:
            self._count_elsewhere(self.elsewhere)
        finally:
            self.looking = False

    def _count_elsewhere(self, counts: dict[str, dict[str, int]]) -> None:
        wanted = {service.model for one in self.outlooks.values() for service in one.wanted}
        for one in host.inventory:
            if one.name not in self.seen and not fronting.has_no_engine(one) and wanted & _models(one):
                counts[one.name] = _healthy(one)


def of_run() -> Fleet:
    """The fleet of the run in context: what was seen while pyinfra prepared is seen anew when it executes."""
    name = f"{_FLEET}_{'executing' if state.is_executing else 'preparing'}"
    found = getattr(state, name, None)
    if found is None:
        found = Fleet()
        setattr(state, name, found)
    assert isinstance(found, Fleet)
    return found


def _in_order() -> Sequence[str]:
    """The hosts of the run that serve, in the order in which they take turns.

    Where pyinfra works on fewer hosts at once than there are, its own order: who is not worked on cannot begin.
    """
    names = [one.name for one in host.inventory.get_active_hosts() if not fronting.has_no_engine(one)]
    return sorted(names) if _all_at_once(names) else names


def _all_at_once(names: Sequence[str]) -> bool:
    """Whether pyinfra works on all hosts at the same time (`--parallel`)."""
    return state.pool.size is None or state.pool.size >= len(names)


def _models(one: Host) -> set[str]:
    try:
        return set(section(one, Serving).names)
    except WrongValues:
        return set()


def _healthy(one: Host) -> dict[str, int]:
    """Healthy replicas of another host by model; none where it gives no answer."""
    was_connected = one.connected
    with ctx_host.use(one):
        one.connect(show_errors=False)
        if not one.connected:
            return {}
        found = one.get_fact(EngineLook, _ignore_errors=True)
        if not was_connected:
            one.disconnect()
    return serving(found)
