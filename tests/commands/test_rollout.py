"""`ingot rollout` shows the table, and deploys the same hosts only when it is told to."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from ingot.commands.rollout import rollout
from ingot.inventory import fleet
from ingot.operations.preflight import rollout_table
from ingot.operations.preflight.rollout_table import Row, Table

pytestmark = pytest.mark.rollout

ROW = Row("1", "gpu-01", "qwen3-8b-0", "replace: image", "yes: 503 with Retry-After, about 85 s")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that take this one's place."""
    lines: list[list[str]] = []
    monkeypatch.setattr(fleet, "selected", lambda *_: SimpleNamespace(path=Path("inventories/prod.py")))
    monkeypatch.setattr(rollout_table, "table", lambda _: Table([ROW], []))
    monkeypatch.setattr(os, "execv", lambda _, words: lines.append(words))
    return lines


def test_the_plan_alone_is_printed(ran: list[list[str]]) -> None:
    done = CliRunner().invoke(rollout, ["--plan-only", "gpu-01"])
    assert done.exit_code == 0 and ran == []
    assert done.output.splitlines() == [
        "order  host    replica     change          outage",
        "1      gpu-01  qwen3-8b-0  replace: image  yes: 503 with Retry-After, about 85 s",
    ]


def test_json_deploys_nothing(ran: list[list[str]]) -> None:
    done = CliRunner().invoke(rollout, ["--json", "--yes"])
    assert done.exit_code == 0 and ran == [] and '"replica": "qwen3-8b-0"' in done.output


@pytest.mark.parametrize(("words", "typed", "deploys"), [(["--yes"], "", True), ([], "y\n", True), ([], "n\n", False)])
def test_the_same_hosts_are_deployed_when_told_to(
    ran: list[list[str]], words: list[str], typed: str, deploys: bool
) -> None:
    CliRunner().invoke(rollout, [*words, "gpu-01"], input=typed)
    told = [line[1:] for line in ran]
    path = str(Path("inventories").resolve().parent / "deploy.py")
    assert told == ([["-y", "inventories/prod.py", path, "--limit", "gpu-01"]] if deploys else [])


def test_nothing_is_deployed_where_a_host_cannot_be_looked_at(
    ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_table, "table", lambda _: Table([], ["gpu-01: no SSH at 10.0.0.17:22"]))
    done = CliRunner().invoke(rollout, ["--yes"])
    assert done.exit_code == 1 and ran == [] and "No replica would be replaced." in done.output
