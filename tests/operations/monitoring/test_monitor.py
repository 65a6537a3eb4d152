"""Prometheus' and Alertmanager's configuration, as their own checkers read them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from ingot.errors import IngotError
from ingot.monitoring.rules.baseline import Baseline
from ingot.monitoring.targets import Member
from ingot.operations import tree
from ingot.operations.monitoring import monitor
from tests.settings.values import settings

pytestmark = pytest.mark.observe

MAIL = {"to": ["llm@corp.example"], "sender": "ingot@corp.example", "server": "mail.corp.example:587"}


def check(directory: Path, program: str, text: str) -> str:
    """What a checker says of a configuration that it takes."""
    file = directory / "configuration.yml"
    file.write_text(text)
    words = {"promtool": ["promtool", "check", "config", "--syntax-only"], "amtool": ["amtool", "check-config"]}
    done = subprocess.run([*words[program], str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("count", [1, 200])
def test_prometheus_takes_its_configuration(tmp_path: Path, count: int) -> None:
    members = [Member(f"gpu-{number:03}", f"10.0.0.{number}", 9443) for number in range(count)]
    text = monitor.prometheus_yml(members, "watch-01")
    check(tmp_path, "promtool", text)
    jobs = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    assert {"node", "replica", "gpu"} <= set(jobs)
    assert len(jobs["replica"]["http_sd_configs"]) == count
    assert all(job["tls_config"]["ca_file"] for name, job in jobs.items() if name in ("node", "replica", "gpu"))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "nobody"),
        ({"monitoring_webhook": "https://chat.corp.example/hook?a=b&c='d"}, "nobody"),
        ({"monitoring_webhook": "https://chat.corp.example/hook?a=b&c=d"}, "people"),
        ({"monitoring_webhook": "https://chat.corp.example/", "monitoring_webhook_token_file": "/tmp/x"}, "people"),
        ({"monitoring_mail": MAIL}, "people"),
        ({"monitoring_mail": {**MAIL, "user": "ingot", "password_file": "/tmp/x"}}, "people"),
    ],
)
def test_alertmanager_takes_its_configuration(tmp_path: Path, values: dict[str, object], told: str) -> None:
    if "'" in str(values.get("monitoring_webhook")):
        with pytest.raises(IngotError, match="monitoring_webhook"):
            settings(**values)
        return
    text = monitor.alertmanager_yml(settings(**values))
    check(tmp_path, "amtool", text)
    read = yaml.safe_load(text)
    assert read["route"]["receiver"] == told
    assert read["inhibit_rules"], "what a run brings about is held back"


def test_figures_may_fill_their_share_of_the_disk() -> None:
    [prometheus, alertmanager] = monitor.defaults(settings(monitoring_disk_share=0.5), 100 << 30, "10.0.0.1")
    assert "--storage.tsdb.retention.size=51200MB" in prometheus.content
    assert "--web.listen-address=127.0.0.1:9090" in prometheus.content
    assert "--web.listen-address=127.0.0.1:9093" in alertmanager.content
    assert alertmanager.content.endswith('--cluster.listen-address="\n')


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"monitoring_login_port": 9443}, "monitoring_login_port is 9443, expected another port than monitoring_port"),
        ({"monitoring_port": 443}, "monitoring_port is 443, expected a TCP port from 1024 to 65000"),
        ({"monitoring_webhook_token_file": "x"}, "monitoring_webhook_token_file is 'x', expected None while"),
        ({"monitoring_mail": {**MAIL, "user": "ingot"}}, "expected user and password_file both, or neither"),
        ({"monitoring_mail": {**MAIL, "to": []}}, "monitoring_mail.to"),
        ({"monitoring_disk_share": 1.5}, "monitoring_disk_share is 1.5, expected a share of a disk"),
        (
            {"monitoring_ttft_s": 2},
            "monitoring_ttft_s is 2.0, expected an edge of the engines' histogram, the nearest are 1 or 2.5",
        ),
        (
            {"monitoring_itl_s": 0.001},
            "monitoring_itl_s is 0.001, expected an edge of the engines' histogram, the nearest is 0.01",
        ),
        ({"monitoring_answered_share": 99}, "monitoring_answered_share is 99, expected a share between 0 and 1"),
        ({"monitoring_floor": 0}, "monitoring_floor is 0, expected a whole number of requests from 1"),
    ],
)
def test_a_wrong_value_is_one_sentence(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(IngotError) as wrong:
        settings(**values)
    assert sentence.replace("65000", "65535") in str(wrong.value)


def test_the_rules_have_what_the_values_say_and_what_benchmarks_said() -> None:
    values = settings(monitoring_ttft_s=5, monitoring_itl_s=0.2, monitoring_itl_share=0.9, monitoring_floor=7)
    known = Baseline("qwen", "vllm 0.32.0", "L4", 1, "ab12cd34", 0.01, 0.0005, 16, 4)
    entries = monitor.entries(values, [], "watch-01", "", (known,))
    (rules,) = [one.content for one in entries if isinstance(one, tree.File) and one.path == monitor.RULES]
    assert 'time_to_first_token_seconds_bucket{le="5.0"}' in rules
    assert 'inter_token_latency_seconds_bucket{le="0.2"}' in rules
    assert "ingot:itl:bad_ratio_1h > 1.44 " in rules and "ingot:ttft:count_5m >= 7" in rules
    assert "record: ingot:bench:itl_base_seconds" in rules and "plan: ab12cd34" in rules
    said = re.sub(r"\s+", " ", rules)
    assert "come after 5 s; 5% may." in said and "more than 0.2 s apart; 10% may." in said


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(IngotError, match="is empty"):
        monitor.entries(
            settings(monitoring_webhook="https://x.example", monitoring_webhook_token_file=str(tmp_path / "token")),
            [],
            "watch-01",
            "",
            (),
        )
