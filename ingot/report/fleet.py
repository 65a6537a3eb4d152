"""What the fleet page shows: evidence of the hosts, and what this machine keeps of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ingot.acceptance import evidence
from ingot.bench import record as bench
from ingot.bench.measured_plan import benchmarked
from ingot.inventory import journal
from ingot.inventory.fleet import Selected, secrets_of
from ingot.report.alerts import FleetAlerts, fleet_alerts
from ingot.report.recorded import HostReport
from ingot.report.usage import Used, currency_of, merged, summed
from ingot.runs import DEPLOY
from ingot.runs.audit import PastRun, past_runs
from ingot.sizing import HostPlan, PlanError
from ingot.verification.drift import HostDrift

#: The last deploys of each host that are shown.
DEPLOYS = 3
#: The time whose usage is shown.
USAGE = timedelta(days=30)


@dataclass(frozen=True)
class FleetHost:
    """One host. `drift` is None where nobody looked."""

    report: HostReport
    plan: HostPlan | None = None
    acceptance: Mapping[str, Any] | None = None
    benchmarks: Mapping[str, str] = field(default_factory=dict)
    deploys: Sequence[PastRun] = ()
    drift: HostDrift | None = None

    @property
    def name(self) -> str:
        return self.report.host


@dataclass(frozen=True)
class Fleet:
    """The hosts of an inventory at a moment, and what teams used in the time before it, by team."""

    inventory: str
    at: datetime
    hosts: Sequence[FleetHost]
    used: Mapping[tuple[str, ...], Used] = field(default_factory=dict)
    currency: str = ""
    errors: Sequence[str] = ()
    alerts: FleetAlerts = field(default_factory=lambda: FleetAlerts(watched=False))


def fleet(chosen: Selected, at: datetime, reports: Sequence[HostReport], drift: Sequence[HostDrift]) -> Fleet:
    """The fleet as its hosts recorded it (`reports`), with what this machine keeps and what the hosts' logs sum up.

    Raises: IngotError where hosts have prices in different currencies.
    """
    secrets = secrets_of(chosen.path, chosen.state)
    known = bench.records(secrets / bench.DIRECTORY)
    drifted = {one.host: one for one in drift}
    currency = currency_of(chosen)
    answers = summed(chosen, at - USAGE, at, ("team",), priced=True)
    hosts = []
    for host, report in zip(chosen.hosts, reports, strict=True):
        plan = planned(report)
        hosts.append(
            FleetHost(
                report,
                plan,
                evidence.newest(secrets / evidence.DIRECTORY, host.name),
                benchmarked(plan, known) if plan else {},
                deploys(journal.file_of(host)),
                drifted.get(host.name),
            )
        )
    alerts = fleet_alerts(chosen)
    said = {one.error for one in reports}
    errors = [sentence for sentence in dict.fromkeys((*answers.errors, *alerts.errors)) if sentence not in said]
    return Fleet(chosen.path.name, at, hosts, merged(answers.rows), currency, errors, alerts)


def planned(report: HostReport) -> HostPlan | None:
    """The plan that a host recorded; None where there is none that this version can read."""
    try:
        return HostPlan.from_dict(report.recorded.files["plan.json"]["plan"]) if report.recorded else None
    except (KeyError, TypeError, AttributeError, PlanError):
        return None


def deploys(journal_file: Path | None) -> list[PastRun]:
    """The last deploys of a host that this machine made, the newest first."""
    if journal_file is None or not journal_file.is_file():
        return []
    runs = past_runs(journal_file.read_text(encoding="utf-8").splitlines())
    return [one for one in reversed(runs) if one.run.purpose == DEPLOY][:DEPLOYS]
