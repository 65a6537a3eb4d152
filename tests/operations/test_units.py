"""units: what is due is read from the host, so a run that was killed half way is made good by the next."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.facts.units import Units, UnitState, parse_time, parse_unit
from ingot.operations import units
from ingot.operations.units import Action, Unit, decide, script

RUNNING = UnitState(
    loaded=True, masked=False, active=True, failed=False, enabled=True, needs_daemon_reload=False,
    invocation="1a", started_at=1000.0, changed_state_at=1000.0,
    restart_digest="r", restart_changed_at=900.0, reload_digest="l", reload_changed_at=900.0,
    stamp=("1a", "r", "l"),
)  # fmt: skip
NGINX = Unit("nginx", restart_on=("/etc/nginx/modules",), reload_on=("/etc/nginx/conf",))


def verbs(unit: Unit, now: UnitState | None) -> list[str]:
    return [action.verb for action in decide(unit, now)]


def test_a_unit_with_its_present_files_is_left_alone():
    assert verbs(NGINX, RUNNING) == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (replace(RUNNING, reload_digest="new"), ["reload"]),
        (replace(RUNNING, restart_digest="new"), ["restart"]),
        (replace(RUNNING, restart_digest="new", reload_digest="new"), ["restart"]),
        (replace(RUNNING, active=False), ["start"]),
        (replace(RUNNING, active=False, enabled=False), ["enable", "start"]),
    ],
)  # fmt: skip
def test_the_least_that_is_due_is_done(found, expected):
    assert verbs(NGINX, found) == expected


def test_a_file_written_by_a_run_that_died_before_the_reload_is_still_due():
    never_touched_by_us = replace(RUNNING, stamp=None, reload_changed_at=1001.0)
    assert verbs(NGINX, never_touched_by_us) == ["reload"]


def test_a_reboot_needs_no_restart_although_the_stamp_is_of_an_earlier_start():
    rebooted = replace(RUNNING, stamp=("0f", "old", "old"), started_at=2000.0, changed_state_at=2000.0)
    assert verbs(NGINX, rebooted) == []


def test_a_reload_by_someone_else_counts():
    reloaded = replace(RUNNING, stamp=None, reload_changed_at=1500.0, changed_state_at=1600.0)
    assert verbs(NGINX, reloaded) == []
    assert verbs(NGINX, replace(reloaded, restart_changed_at=1500.0)) == ["restart"], "a reload is not a start"


def test_a_file_put_back_as_it_was_is_not_due():
    assert verbs(NGINX, replace(RUNNING, reload_changed_at=5000.0)) == []


def test_a_unit_that_is_not_there_yet_is_enabled_and_started():
    assert verbs(NGINX, None) == ["enable", "start"]
    assert verbs(Unit("gone", enabled=False, running=False), None) == []


def test_an_unwanted_unit_is_disabled_and_stopped():
    assert verbs(Unit("nouveau", enabled=False, running=False), RUNNING) == ["disable", "stop"]


def test_the_script_takes_digests_before_it_acts():
    lines = script("gpu-01", [Action(NGINX, "reload", "…")], daemon_reload=False, timeout_s=60).splitlines()
    assert lines[-4:] == [
        "restart=$(digest /etc/nginx/modules); reload=$(digest /etc/nginx/conf)",
        "act reload nginx.service 60",
        "act is-active nginx.service 60",
        'echo "$(systemctl show --value -p InvocationID -- nginx.service) $restart $reload" '
        ">/run/ingot/units/nginx.service",
    ]
    assert "systemctl daemon-reload" not in lines


def test_a_unit_is_read_from_systemctl_show():
    state = parse_unit(
        "name=docker.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\n"
        "InvocationID=5f2c\nActiveEnterTimestamp=Sun 2026-11-22 22:19:05.250000 UTC\n"
        "StateChangeTimestamp=Sun 2026-11-22 22:19:06.500000 UTC\nrestart=abc 1795385375.65\nstamp=5f2c abc def\n"
    )
    assert state == UnitState(
        loaded=True, masked=False, active=True, failed=False, enabled=True, needs_daemon_reload=False,
        invocation="5f2c", started_at=1795385945.25, changed_state_at=1795385946.5,
        restart_digest="abc", restart_changed_at=1795385375.65, stamp=("5f2c", "abc", "def"),
    )  # fmt: skip


def test_a_unit_that_never_started_has_no_time():
    assert parse_time("") == 0.0 and parse_time("n/a") == 0.0


def test_the_look_keeps_units_apart():
    output = (
        "@@ingot-begin unit\nname=a.service\nLoadState=loaded\n\n@@ingot-end unit 0\n"
        "@@ingot-begin unit_\nname=b.timer\nLoadState=not-found\n\n@@ingot-end unit_ 0\n"
    )
    found = Units().process(output.splitlines())
    assert found["a.service"].loaded and not found["b.timer"].loaded


@pytest.mark.parametrize(("before", "status"), [("true", 0), ("false", 1)])
def test_a_check_of_units_forgives_nothing_that_was_refused_before_it(before: str, status: int, tmp_path: Path) -> None:
    """Nor where systemd itself is content."""
    (tmp_path / "systemd-analyze").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "systemd-analyze").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = f"{before} && {units.verified('/etc/systemd/system/a.service')}"
    assert subprocess.run(["sh", "-c", command], env=environment, check=False).returncode == status
