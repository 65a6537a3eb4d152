"""What Prometheus and Alertmanager say becomes alerts, the most urgent first."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingot.facts.alerts import WATCHDOG, Alert, parse_alerts

pytestmark = pytest.mark.observe


def fires(name: str, severity: str = "warning", state: str = "firing", **labels: str) -> dict[str, Any]:
    """An alert, as /api/v1/alerts of Prometheus 2.42 and 2.53 has it."""
    return {
        "labels": {"alertname": name, "severity": severity, **labels},
        "annotations": {"summary": f"{name} of {labels.get('host')}.", "action": "Look.", "runbook": "docs/alerts.md"},
        "state": state,
        "activeAt": "2026-11-29T15:00:00.123456789Z",
        "value": "1e+00",
    }


def answer(firing: list[dict[str, Any]] | None, noticed: list[dict[str, Any]] | None) -> list[str]:
    said = {"prometheus": {"status": "success", "data": {"alerts": firing}}, "alertmanager": noticed}
    gone = {"prometheus": firing is None, "alertmanager": noticed is None}
    return [
        line
        for name, one in said.items()
        for line in (
            f"@@ingot-begin {name}",
            "" if gone[name] else json.dumps(one),
            f"@@ingot-end {name} {7 * gone[name]}",
        )
    ]


ALIVE = fires(WATCHDOG, "info")


def test_alerts_that_fire_come_by_urgency_and_pending_ones_do_not() -> None:
    found = parse_alerts(
        answer(
            [
                fires("IngotDriftFound", host="b"),
                fires("IngotGpuLost", "critical", host="c"),
                fires("IngotHostRebooted", "info", host="a"),
                fires("IngotKvCacheFull", host="a", model="qwen"),
                fires("IngotNginxDown", "critical", state="pending", host="a"),
                ALIVE,
            ],
            [],
        )
    )
    assert [(one.name, one.host) for one in found.firing] == [
        ("IngotGpuLost", "c"),
        ("IngotKvCacheFull", "a"),
        ("IngotDriftFound", "b"),
        ("IngotHostRebooted", "a"),
    ]
    assert found.firing[1] == Alert(
        "IngotKvCacheFull", "warning", "a", "qwen", "IngotKvCacheFull of a.", "Look.", "2026-11-29T15:00:00Z"
    )
    assert found.faults == ()


def test_what_alertmanager_holds_back_asks_for_nobody() -> None:
    loud, quiet = fires("IngotGpuLost", "critical", host="a"), fires("IngotGpuLost", "critical", host="b")
    noticed = [
        # An external label came on the way.
        {"labels": {**quiet["labels"], "fleet": "prod"}, "status": {"state": "suppressed", "inhibitedBy": ["x"]}},
        {"labels": loud["labels"], "status": {"state": "active"}},
    ]
    found = parse_alerts(answer([loud, quiet, ALIVE], noticed))
    assert [(one.host, one.held_back, one.asks) for one in found.firing] == [("a", False, True), ("b", True, False)]


def test_without_alertmanager_alerts_are_listed_and_it_is_said() -> None:
    found = parse_alerts(answer([fires("IngotGpuLost", "critical", host="a"), ALIVE], None))
    assert [one.name for one in found.firing] == ["IngotGpuLost"]
    assert len(found.faults) == 1 and found.faults[0].startswith("Alertmanager does not answer, so nobody gets notices")


@pytest.mark.parametrize("said", [answer(None, []), answer(None, None), ["garbage"], []])
def test_without_prometheus_nothing_is_known(said: list[str]) -> None:
    found = parse_alerts(said)
    assert found.firing == () and found.faults[0].startswith("Prometheus does not answer")


def test_a_prometheus_without_the_rules_is_not_taken_for_a_quiet_fleet() -> None:
    assert parse_alerts(answer([], [])).faults == (
        "Prometheus evaluates no rules of Ingot's; deploy the monitor again",
    )
