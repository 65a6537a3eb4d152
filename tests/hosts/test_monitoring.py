"""Figures of the host: fresh, and for nobody but the monitor."""

from __future__ import annotations

import re

import pytest

from ingot.operations import monitored
from tests.hosts.look import Look
from tests.hosts.outside import Outside, Refused
from tests.hosts.target import Target

#: The collector runs every 15 s; one run may take as long as a driver that hangs.
FRESH_S = 60
_DAEMONS = ("prometheus-node", "prometheus", "prometheus-aler", "dcgm-exporter")


@pytest.fixture
def watched(target: Target) -> Target:
    if not monitored.is_monitored(target.host):
        pytest.skip("no host of the group `monitor` watches this inventory")
    return target


def test_what_writes_and_hands_on_figures_runs_and_starts_at_boot(watched: Target, look: Look) -> None:
    units = ["prometheus-node-exporter", "ingot-metrics.timer", "ingot-monitoring"]
    if monitored.is_monitor(watched.host):
        units += ["prometheus", "prometheus-alertmanager"]
    wrong = [f"{unit} is {look.unit(unit)}" for unit in units if look.unit(unit) != "active enabled"]
    watched.expect(not wrong, f"{', '.join(wrong)}; deploy again, or read journalctl -u there")


def test_exporters_listen_on_loopback_alone(watched: Target, look: Look) -> None:
    open_to_all = []
    for line in look.lines("listeners"):
        address, _, port = line.split()[3].rpartition(":")
        process = re.search(r'"([^"]+)"', line)
        if process and process.group(1) in _DAEMONS and not address.startswith(("127.", "[::1]")):
            open_to_all.append(f"{process.group(1)} on {address}:{port}")
    watched.expect(not open_to_all, f"reachable without a login: {', '.join(open_to_all)}; deploy again")


def test_figures_are_fresh(watched: Target, look: Look) -> None:
    age = look.text("figures_age")
    watched.expect(
        age.isdigit() and int(age) <= FRESH_S,
        f"figures are {age if age.isdigit() else 'not there, or older than anyone knows'} s old, expected {FRESH_S} at "
        "most; read journalctl -u ingot-metrics there",
    )
    watched.expect("ingot_collector_last_run_seconds" in look.text("figures"), "the collector wrote no figures")


def test_figures_are_refused_without_the_monitors_certificate(watched: Target, outside: Outside) -> None:
    port = watched.values.monitoring_port
    answer = outside.monitoring[port]
    watched.expect(
        not isinstance(answer, Refused), f"port {port} gives no answer ({getattr(answer, 'reason', '')}); deploy again"
    )
    assert not isinstance(answer, Refused)
    watched.expect(
        answer.status == 400 and "node_" not in answer.body,
        f"port {port} answers a stranger with {answer.status}, expected 400; deploy again",
    )


def test_prometheus_is_refused_without_the_login(watched: Target, outside: Outside) -> None:
    if not monitored.is_monitor(watched.host):
        pytest.skip("another host watches")
    port = watched.values.monitoring_login_port
    answer = outside.monitoring[port]
    watched.expect(
        not isinstance(answer, Refused), f"port {port} gives no answer ({getattr(answer, 'reason', '')}); deploy again"
    )
    assert not isinstance(answer, Refused)
    watched.expect(answer.status == 401, f"port {port} answers without a login with {answer.status}, expected 401")
