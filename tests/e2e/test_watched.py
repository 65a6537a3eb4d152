"""A monitor watches a host that serves real vLLM: real faults become alerts, notices by mail and HTTP, and end."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingot.monitoring.rules.rendered import rule_file
from ingot.operations.monitoring.monitor import ALERTMANAGER, PROMETHEUS, RULES
from ingot.sandbox import Sandbox, TestHost
from tests.e2e import receivers_at
from tests.e2e.deploying import INGOT, ROOT, deploy
from tests.e2e.test_deploy import ask, containers
from tests.monitoring.conftest import query_word

pytestmark = [pytest.mark.e2e, pytest.mark.observe, pytest.mark.timeout(1200)]

NAME, MONITOR = "e2e", "e2e-monitor"
MODEL, REPLICA = "tiny-qwen3", "tiny-qwen3-0"
CONTAINER = f"ingot-engine-{REPLICA}"
#: Waits pass so much faster. The collector still runs every 15 s, within the shortest window of a rule on its runs.
PACE = 10
INVENTORY = """
from ingot.sandbox.inventory import hosts

_known = {{name.removeprefix("@ingot/"): (name, data) for name, data in hosts()}}
_name, _data = _known[{monitor!r}]
_served, _of_served = _known[{name!r}]
sandbox = [(_served, {{**_of_served, "lock_wait_s": 0}}), (_name, {{**_data, "serve": [], **{values!r}}})]
monitor = [sandbox[1]]
"""


@dataclass
class Watch:
    """Both hosts, and the inventory of both."""

    host: TestHost
    monitor: TestHost
    inventory: Path

    def has(self, query: str, timeout_s: float = 120) -> str:
        """Wait until a query of the monitor's Prometheus has a result, and return its first value."""
        asked = f"curl -sf -G --data-urlencode {query_word(query)} http://127.0.0.1:9090/api/v1/query"
        answer = self.monitor.wait_until_succeeds(f"{asked} | grep '\"value\":'", timeout_s=timeout_s)
        return str(json.loads(answer)["data"]["result"][0]["value"][1])

    def fires(self, name: str, timeout_s: float = 120) -> None:
        self.has(f'ALERTS{{alertstate="firing",alertname="{name}",host="{NAME}"}}', timeout_s)

    def ended(self, name: str, timeout_s: float = 120) -> None:
        self.has(f'vector(1) unless on () ALERTS{{alertname="{name}",host="{NAME}"}}', timeout_s)

    def ingot(self, *words: str) -> subprocess.Popen[str]:
        command = [str(INGOT), *words, "--inventory", str(self.inventory)]
        # No cell of a table is continued below, whatever else fires.
        wide = {**os.environ, "COLUMNS": "300"}
        return subprocess.Popen(command, cwd=ROOT, env=wide, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def received(self, file: str) -> list[dict[str, Any]]:
        """What came by mail, or by POST."""
        return [json.loads(line) for line in self.monitor.run(f"cat {receivers_at.DIRECTORY}/{file}")[1].splitlines()]


@pytest.fixture(scope="module")
def watch(host: TestHost, key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    sandbox, directory = Sandbox(), tmp_path_factory.mktemp("watch")
    if host.run("docker ps | grep tiny-qwen3")[0] != 0:
        assert deploy(NAME).status == 0
    monitor = sandbox.up(MONITOR)
    values = receivers_at.start(monitor, directory)
    inventory = directory / "fleet.py"
    inventory.write_text(INVENTORY.format(monitor=MONITOR, name=NAME, values=values))
    run = deploy(inventory=str(inventory))
    assert run.status == 0, run.output[-6000:]
    # In place: owners and modes stay.
    monitor.put("/root/rules.yml", rule_file(pace=PACE))
    quick = "s/(scrape_interval|evaluation_interval|scrape_timeout|refresh_interval): .*/\\1: 2s/"
    told = "s/group_wait: .*/group_wait: 1s/; s/group_interval: .*/group_interval: 5s/"
    monitor.succeeds(
        f"cat /root/rules.yml > {RULES} && sed -Ei '{quick}' {PROMETHEUS} && sed -Ei '{told}' {ALERTMANAGER} && "
        "systemctl reload prometheus prometheus-alertmanager"
    )
    yield Watch(host, monitor, inventory)
    sandbox.down(MONITOR)


def test_the_monitor_sees_the_engine_of_another_host(watch: Watch, key: str) -> None:
    assert containers(watch.host)
    here = f'host="{NAME}",model="{MODEL}",replica="{REPLICA}"'
    watch.has(f'up{{job="replica",{here}}} == 1')
    ask(watch.host, key)
    watch.has(f"vllm:generation_tokens_total{{{here}}} > 0")
    watch.has(f"vllm:cache_config_info{{{here}}} == 1")
    watch.has(f'ingot_gateway_requests_total{{host="{NAME}",model="{MODEL}",team="e2e",status="200"}} > 0')
    # What this engine does not have is no series, and no zero.
    watch.has('vector(1) unless on () {__name__=~"vllm:spec_decode_.*"}')


def test_a_benchmark_of_a_dying_engine_ends_and_people_are_told_of_the_engine(watch: Watch) -> None:
    load = ("--concurrency", "2", "--requests", "400", "--input-tokens", "32", "--output-tokens", "64")
    bench = watch.ingot("bench", NAME, *load, "--seconds", "240", "--json")
    running = "curl -sf http://172.31.213.10:8000/metrics | grep -E '^vllm:num_requests_running.* [1-9]'"
    watch.host.wait_until_succeeds(running, timeout_s=600)
    refused = watch.ingot("bench", NAME, *load)
    _, said = refused.communicate(timeout=600)
    assert refused.returncode and f"{NAME}: " in said and "bench" in said and "Traceback" not in said, said
    watch.host.succeeds(f"docker kill {CONTAINER}")
    answer, said = bench.communicate(timeout=600)
    assert bench.returncode == 1 and f"{NAME}: the benchmark was stopped: " in said, said
    [record] = json.loads(answer)["hosts"]
    assert "requests failed" in record["why"] and Path(record["path"]).is_file(), record

    watch.fires("IngotReplicaDown")
    told = f"Replica {REPLICA} of {MODEL} on {NAME} does not run."
    watch.monitor.wait_until_succeeds(f"grep -q IngotReplicaDown {receivers_at.DIRECTORY}/mail.jsonl", timeout_s=600)
    mails = [one for one in watch.received("mail.jsonl") if "IngotReplicaDown" in one["text"]]
    assert {(one["from"], tuple(one["to"]), one["tls"]) for one in mails} == {
        ("ingot@corp.test", ("ops@corp.test",), True)
    }
    watch.monitor.wait_until_succeeds(f"grep -q IngotReplicaDown {receivers_at.DIRECTORY}/posts.jsonl", timeout_s=600)
    said = json.dumps(watch.received("posts.jsonl"))
    assert told in said, said
    shown = watch.ingot("alerts")
    assert told in re.sub(r"\s+", " ", shown.communicate(timeout=600)[0])

    watch.host.succeeds(f"docker start {CONTAINER}")
    watch.has(f'up{{job="replica",host="{NAME}"}} == 1', timeout_s=600)
    watch.ended("IngotReplicaDown")
    ended = f'grep IngotReplicaDown {receivers_at.DIRECTORY}/posts.jsonl | grep -q \'"status": "resolved"\''
    watch.monitor.wait_until_succeeds(ended, timeout_s=600)


def test_the_host_serves_on_while_its_monitor_is_down_and_nothing_is_lost_but_the_time_between(
    watch: Watch, key: str
) -> None:
    requests = f'ingot_gateway_requests_total{{host="{NAME}",model="{MODEL}",team="e2e",status="200"}}'
    watch.has(f'ingot_replica_in_pool{{host="{NAME}",replica="{REPLICA}"}} == 1')
    before = float(watch.has(requests))
    watch.monitor.cut_network()
    for _ in range(3):
        ask(watch.host, key)
    alerts = watch.ingot("alerts")
    _, said = alerts.communicate(timeout=600)
    assert alerts.returncode == 1 and said.startswith(f"ingot: {MONITOR}: ") and "Traceback" not in said, said
    watch.monitor.restore_network()
    watch.monitor.kill()
    watch.monitor.start()
    watch.has(f"{requests} >= {before + 3:g}", timeout_s=600)
    watch.has(f'up{{job="replica",host="{NAME}"}} == 1')
    watch.has(f"min_over_time({requests}[1h]) <= {before:g}")
