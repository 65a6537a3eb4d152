"""`ingot usage` as people type it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ingot.commands.usage import usage
from ingot.errors import IngotError
from ingot.facts.usage import HostUsage
from ingot.inventory import fleet
from ingot.report import usage as report
from ingot.settings.usage import Price

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
    monkeypatch.setattr(report, "summed", lambda *_, priced: report.Answers((ROW,), 3, errors))
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
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=180, check=False)


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


class Priced(SimpleNamespace):
    """A host of an inventory with prices, that says the same rows whoever asks."""

    def get_fact(self, *_: Any, by: Sequence[str], **__: Any) -> HostUsage:
        said = {"team": self.team, "model": "qwen", "day": "2026-11-02", "key": "k"}
        row = {**ROW, "prompt_tokens": 2_000_000, "completion_tokens": 1_000_000}
        other = {**row, "group": [{**said, "model": "llama"}[name] for name in by], "requests": 1}
        return HostUsage(({**row, "group": [said[name] for name in by]}, other))


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> list[Priced]:
    hosts = [
        Priced(name=name, team=name, prices={"qwen": Price(input=1.5, output=4)}, prices_currency="EUR")
        for name in ("sales", "lab")
    ]
    chosen = SimpleNamespace(path=Path("lab.py"), hosts=hosts, names=("a", "b"))
    monkeypatch.setattr(fleet, "selected", lambda inventory, names: chosen)
    monkeypatch.setattr(report, "asked", lambda chosen, of: [of(host) for host in chosen.hosts])
    monkeypatch.setattr(report, "section", lambda host, kind: host)
    return hosts


def test_costs_follow_the_prices_of_each_host(priced: list[Priced]) -> None:
    priced[1].prices = {"qwen": Price(input=1, output=0)}
    done = CliRunner().invoke(usage, ["--cost", "--month", "2026-11", "--by", "team", "--json"])
    rows = {row["team"]: row for row in json.loads(done.stdout)["usage"]}
    # 2 million in, 1 million out; the other model has no price.
    assert {team: (row["cost"], row["currency"]) for team, row in rows.items()} == {
        "sales": (7.0, "EUR"),
        "lab": (2.0, "EUR"),
    }
    assert rows["sales"]["requests"] == 1235
    assert "tokens of llama have no price and cost nothing here; add it to `prices`." in done.stderr


def test_costs_are_a_column_with_a_total_and_csv(priced: list[Priced]) -> None:
    table = CliRunner(env={"COLUMNS": "140"}).invoke(usage, ["--cost", "--by", "team"]).stdout.splitlines()
    assert table[0].split()[-1] == "EUR"
    assert table[-1].split() == ["total", "14.00"]
    lines = CliRunner().invoke(usage, ["--cost", "--by", "model", "--csv"]).stdout.splitlines()
    assert lines[0].endswith(",cost_eur")
    assert lines[1:] == [line for line in lines[1:] if line.endswith((",0.000000", ",14.000000"))]


def test_prices_in_two_currencies_are_not_added_up(priced: list[Priced]) -> None:
    priced[1].prices_currency = "USD"
    done = CliRunner().invoke(usage, ["--cost"])
    assert isinstance(done.exception, IngotError)
    assert "lab.py: its hosts have prices in EUR and USD; set one" in str(done.exception)


def test_the_page_has_totals_and_plots_of_teams_and_models(priced: list[Priced], tmp_path: Path) -> None:
    page = tmp_path / "usage.html"
    done = CliRunner().invoke(usage, ["--cost", "--month", "2026-11", "--html", str(page), "--by", "team"])
    assert done.exit_code == 0
    text = page.read_text()
    assert text.count("<svg") == 4
    for shown_there in ("Teams", "Models", "sales", "llama", "cost, EUR", "7.00", "2026-11-01 00:00 to"):
        assert shown_there in text
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("month", "sentence"),
    [("2026-13", "expected a month such as 2026-11"), ("9999-01", "has not begun; name an earlier month")],
)
def test_a_month_that_cannot_be_meant_is_one_sentence(month: str, sentence: str) -> None:
    done = CliRunner().invoke(usage, ["--month", month])
    assert done.exit_code == 2 and sentence in done.stderr
