"""What fires, as the Prometheus and the Alertmanager of the host that watches say."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyinfra.api.facts import FactBase

from ingot.facts.errors import ParseError
from ingot.facts.sections import Section, compose, split

#: Both listen on the host's own address only. Seconds that each may take to answer.
PROMETHEUS, ALERTMANAGER, ANSWER_S = "http://127.0.0.1:9090", "http://127.0.0.1:9093", 5
#: Always fires: where it does not, nobody evaluates the rules.
WATCHDOG = "IngotWatchdog"
#: As `ingot.monitoring.rules.rule.Severity` has them, the most urgent first.
SEVERITIES = ("critical", "warning", "info")


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that fires. `since` is UTC, ISO 8601; `held_back`: nobody got a notice, since a run holds the host, a
    louder alert says the same, or somebody silenced it."""

    name: str
    severity: str
    host: str
    model: str
    summary: str
    action: str
    since: str
    held_back: bool = False

    @property
    def asks(self) -> bool:
        """Whether somebody has to do something."""
        return self.severity != "info" and not self.held_back


@dataclass(frozen=True, slots=True)
class Alerts:
    """Every alert that fires, the most urgent first. `faults`: what of the monitoring itself does not answer."""

    firing: tuple[Alert, ...] = ()
    faults: tuple[str, ...] = ()


class FiringAlerts(FactBase[Alerts]):
    """What fires over the fleet, asked on the host that watches.

    Returns: Alerts((Alert("IngotGpuLost", "critical", "gpu-07", "", "gpu-07 has 1 GPUs fewer …", …),))
    """

    @staticmethod
    def default() -> Alerts:
        return Alerts(faults=("Prometheus does not answer; see `systemctl status prometheus` there",))

    def command(self) -> str:
        ask = f"curl --silent --fail --noproxy '*' --max-time {ANSWER_S}"
        return compose(
            {
                "prometheus": f"{ask} {PROMETHEUS}/api/v1/alerts",
                "alertmanager": f"{ask} {ALERTMANAGER}/api/v2/alerts",
            }
        )

    def process(self, output: Iterable[str]) -> Alerts:
        return parse_alerts(output)


def parse_alerts(output: Iterable[str]) -> Alerts:
    """The answer of `FiringAlerts`, whatever of it is there."""
    try:
        found = split(output)
    except ParseError:
        return FiringAlerts.default()
    answer = _json(found.get("prometheus"))
    if not isinstance(answer, dict):
        return FiringAlerts.default()
    noticed = _json(found.get("alertmanager"))
    faults = []
    if noticed is None:
        faults.append(
            "Alertmanager does not answer, so nobody gets notices; see `systemctl status prometheus-alertmanager` there"
        )
    quiet = [
        one.get("labels", {}) for one in noticed or [] if one.get("status", {}).get("state") not in ("active", None)
    ]
    firing = [one for one in answer.get("data", {}).get("alerts", []) if one.get("state") == "firing"]
    if not any(one.get("labels", {}).get("alertname") == WATCHDOG for one in firing):
        faults.append("Prometheus evaluates no rules of Ingot's; deploy the monitor again")
    read = [_alert(one, quiet) for one in firing]
    return Alerts(tuple(sorted((one for one in read if one.name != WATCHDOG), key=_urgency)), tuple(faults))


def _json(section: Section | None) -> Any:
    if section is None or section.status != 0:
        return None
    try:
        return json.loads(section.output)
    except ValueError:
        return None


def _alert(found: dict[str, Any], quiet: list[dict[str, str]]) -> Alert:
    labels, said = found.get("labels", {}), found.get("annotations", {})
    return Alert(
        labels.get("alertname", ""),
        labels.get("severity", "warning"),
        labels.get("host", ""),
        labels.get("model", ""),
        said.get("summary", ""),
        said.get("action", ""),
        # Nanoseconds are no news.
        f"{found.get('activeAt', '')[:19]}Z",
        # Labels of the whole Prometheus may have come to those of the alert on its way.
        any(labels.items() <= one.items() for one in quiet),
    )


def _urgency(alert: Alert) -> tuple[int, bool, str, str, str]:
    place = SEVERITIES.index(alert.severity) if alert.severity in SEVERITIES else len(SEVERITIES)
    return place, alert.held_back, alert.host, alert.name, alert.summary
