"""`ingot usage` as people type it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ingot.commands.usage import usage
from ingot.inventory import fleet
from ingot.report import usage as report

pytestmark = pytest.mark.gateway

ROW = {
    "group": ["sales", "qwen"],
    "requests": 1234,
    "refused": {"429": 2, "413": 1},
    "aborted": 1,
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "first_byte": {"-48": 3},
}


def shown(monkeypatch: pytest.MonkeyPatch, *words: str, errors: tuple[str, ...] = ()) -> Result:
    """What `ingot usage` prints when the hosts have said ROW."""
    monkeypatch.setattr(fleet, "selected", lambda inventory, names: None)
    monkeypatch.setattr(report, "summed", lambda *_: report.Answers((ROW,), 3, errors))
    return CliRunner(env={"COLUMNS": "100"}).invoke(usage, list(words))


def test_usage_is_a_table_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    heading, row, *_ = shown(monkeypatch).stdout.splitlines()
    columns = ("team", "model", "requests", "refused", "aborted", "in", "out", "p50", "s", "p95", "s")
    assert tuple(heading.split()) == columns
    assert row.split() == ["sales", "qwen", "1,234", "1x413", "2x429", "1", "10", "5", "0.1", "0.1"]


def test_usage_is_csv_and_json_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, "--csv").stdout.splitlines() == [
        "team,model,requests,refused,aborted,prompt_tokens,completion_tokens,first_byte_p50_s,first_byte_p95_s",
        "sales,qwen,1234,1x413 2x429,1,10,5,0.1,0.1",
    ]
    [row] = json.loads(shown(monkeypatch, "--json").stdout)["usage"]
    assert (row["team"], row["requests"], row["refused"]) == ("sales", 1234, {"429": 2, "413": 1})


def test_a_host_that_gave_nothing_is_an_error_beside_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    done = shown(monkeypatch, "--csv", errors=("gpu-02: no SSH",))
    assert (done.exit_code, done.stdout.count("\n")) == (1, 2)
    assert done.stderr == "ingot: 3 lines of the logs could not be read and are not counted.\ningot: gpu-02: no SSH\n"


def ingot(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "ingot", "usage", *words]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--by", "team,moon"), "--by names 'moon', expected some of team, model, day, key; correct it."),
        (("--since", "soon"), "--since is 'soon', expected a day such as 2027-01-31, or a duration such as 7d"),
        (("--since", "2026-11-02", "--until", "2026-11-01"), "--since is '2026-11-02', which is not before --until"),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[str, ...], sentence: str) -> None:
    done = ingot(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"ingot: {sentence}")
