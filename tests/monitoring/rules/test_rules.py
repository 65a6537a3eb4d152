"""Every rule against promtool: it fires, and is silent on the other side of its threshold."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest
import yaml

from ingot.monitoring.metrics import CATALOGUE
from ingot.monitoring.rules.baseline import Baseline
from ingot.monitoring.rules.catalogue import alerts, groups
from ingot.monitoring.rules.page import alerts_page
from ingot.monitoring.rules.rendered import at_pace, rule_file
from ingot.monitoring.rules.rule import Purpose, Severity
from ingot.monitoring.rules.slo import Slo
from tests.monitoring.rules.cases import CASES, LONG_MIN, SHORT_MIN, Case

pytestmark = pytest.mark.observe

ROOT = Path(__file__).parents[3]
#: Alerts that no metric stops: the dead man's switch.
ALWAYS = {"IngotWatchdog"}


def labels(macro: str, host: str) -> str:
    """What a macro of `cases` stands for."""
    kind, number = re.fullmatch(r"([A-Z]+)(\d*)", macro).groups()  # type: ignore[union-attr]
    number = number or "1"
    return {
        "GPU": f'host="{host}",job="node",uuid="GPU-{number}",index="{number}",name="card of {host}"',
        "DCGM": f'host="{host}",job="gpu",UUID="GPU-1",gpu="1",modelName="card of {host}"',
        "NODE": f'host="{host}",job="node"',
        "REPLICA": f'host="{host}",job="replica",model="qwen",replica="qwen-{number}",engine="0"',
        "PLAN": f'host="{host}",job="node",model="qwen",replica="qwen-{number}"',
        "MONITOR": f'host="{host}",job="prometheus"',
    }[kind]


def at_step(values: str, minutes: int) -> str:
    """Values a minute as values each so many minutes: ramps rise by more, and there are fewer."""
    ramp = re.fullmatch(r"(-?[0-9.e]+)([+-][0-9.e+-]+)xALL", values)
    if ramp:
        return f"{ramp.group(1)}{float(ramp.group(2)) * minutes:+}xALL"
    return re.sub(r"x(\d+)", lambda found: f"x{int(found.group(1)) // minutes}", values)


def inputs(series: dict[str, str], host: str, minutes: int, step: int) -> list[dict[str, str]]:
    """A host's series, as promtool reads them."""
    return [
        {
            "series": re.sub(
                r"([{,])([A-Z]+\d*)(?=[,}])", lambda found: found.group(1) + labels(found.group(2), host), name
            ).replace("HOST", host),
            "values": at_step(values, step).replace("ALL", str(minutes // step + 5)),
        }
        for name, values in series.items()
    ]


def hosts_of(number: int, case: Case) -> list[tuple[str, dict[str, str]]]:
    """A case's hosts: the one where it fires, then those where it is silent."""
    return [(f"{case.rule}-{number}-{place or 'fires'}", one) for place, one in enumerate((case.fires, *case.silent))]


@cache
def fired(long: bool) -> dict[tuple[str, str], str]:
    """What fires at the end of all cases of one length, each on hosts of its own: (alert, host) -> its sentence.

    promtool prints what it got where nothing was expected.
    """
    chosen = [(number, case) for number, case in enumerate(CASES) if case.long == long]
    minutes, interval, every = (LONG_MIN, "2m", "1h") if long else (SHORT_MIN, "1m", "1m")
    test = {
        "interval": interval,
        "input_series": [
            one
            for number, case in chosen
            for host, series in hosts_of(number, case)
            for one in inputs(series, host, minutes, 2 if long else 1)
        ],
        "alert_rule_test": [
            {"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": []}
            for name in sorted({case.rule for _, case in chosen})
        ],
    }
    with tempfile.TemporaryDirectory() as directory:
        rules, tests = Path(directory) / "rules.yml", Path(directory) / "tests.yml"
        rules.write_text(rule_file(), encoding="utf-8")
        # Without an order, promtool takes groups as they come: alerts before what is recorded for them.
        order = [group.name for group in groups()]
        told = {"rule_files": ["rules.yml"], "group_eval_order": order, "evaluation_interval": every, "tests": [test]}
        tests.write_text(json.dumps(told), encoding="utf-8")
        ran = subprocess.run(["promtool", "test", "rules", str(tests)], capture_output=True, text=True, check=False)
    found = re.findall(r"Labels:\{(.*)\}\n.*summary=\"(.*)\"\}", ran.stderr)
    assert found, ran.stdout + ran.stderr
    named = ((dict(re.findall(r'(\w+)="([^"]*)"', said)), sentence) for said, sentence in found)
    return {(said["alertname"], said.get("host", "")): sentence for said, sentence in named}


NAMED = [pytest.param(number, case, id=f"{case.rule}-{number}") for number, case in enumerate(CASES)]


@pytest.mark.parametrize(("number", "case"), NAMED)
def test_a_rule_fires_and_is_silent_on_the_other_side(number: int, case: Case) -> None:
    (loud, _), *silent = hosts_of(number, case)
    assert (case.rule, loud) in fired(case.long)
    for host, series in silent:
        assert (case.rule, host) not in fired(case.long), series


@pytest.mark.parametrize(
    ("figures", "names"),
    [
        ({"old": "1x20 _x40"}, ["old"]),
        ({"old": "1x60"}, []),
        # The monitor got another name.
        ({"old": "1x20 _x40", "new": "_x20 1x40"}, []),
    ],
    ids=["nothing comes any more", "figures come", "they come under another name"],
)
def test_a_prometheus_that_stores_nothing_says_so_itself(
    figures: dict[str, str], names: list[str], tmp_path: Path
) -> None:
    said = "Prometheus on old cannot write what it reads."
    [rule] = [one for one in alerts() if one.name == "IngotPrometheusDisk"]
    labels = {"severity": "critical", "job": "prometheus"}
    annotations = {"summary": said, "action": rule.action, "runbook": "docs/alerts.md#ingotprometheusdisk"}
    expected = [{"exp_labels": {**labels, "host": name}, "exp_annotations": annotations} for name in names]
    test = {
        "interval": "15s",
        "input_series": [
            {"series": f'up{{job="prometheus",host="{name}"}}', "values": values} for name, values in figures.items()
        ],
        "alert_rule_test": [{"eval_time": "12m", "alertname": rule.name, "exp_alerts": expected}],
    }
    (tmp_path / "rules.yml").write_text(rule_file(), encoding="utf-8")
    told = {"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [test]}
    (tmp_path / "tests.yml").write_text(json.dumps(told), encoding="utf-8")
    command = ["promtool", "test", "rules", str(tmp_path / "tests.yml")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_there_is_a_case_for_every_rule() -> None:
    assert len(alerts()) >= 40
    assert {case.rule for case in CASES} | ALWAYS == {rule.name for rule in alerts()}
    assert all(case.silent for case in CASES)


@pytest.mark.parametrize("long", [False, True], ids=["minutes", "days"])
def test_what_an_alert_says_names_the_host_and_is_whole(long: bool) -> None:
    for (_, host), sentence in fired(long).items():
        assert host in sentence and sentence.endswith("."), sentence
        assert not re.search(r"no value|error expanding|\{\{|e\+\d", sentence), sentence


def test_names_are_unique_and_start_alike() -> None:
    names = [rule.name for rule in alerts()]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"Ingot[A-Z]\w+", name) for name in names)


def test_sentences_end_and_actions_say_what_to_do() -> None:
    for rule in alerts():
        assert rule.summary.endswith(".") and rule.action.endswith("."), rule.name
        if rule.name not in ALWAYS:
            assert "$labels.host" in rule.summary, rule.name
        if "model" in rule.expr and rule.name.startswith(("IngotReplica", "IngotQueue", "IngotEngine", "IngotKv")):
            assert "$labels.model" in rule.summary, rule.name


def test_every_metric_of_ours_in_a_rule_is_in_the_catalogue() -> None:
    """A name that nobody writes would be a rule that never fires."""
    from ingot.monitoring.metrics import ONLY_FROM_DCGM

    known = {series for one in CATALOGUE for series in one.series} | set(ONLY_FROM_DCGM)
    for rule in alerts():
        assert set(re.findall(r"\bingot_[a-z_]+", rule.expr)) <= known, rule.name


def test_every_metric_of_a_host_is_used_or_shown() -> None:
    """Those that rules do not read are on dashboards, tested there; none latches a gauge of the last Xid."""
    assert not [rule.name for rule in alerts() if "XID_ERRORS" in rule.expr]


def test_the_page_has_an_entry_for_each_alert_and_no_other() -> None:
    assert (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8") == alerts_page(), (
        "run `python -m ingot.monitoring.rules.page > docs/alerts.md`"
    )
    assert re.findall(r"^### (\w+)$", alerts_page(), re.MULTILINE) == [rule.name for rule in alerts()]


@pytest.mark.parametrize("pace", [1, 15, 60])
def test_the_file_is_taken_at_every_pace(pace: int, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rule_file(pace=pace), encoding="utf-8")
    ran = subprocess.run(["promtool", "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_a_pace_changes_windows_and_nothing_else() -> None:
    assert at_pace("increase(x[10m]) > 600 and y offset 1h", 1) == "increase(x[10m]) > 600 and y offset 1h"
    assert at_pace("increase(x[10m]) > 600 and y offset 1h", 60) == "increase(x[10s]) > 600 and y offset 60s"
    assert at_pace("rate(x[2m])", 60) == "rate(x[5s])"


def test_a_limit_of_a_service_level_is_an_edge_of_the_histogram() -> None:
    with pytest.raises(
        ValueError, match=r"ttft_s is 2; take an edge of the engines' histogram, the nearest are 1 or 2\.5"
    ):
        Slo(ttft_s=2.0)
    with pytest.raises(ValueError, match=r"itl_s is 3; take .* the nearest is 1\."):
        Slo(itl_s=3.0)
    with pytest.raises(ValueError, match="served_share is 1; it is a share between 0 and 1"):
        Slo(served_share=1)
    assert 'le="1.0"' in rule_file(Slo(ttft_s=1.0))


def test_what_is_known_of_benchmarks_is_series_that_prometheus_takes(tmp_path: Path) -> None:
    known = Baseline("qwen", "vllm 0.32.0", 'NVIDIA "L4"', 1, "ab12cd34", 0.01, 0.0005, 16, 4)
    text = rule_file(known=[known])
    (tmp_path / "rules.yml").write_text(text, encoding="utf-8")
    ran = subprocess.run(["promtool", "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    said = yaml.safe_load(text)["groups"][0]
    labels = {"model": "qwen", "engine": "vllm 0.32.0", "gpu": 'NVIDIA "L4"', "gpus": "1", "plan": "ab12cd34"}
    assert said["name"] == "ingot-bench-known"
    assert said["rules"][0] == {"record": "ingot:bench:itl_base_seconds", "expr": "vector(0.01)", "labels": labels}
    assert [one["expr"] for one in said["rules"][1:]] == ["vector(0.0005)", "vector(16)", "vector(4)"]
    assert "ingot-bench-known" not in rule_file()


def test_an_alert_that_must_wake_somebody_waits_no_longer_than_its_cause_allows() -> None:
    for rule in alerts():
        if rule.severity is Severity.CRITICAL:
            assert rule.for_s <= 900, rule.name


def test_what_no_run_brings_about_is_never_held_back() -> None:
    never = re.compile(r"Xid|Ecc|Rows|RowRemap|Hot$|Burn|CacheUnmounted|DiskReadOnly|HeldLong|Raid|Watchdog")
    assert not [
        rule.name for rule in alerts() if never.search(rule.name) and rule.hushed_by and "Memory" not in rule.name
    ]
    assert all(any(purpose in rule.hushed_by for rule in alerts()) for purpose in Purpose)
