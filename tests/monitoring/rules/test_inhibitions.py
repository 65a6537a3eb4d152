"""While a run holds a host, the notices that it brings about are held back, and nothing else."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingot.monitoring.rules.catalogue import alerts
from ingot.monitoring.rules.inhibitions import LOUDER, inhibitions
from ingot.monitoring.rules.rule import Purpose
from ingot.operations.monitoring.monitor import alertmanager_yml

pytestmark = pytest.mark.observe

Labels = dict[str, str]


def matches(matchers: list[str], labels: Labels) -> bool:
    """Whether all matchers hold as in Alertmanager: `=` is equal, `=~` a regular expression of the whole."""
    for one in matchers:
        name, how, value = re.fullmatch(r'(\w+)(=~?)"(.*)"', one).groups()  # type: ignore[union-attr]
        found = labels.get(name, "")
        if not (re.fullmatch(value, found) if how == "=~" else found == value):
            return False
    return True


def held_back(alert: Labels, firing: list[Labels]) -> bool:
    """Whether any rule holds an alert back while others fire."""
    return any(
        matches(rule["target_matchers"], alert)
        and matches(rule["source_matchers"], other)
        and all(alert.get(name, "") == other.get(name, "") for name in rule["equal"])
        for rule in inhibitions()
        for other in firing
        if other != alert
    )


def alert(name: str, host: str = "gpu-1", **labels: str) -> Labels:
    return {"alertname": name, "host": host, **labels}


@pytest.mark.parametrize("purpose", Purpose)
def test_a_run_holds_back_what_it_brings_about_on_its_host_alone(purpose: Purpose) -> None:
    held = alert("IngotHostHeld", purpose=str(purpose))
    quiet = {rule.name for rule in alerts() if held_back(alert(rule.name), [held])}
    assert quiet == {rule.name for rule in alerts() if purpose in rule.hushed_by}
    assert not [rule.name for rule in alerts() if held_back(alert(rule.name, "gpu-2"), [held])]


def test_a_rollout_is_quiet_about_replicas_and_loud_about_hardware_and_callers() -> None:
    held = [alert("IngotHostHeld", purpose="deploy")]
    for name in ("IngotReplicaOutOfPool", "IngotModelNotServed", "IngotReplicaDown", "IngotHostUnreachable"):
        assert held_back(alert(name), held), name
    for name in (
        "IngotXidReboot",
        "IngotGpuEccUncorrected",
        "IngotGpuHot",
        "IngotErrorBurnFast",
        "IngotCacheUnmounted",
    ):
        assert not held_back(alert(name), held), name


def test_an_acceptance_is_quiet_about_heat_short_of_the_limit_and_loud_about_errors() -> None:
    held = [alert("IngotHostHeld", purpose="accept")]
    assert held_back(alert("IngotGpuWarm"), held) and held_back(alert("IngotModelNotServed"), held)
    assert not held_back(alert("IngotGpuHot"), held) and not held_back(alert("IngotXidReset"), held)
    assert not held_back(alert("IngotNginxDown"), held)


def test_a_decommission_is_quiet_about_what_is_taken_away() -> None:
    held = [alert("IngotHostHeld", purpose="decommission")]
    for name in ("IngotMetricsMissing", "IngotMetricsStale", "IngotNginxDown", "IngotHostUnreachable"):
        assert held_back(alert(name), held), name
    assert not held_back(alert("IngotRaidDegraded"), held)


def test_another_purpose_holds_nothing_back() -> None:
    assert not [
        rule.name for rule in alerts() if held_back(alert(rule.name), [alert("IngotHostHeld", purpose="models prune")])
    ]


def test_the_louder_of_two_is_enough_for_the_same_thing() -> None:
    hot = [alert("IngotGpuHot", uuid="GPU-1")]
    assert held_back(alert("IngotGpuWarm", uuid="GPU-1"), hot)
    assert not held_back(alert("IngotGpuWarm", uuid="GPU-2"), hot)
    fast = [alert("IngotTtftBurnFast", model="a")]
    assert held_back(alert("IngotTtftBurnSlow", model="a"), fast)
    assert not held_back(alert("IngotTtftBurnSlow", model="b"), fast)
    assert not held_back(alert("IngotErrorBurnSlow", model="a"), fast)


def test_alertmanager_takes_the_configuration(tmp_path: Path) -> None:
    told: Any = SimpleNamespace(
        monitoring_webhook="https://hooks.corp.example/x", monitoring_mail=None, monitoring_webhook_token_file=None
    )
    (tmp_path / "alertmanager.yml").write_text(alertmanager_yml(told), encoding="utf-8")
    command = ["amtool", "check-config", str(tmp_path / "alertmanager.yml")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and f"{len(inhibitions())} inhibit rules" in ran.stdout, ran.stdout + ran.stderr


def test_only_alerts_that_there_are_hold_back_and_are_held_back() -> None:
    names = {rule.name for rule in alerts()}
    assert {loud for loud, _, _ in LOUDER} <= names
    assert {one for _, needless, _ in LOUDER for one in needless} <= names
    assert all(rule["target_matchers"] != ['alertname=~""'] for rule in inhibitions())
