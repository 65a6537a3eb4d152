"""Monitoring on a booted host: real node exporter, Prometheus, Alertmanager and nginx, in order."""

from __future__ import annotations

import pytest

from tests.monitoring.conftest import MODEL, NAME, Watched

pytestmark = [pytest.mark.e2e, pytest.mark.observe, pytest.mark.timeout(600)]


def test_the_monitor_sees_the_host_its_gpu_and_its_replicas(watched: Watched) -> None:
    watched.wait_for_sample(f'up{{job="node",host="{NAME}"}} == 1')
    for number in (0, 1):
        labels = f'job="replica",host="{NAME}",model="{MODEL}",replica="{MODEL}-{number}"'
        watched.wait_for_sample(f"up{{{labels}}} == 1")
    watched.wait_for_sample(f'ingot_gpu_up{{host="{NAME}"}} == 1')
    watched.wait_for_sample(f'time() - ingot_collector_last_run_seconds{{host="{NAME}"}} < 40')
    watched.wait_for_sample(f'ingot_nginx_up{{host="{NAME}"}} == 1')


def test_a_second_run_changes_nothing(watched: Watched) -> None:
    run = watched.deploy("gateway", "monitoring")
    assert (run.status, run.changed(NAME)) == (0, []), run.output[-4000:]
