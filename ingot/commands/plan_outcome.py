"""What `ingot plan` comes to: plans and refusals of a run, made and shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import click
from rich.console import Console

from ingot.catalog import peaks
from ingot.commands.plan_driver import DriverAnswer
from ingot.commands.plan_sources import Asked, with_host
from ingot.report.console import plain_console
from ingot.report.terminal import misfit, print_plan
from ingot.sizing import Calibration, DoesNotFit, HostPlan, ModelRequest, SizingError, fits, plan_host


@dataclass
class Outcome:
    """Plans and refusals of a run, in the order of the hosts."""

    plans: list[HostPlan] = field(default_factory=list)
    misfits: dict[str, DoesNotFit] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    measured: dict[str, tuple[Calibration, ...]] = field(default_factory=dict)
    drivers: dict[str, DriverAnswer] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The run as one JSON object."""
        return {
            "plans": [plan.to_dict() for plan in self.plans],
            "misfits": {
                host: {
                    "error": str(error),
                    "binding": error.binding,
                    "nearest": list(error.nearest),
                    "arithmetic": [list(row) for row in error.table],
                }
                for host, error in self.misfits.items()
            },
            "errors": self.errors,
            "drivers": {host: answer.to_dict() for host, answer in self.drivers.items()},
        }


def plan_all(asked: Iterable[Asked], outcome: Outcome) -> None:
    """Plan each host; what cannot be planned becomes a misfit or an error of the outcome."""
    known: list[Asked] = []
    for one in asked:
        known.append(one)
        if one.driver:
            outcome.drivers[one.hardware.host] = one.driver
            if one.driver.refusal and not one.driver.assumed:
                outcome.errors.append(with_host(one.hardware.host, f"{one.driver.refusal}."))
        try:
            made = plan_host(one.hardware, one.requests, engine=one.engine, calibrations=one.measured, peaks=peaks())
        except DoesNotFit as error:
            outcome.misfits[one.hardware.host] = error
        except SizingError as error:
            outcome.errors.append(with_host(one.hardware.host, str(error)))
        else:
            outcome.plans.append(made)
            outcome.measured[one.hardware.host] = one.measured
    _suggest_hosts(known, outcome)


def _suggest_hosts(known: Sequence[Asked], outcome: Outcome) -> None:
    """To a host's misfit, the other hosts of the inventory that could serve it alone."""
    for one in known:
        error = outcome.misfits.get(one.hardware.host)
        if error is None:
            continue
        fitting = [other.hardware.host for other in known if other is not one and _serves(other, one.requests)]
        if fitting:
            nearest = (*error.nearest, f"serve it on {' or '.join(fitting[:3])}, which could")
            outcome.misfits[one.hardware.host] = DoesNotFit(str(error), error.table, error.binding, nearest)


def _serves(other: Asked, requests: Sequence[ModelRequest]) -> bool:
    try:
        return fits(other.hardware, requests, engine=other.engine)
    except SizingError:
        return False


def show(outcome: Outcome, *, explain: bool) -> None:
    """Print the plans for people; `explain` adds each number's formula and source."""
    console = plain_console()
    for made in outcome.plans:
        print_plan(made, measured=outcome.measured.get(made.host, ()), formulas=explain, console=console)
        _show_driver(outcome, made.host, console)
    for host, error in outcome.misfits.items():
        click.echo(f"ingot: {error}", err=True)
        console.print(misfit(error))
        _show_driver(outcome, host, console)


def _show_driver(outcome: Outcome, host: str, console: Console) -> None:
    if host in outcome.drivers:
        console.print(*outcome.drivers[host].lines(), sep="\n", soft_wrap=True)
