"""What a watched host gets, as far as it is decided before a host is asked."""

from __future__ import annotations

import json

import pytest

from ingot.facts.monitoring import MonitoringHost
from ingot.operations import tree
from ingot.operations.monitoring import exporter, port
from ingot.secrets import monitoring_login
from tests.settings.values import settings

pytestmark = pytest.mark.observe


def content(entries: list[tree.Entry], path: str) -> str:
    return next(str(one.content) for one in entries if isinstance(one, tree.File) and one.path == path)


def test_node_exporter_is_closed_before_it_is_there() -> None:
    assert "--web.listen-address=127.0.0.1:9100" in exporter.closed().content


def test_daemons_of_others_are_left_alone() -> None:
    assert exporter.why_not("gpu-01", MonitoringHost()) is None
    sentence = exporter.why_not("gpu-01", MonitoringHost(edited=("/etc/default/prometheus",)))
    assert sentence and sentence.startswith("gpu-01: /etc/default/prometheus is somebody else's, expected")


def test_the_port_asks_for_a_certificate_and_hands_on_metrics_alone() -> None:
    text = port.configuration(settings(), ipv6=True, login=False)
    assert "listen [::]:9443 ssl;" in text and "ssl_verify_client on;" in text
    assert "proxy_pass http://$replica_address/metrics;" in text
    assert "0 172.31.213.10:8000;" in text
    assert "9444" not in text, "people log in at the monitor only"


def test_the_login_is_a_digest_that_stays_the_same() -> None:
    entries = port.entries(settings(), "PEM", "word", ipv6=False)
    [login] = [one for one in entries if isinstance(one, tree.File) and one.path == port.LOGIN]
    assert login.secret and (login.group, login.mode) == ("www-data", "0640")
    assert "word" not in str(login.content) and login.content == monitoring_login.htpasswd("word")


def test_the_collector_is_told_whose_budgets_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    told = exporter.told(
        settings(gateway_teams={"sales": {"tokens_per_day": 100}, "law": {"tokens_per_minute": 7}}), "gpu-01"
    )
    assert told["budgets"] == {"sales": {"day": 100}}
    assert json.loads(json.dumps(told)) == told
