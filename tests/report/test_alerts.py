"""What fires over the fleet, as `ingot alerts`, `ingot status` and the fleet's page show it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ingot.facts.alerts import Alert
from ingot.inventory.fleet import monitors_of, selected
from ingot.report.alerts import FleetAlerts, counted, fleet_alerts, table
from ingot.report.fleet_page import render
from ingot.report.status import HostStatus, with_alerts
from ingot.report.status import table as status_table
from tests.report.fleets import fleet

pytestmark = pytest.mark.observe

LOST = Alert(
    "IngotGpuLost", "critical", "gpu-1", "", "gpu-1 lost <one>.", "Run `nvidia-smi -L`.", "2026-11-29T15:00:00Z"
)
FULL = Alert("IngotKvCacheFull", "warning", "gpu-1", "qwen", "Full.", "Add a replica.", "2026-11-29T15:01:00Z")
QUIET = replace(LOST, host="gpu-2", summary="gpu-2 lost one.", held_back=True)
HELD = Alert("IngotHostHeld", "info", "gpu-2", "", "A run holds gpu-2.", "Nothing.", "2026-11-29T15:00:00Z")


def shown(one: object, width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as out:
        console.print(one)
    return out.get()


def inventory(directory: Path, text: str) -> Path:
    (directory / "group_data").mkdir()
    (directory / "group_data" / "all.py").write_text("")
    path = directory / "lab.py"
    path.write_text(text)
    return path


def test_alerts_ask_for_somebody_unless_held_back_or_for_information() -> None:
    assert [one.asks for one in (LOST, FULL, QUIET, HELD)] == [True, True, False, False]
    assert counted([LOST, FULL, QUIET, HELD, LOST]) == "2 critical, 1 warning"
    assert counted([QUIET, HELD]) == "-"


def test_the_table_has_a_row_for_each() -> None:
    lines = shown(table([LOST, QUIET])).splitlines()
    assert lines[1].split() == ["critical", "gpu-1", "IngotGpuLost", "2026-11-29", "15:00", "gpu-1", "lost", "<one>."]
    assert lines[2].startswith(" critical, held back") or lines[2].strip().startswith("critical, held back")


def test_names_stand_whole_where_a_terminal_is_narrow() -> None:
    longest = replace(QUIET, host="gpu-server-2", name="IngotGpuPersistenceOff", summary="A sentence of some length.")
    assert "gpu-server-2 IngotGpuPersistenceOff " in re.sub(" +", " ", shown(table([longest]), width=80))


def test_status_counts_alerts_where_a_host_watches_and_is_not_well_then() -> None:
    hosts = [HostStatus("gpu-1"), HostStatus("gpu-2")]
    first, second = with_alerts(hosts, FleetAlerts((LOST, QUIET)))
    assert (first.alerts, first.is_well) == ((LOST,), False)
    assert (second.alerts, second.is_well) == ((QUIET,), True)
    assert "1 critical" in shown(status_table([first, second])).splitlines()[1]


def test_status_without_a_monitor_is_as_it_was() -> None:
    hosts = [HostStatus("gpu-1")]
    assert with_alerts(hosts, FleetAlerts(watched=False)) == hosts
    assert "alerts" not in shown(status_table(hosts))
    assert hosts[0].to_dict()["alerts"] is None


def test_the_page_of_the_fleet_lists_them_as_text_where_a_host_watches() -> None:
    page = render(replace(fleet(2), alerts=FleetAlerts((LOST, FULL))))
    assert '<section id="alerts"' in page and "gpu-1 lost &lt;one&gt;." in page and "Add a replica." in page
    assert "<p>Nothing fires.</p>" in render(replace(fleet(2), alerts=FleetAlerts()))
    assert '<section id="alerts"' not in render(fleet(2))


def test_an_inventory_without_a_monitor_asks_nobody(tmp_path: Path) -> None:
    found = fleet_alerts(selected(inventory(tmp_path, 'gpu = ["gpu-1"]\n'), ()))
    assert found == FleetAlerts(watched=False)


def test_a_monitor_that_does_not_answer_is_one_sentence_and_no_quiet_fleet(tmp_path: Path) -> None:
    gone = '("@ingot/watch-1", {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_user": "nobody"})'
    chosen = selected(inventory(tmp_path, f'gpu = ["gpu-1"]\nmonitor = [{gone}]\n'), ("gpu-1",))
    assert monitors_of(chosen).names == ("watch-1",)
    found = fleet_alerts(chosen)
    assert found.watched and found.firing == ()
    assert len(found.errors) == 1 and found.errors[0].startswith("watch-1: no SSH at 127.0.0.1 port 1")
