"""Dashboards: Grafana's JSON is well-formed, queries parse, and somebody writes each metric that they read."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ingot.commands.dashboards import dashboards
from ingot.monitoring.dashboards.catalogue import DASHBOARDS
from ingot.monitoring.dashboards.grafana import grafana_json
from ingot.monitoring.dashboards.panel import COLUMNS, Dashboard
from ingot.monitoring.metrics import CATALOGUE
from ingot.monitoring.rules.catalogue import alerts
from tests.monitoring.names import known, named

pytestmark = pytest.mark.observe

EACH = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.name)


def panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(grafana_json(dashboard))["panels"]
    return found


def exprs(dashboard: Dashboard) -> list[str]:
    return [query.expr for row in dashboard.rows for panel in row.panels for query in panel.queries]


def test_there_is_one_for_each_subject_under_a_lasting_address() -> None:
    assert [one.name for one in DASHBOARDS] == ["fleet", "host", "gpu", "model", "team"]
    assert [json.loads(grafana_json(one))["uid"] for one in DASHBOARDS] == [f"ingot-{one.name}" for one in DASHBOARDS]


def test_every_query_is_taken_by_prometheus(tmp_path: Path) -> None:
    """promtool has no check of an expression alone: each is written as a rule."""
    rules = [
        {"record": "x", "expr": re.sub(r"\$__rate_interval", "5m", expr).replace("$", "")}
        for one in DASHBOARDS
        for expr in exprs(one)
    ]
    # The same expression on two dashboards is no fault.
    groups = [{"name": f"g{number}", "rules": [rule]} for number, rule in enumerate(rules)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": groups}), encoding="utf-8")
    ran = subprocess.run(
        ["promtool", "check", "rules", "--lint=none", str(tmp_path / "rules.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@EACH
def test_every_metric_is_one_that_somebody_writes(dashboard: Dashboard) -> None:
    for expr in exprs(dashboard):
        assert named(expr) and named(expr) <= known(), (expr, named(expr) - known())


def test_every_metric_of_a_rule_is_one_that_somebody_writes() -> None:
    for rule in alerts():
        assert named(rule.expr) <= known(), (rule.name, named(rule.expr) - known())


def test_every_metric_that_a_host_writes_is_in_a_rule_or_on_a_dashboard() -> None:
    read = {name for one in DASHBOARDS for expr in exprs(one) for name in named(expr)}
    read |= {name for rule in alerts() for name in named(rule.expr)}
    read |= {name for rule in alerts() for name in re.findall(r"ingot_\w+", rule.expr)}
    recorded = {"ingot_gateway_requests_total", "ingot_gateway_draining_total"}
    unread = {one.name for one in CATALOGUE if not set(one.series) & (read | recorded)}
    # When an acceptance or a look for drift was is on the fleet's page; requests of nginx are in the gateway's.
    assert unread <= {"ingot_acceptance_end_seconds", "ingot_drift_checked_seconds", "ingot_nginx_requests_total"} | {
        "ingot_gpu_up"
    }


@EACH
def test_no_panel_lies_on_another_or_beside_the_grid(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    for one in panels(dashboard):
        place = one["gridPos"]
        assert place["w"] > 0 and place["x"] + place["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, one["title"]
        taken |= cells


@EACH
def test_ids_are_unique_and_the_data_source_is_chosen(dashboard: Dashboard) -> None:
    shown = panels(dashboard)
    assert len({one["id"] for one in shown}) == len(shown)
    for one in shown:
        if one["type"] == "row":
            continue
        assert one["datasource"]["uid"] == "${datasource}" and one["targets"] and one["fieldConfig"]["defaults"]["unit"]
        assert len({query["refId"] for query in one["targets"]}) == len(one["targets"])
        assert all(query["datasource"]["uid"] == "${datasource}" for query in one["targets"])
    whole = json.loads(grafana_json(dashboard))
    assert "id" not in whole and whole["time"] == {"from": "now-6h", "to": "now"}
    variables = [one["name"] for one in whole["templating"]["list"]]
    assert variables[0] == "datasource"
    assert set(re.findall(r"\$(\w+)", " ".join(exprs(dashboard)))) - {"__rate_interval"} == set(variables[1:])


@EACH
def test_titles_are_unique_within_a_row_and_quantiles_are_of_sums(dashboard: Dashboard) -> None:
    for row in dashboard.rows:
        titles = [panel.title for panel in row.panels]
        assert len(titles) == len(set(titles))
    for expr in exprs(dashboard):
        assert "histogram_quantile" not in expr or "sum by (le" in expr


def test_the_command_writes_them_and_the_second_time_the_same(tmp_path: Path) -> None:
    target = tmp_path / "grafana"
    for _ in range(2):
        said = CliRunner().invoke(dashboards, [str(target)])
        assert said.exit_code == 0, said.output
    assert sorted(path.name for path in target.iterdir()) == sorted(f"ingot-{one.name}.json" for one in DASHBOARDS)
    assert (target / "ingot-gpu.json").read_text() == grafana_json(DASHBOARDS[2])


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    said = CliRunner().invoke(dashboards, [str(tmp_path / "x")])
    assert said.exit_code == 2 and "is a file" in said.output
