"""What fires over the fleet, as the hosts of the group `monitor` say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from ingot.errors import IngotError
from ingot.facts.alerts import Alert, FiringAlerts
from ingot.inventory.fleet import Selected, asked, monitors_of
from ingot.report.console import plain_table

NO_MONITOR = (
    "{path}: no host is in the group `monitor`, so nobody looks for alerts; name one there and deploy, or look with "
    "`ingot status`."
)


@dataclass(frozen=True)
class FleetAlerts:
    """What fires on the chosen hosts, and the sentences of monitors that do not say. `watched`: there is a monitor."""

    firing: tuple[Alert, ...] = ()
    errors: tuple[str, ...] = ()
    watched: bool = True

    def of_host(self, name: str) -> tuple[Alert, ...]:
        """Those of one host."""
        return tuple(one for one in self.firing if one.host == name)

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {"alerts": [asdict(one) for one in self.firing], "errors": list(self.errors)}


def fleet_alerts(chosen: Selected, *, everybody: bool = False) -> FleetAlerts:
    """What fires on the chosen hosts; `everybody`: on hosts that left the inventory, too."""
    monitors = monitors_of(chosen)
    if not monitors.hosts:
        return FleetAlerts(watched=False)
    names = None if everybody else frozenset(chosen.names)
    found: dict[tuple[str, ...], Alert] = {}
    errors = []
    for name, answer in zip(monitors.names, asked(monitors, lambda host: host.get_fact(FiringAlerts)), strict=True):
        if isinstance(answer, IngotError):
            errors.append(str(answer))
            continue
        errors += [f"{name}: {fault}." for fault in answer.faults]
        # Two monitors watch the same fleet.
        for one in answer.firing:
            if names is None or one.host in names:
                found.setdefault((one.name, one.host, one.model, one.summary), one)
    return FleetAlerts(tuple(found.values()), tuple(errors))


def table(found: Iterable[Alert]) -> Table:
    """A row for each alert, the most urgent first."""
    shown = plain_table("severity", "host", "alert", "since (UTC)", "what", whole=("host", "alert"))
    for one in found:
        severity = f"{one.severity}, held back" if one.held_back else one.severity
        shown.add_row(severity, one.host, one.name, one.since[:16].replace("T", " "), one.summary)
    return shown


def counted(found: Sequence[Alert]) -> str:
    """How many of them ask for somebody, such as `2 critical, 1 warning`; `-` where none does."""
    severities = [one.severity for one in found if one.asks]
    numbers: Mapping[str, int] = {name: severities.count(name) for name in dict.fromkeys(sorted(severities))}
    return ", ".join(f"{count} {name}" for name, count in numbers.items()) or "-"
