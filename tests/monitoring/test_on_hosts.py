"""Monitoring on a booted host: real node exporter, Prometheus, Alertmanager and nginx."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.monitoring.conftest import MODEL, NAME, ROOT, Watched

pytestmark = [pytest.mark.e2e, pytest.mark.observe, pytest.mark.timeout(900)]


def test_the_monitor_sees_the_host_its_gpu_and_its_replicas(watched: Watched) -> None:
    watched.wait_for_sample(f'up{{job="node",host="{NAME}"}} == 1')
    for number in (0, 1):
        labels = f'job="replica",host="{NAME}",model="{MODEL}",replica="{MODEL}-{number}"'
        watched.wait_for_sample(f"up{{{labels}}} == 1")
    watched.wait_for_sample(f'ingot_gpu_up{{host="{NAME}"}} == 1')
    watched.wait_for_sample(f'time() - ingot_collector_last_run_seconds{{host="{NAME}"}} < 60')
    watched.wait_for_sample(f'ingot_nginx_up{{host="{NAME}"}} == 1')


def test_dcgms_figures_come_beside_those_of_nvidia_smi_by_the_same_port(watched: Watched) -> None:
    watched.wait_for_sample(f'count(ingot_gpu_pcie_replays_total{{host="{NAME}"}}) == 4', timeout_s=600)
    watched.wait_for_sample(f'count(DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{{host="{NAME}"}}) == 4')
    # What the host says itself is not said twice, and what the card lacks is not said.
    watched.wait_for_sample(f'count(ingot_gpu_temperature_celsius{{host="{NAME}"}}) == 4')
    watched.wait_for_sample(f'vector(1) unless on () ingot_gpu_memory_temperature_celsius{{host="{NAME}"}}')
    listens = watched.host.succeeds("ss -Hltnp 'sport = :9400'").split()
    assert listens[3] == "127.0.0.1:9400", "the package's own unit listens on every address"


def test_a_second_run_changes_nothing(watched: Watched) -> None:
    run = watched.deploy("gateway", "monitoring")
    assert (run.status, run.changed(NAME)) == (0, []), run.output[-4000:]


def test_verify_proves_it(watched: Watched) -> None:
    checks = "monitoring or nothing_listens or readable or root_alone"
    command = [sys.executable, "-m", "pytest", "tests/hosts", "--inventory", str(watched.directory / "lab.py")]
    done = subprocess.run(
        [*command, "-k", checks, "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout.splitlines()[-1], done.stdout[-2000:]


def test_a_servers_certificate_opens_no_port(watched: Watched) -> None:
    tls = "/etc/ingot/monitoring/tls"
    ask = f"curl -s -o /dev/null -w '%{{http_code}}' --cacert {tls}/../authority.pem https://{watched.host.address}:9443/node"
    assert watched.host.succeeds(f"{ask} --cert {tls}/certificate.pem --key {tls}/key.pem").strip() == "400"
    client = "/etc/prometheus/ingot"
    assert watched.host.succeeds(f"{ask} --cert {client}/certificate.pem --key {client}/key.pem").strip() == "200"


class TestLast:
    """What takes monitoring away again: after every other test of the host."""

    def test_who_is_watched_no_more_keeps_nothing_of_it(self, watched: Watched) -> None:
        host = watched.host
        run = watched.deploy("gateway", "monitoring", watched=False)
        assert run.status == 0, run.output[-6000:]
        left = "/etc/ingot/monitoring /etc/prometheus/ingot /etc/default/prometheus* /var/lib/prometheus/metrics2"
        left += " /etc/systemd/system/nvidia-dcgm-exporter.service /usr/bin/dcgm-exporter"
        assert not host.run(f"ls -d {left} 2>/dev/null")[1].strip()
        assert not host.run("ss -Hltn | grep -E ':(9090|9093|9100|9400|9443|9444) '")[1].strip()
        assert not host.run("ls /etc/systemd/system/ingot-m* 2>/dev/null")[1].strip()
        again = watched.deploy("gateway", "monitoring", watched=False, flags=["--debug"])
        assert (again.status, again.changed(NAME)) == (0, []), again.output[-4000:]
        assert "Monitoring" not in again.commands(NAME), "a host that nobody watches is asked nothing"
