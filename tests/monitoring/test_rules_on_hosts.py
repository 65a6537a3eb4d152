"""Every rule that can be brought about on a test host fires there, and ends when its fault does.

Real Prometheus and Alertmanager scrape by the host's one port; what a test host cannot have (a GPU that fails, an
engine that is full) is said by stand-ins in the place of node exporter and engines. Rules are rendered at another pace.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingot.facts.monitoring import DATA
from ingot.monitoring.rules.catalogue import alerts
from ingot.monitoring.rules.rendered import rule_file
from ingot.operations.monitoring.monitor import ALERTMANAGER, PROMETHEUS, RULES, alertmanager_yml
from tests.monitoring.conftest import NAME, ROOT, Watched, query_word
from tests.monitoring.injected import BY_STATE, CANNOT, DCGM, NODE, NOTICES, faults, replica_address
from tests.monitoring.rules.test_inhibitions import held_back

pytestmark = [pytest.mark.e2e, pytest.mark.observe, pytest.mark.timeout(600)]

#: Windows and waits pass so much faster: the longest that has to be full is a day.
PACE = 3000
LIMIT_S = 180
PLAN, NOTED = "/run/figures/plan.json", "/run/figures/notices.jsonl"
SAVED = "/root/saved"
SERVERS = ("prometheus-node-exporter", "ingot-metrics.timer", "nvidia-dcgm-exporter")
TARGETS = "/run/ingot-metrics"
#: Two series where one is expected: Prometheus says so at each evaluation.
BROKEN = """
- name: broken
  rules:
  - record: broken
    expr: ingot_replica_in_pool * on (host) ingot_replica_in_pool
"""


@dataclass
class Paced:
    """The host with its monitor at another pace, and stand-ins that say what they are told."""

    watched: Watched

    def says(self, series: dict[str, list[Any]], notices: int = 200) -> None:
        """What the stand-ins say from now on; an address that is left out answers 503."""
        listen = [NODE, DCGM, NOTICES, *(replica_address(number) for number in faults().replicas)]
        began = float(self.watched.host.succeeds("date +%s.%N"))
        plan = {"listen": listen, "series": series, "notices": notices, "began": began}
        self.watched.host.put(f"{PLAN}.new", json.dumps(plan))
        self.watched.host.succeeds(f"mv {PLAN}.new {PLAN}")

    def names(self, query: str) -> set[str]:
        """The alerts of a query."""
        asked = f"curl -sf -G --data-urlencode {query_word(query)} http://127.0.0.1:9090/api/v1/query"
        status, said = self.watched.host.run(asked)
        found = json.loads(said)["data"]["result"] if status == 0 else []
        return {one["metric"]["alertname"] for one in found}

    def wait_until_fired(self, rules: set[str]) -> float:
        """Wait until each of some rules has fired since now; returns the seconds that it took."""
        began = time.monotonic()
        while True:
            since = int(time.monotonic() - began) + 2
            fired = self.names(f'count by (alertname) (max_over_time(ALERTS{{alertstate="firing"}}[{since}s]))')
            took = time.monotonic() - began
            if rules <= fired:
                return took
            assert took < LIMIT_S, f"not fired: {sorted(rules - fired)}"
            time.sleep(1)

    def wait_until_ended(self, besides: str = "IngotWatchdog|IngotRulesLate") -> float:
        """Wait until nothing else fires; returns the seconds that it took.

        A busy machine is truly late with all rules each second.
        """
        began = time.monotonic()
        while left := self.names(f'ALERTS{{alertstate="firing", alertname!~"{besides}"}}'):
            assert time.monotonic() - began < LIMIT_S, f"not ended: {sorted(left)}"
            time.sleep(1)
        return time.monotonic() - began

    def reload(self, unit: str = "prometheus") -> None:
        self.watched.host.succeeds(f"systemctl reload {unit}")

    def noticed(self) -> list[dict[str, Any]]:
        """What Alertmanager has, with the state of each."""
        found: list[dict[str, Any]] = json.loads(
            self.watched.host.succeeds("curl -sf http://127.0.0.1:9093/api/v2/alerts")
        )
        return found


def well() -> dict[str, list[Any]]:
    """A host and engines that nothing is wrong with."""
    engines = [replica_address(number) for number in faults().replicas]
    said: dict[str, list[Any]] = {one: [("vllm:kv_cache_usage_perc", 0, 0, 0)] for one in engines}
    pool = [
        (f'ingot_replica_in_pool{{model="{model}",replica="{replica}"}}', 1, 1, 0)
        for model, replica in faults().replicas.values()
    ]
    node = [("ingot_collector_last_run_seconds", "now", "now", 0), *pool]
    return {NODE: node, DCGM: [("DCGM_FI_DEV_GPU_TEMP", 40, 40, 0)], **said}


@pytest.fixture(scope="module")
def paced(watched: Watched) -> Iterator[Paced]:
    """Another pace, and stand-ins; afterwards all is as it was."""
    host = watched.host
    found, made = faults(), Paced(watched)
    host.succeeds(f"mkdir -p {SAVED} /run/figures && cp -a {RULES} {PROMETHEUS} {ALERTMANAGER} {SAVED}")
    for number in found.replicas:
        host.succeeds(f"ip address replace {replica_address(number).partition(':')[0]}/32 dev lo")
    host.put("/root/standin_figures.py", (Path(__file__).parent / "standin_figures.py").read_text())
    host.succeeds(f"systemctl stop {' '.join(SERVERS)}")
    made.says(well())
    host.succeeds(f"systemd-run --unit standin-figures python3 /root/standin_figures.py {PLAN} {NOTED}")
    host.wait_until_succeeds(f"curl -sf http://{NODE}/metrics")
    listed = [
        {"targets": ["here"], "labels": {"__metrics_path__": f"/replica/{number}", "model": model, "replica": replica}}
        for number, (model, replica) in found.replicas.items()
    ]
    host.put(f"{TARGETS}/replica.json", json.dumps(listed))
    host.put(f"{TARGETS}/gpu.json", json.dumps([{"targets": ["here"], "labels": {"__metrics_path__": "/gpu"}}]))
    host.put(RULES, rule_file(pace=PACE))
    faster = "s/(scrape_interval|evaluation_interval): .*/\\1: 1s/; s/scrape_timeout: .*/scrape_timeout: 1s/"
    host.succeeds(f"sed -Ei '{faster}; s/refresh_interval: .*/refresh_interval: 1s/' {PROMETHEUS}")
    told: Any = SimpleNamespace(
        monitoring_webhook=f"http://{NOTICES}/", monitoring_mail=None, monitoring_webhook_token_file=None
    )
    text = re.sub(r"group_wait: .*", "group_wait: 1s", alertmanager_yml(told))
    host.put("/root/tells.yml", re.sub(r"group_interval: .*", "group_interval: 5s", text))
    # In place: owner and mode stay.
    host.succeeds(f"cat /root/tells.yml > {ALERTMANAGER}")
    # From nothing: at another pace a target is another one, and nobody ends the real figures of the one before.
    [data] = DATA["prometheus"]
    host.succeeds(f"systemctl stop prometheus && find {data} -mindepth 1 -delete && systemctl start prometheus")
    made.reload("prometheus-alertmanager")
    try:
        yield made
    finally:
        host.succeeds(
            f"systemctl stop standin-figures; systemctl start {' '.join(SERVERS)} prometheus-alertmanager && "
            f"cp -a {SAVED}/ingot.yml {RULES} && cp -a {SAVED}/prometheus.yml {PROMETHEUS} && "
            f"cp -a {SAVED}/alertmanager.yml {ALERTMANAGER} && systemctl restart ingot-metrics.service && "
            "systemctl reload prometheus prometheus-alertmanager"
        )


def test_every_rule_has_a_way_or_a_reason() -> None:
    named = faults().rules | BY_STATE.keys() | CANNOT.keys()
    assert named == {rule.name for rule in alerts()}
    assert not BY_STATE.keys() & CANNOT.keys() and not faults().rules & (BY_STATE.keys() | CANNOT.keys())


def test_rules_fire_and_end_with_their_faults(paced: Paced) -> None:
    paced.watched.wait_for_sample('count(up{job="replica"} == 1) > 10')
    paced.wait_until_ended()

    paced.says(faults().series, notices=500)
    took = paced.wait_until_fired(faults().rules | {"IngotNoticesFail"})
    print(f"{len(faults().rules) + 1} rules fired within {took:.0f} s")
    # A deploy "holds" the host: what it brings about is held back, and nothing else.
    noticed = paced.noticed()
    firing = [one["labels"] for one in noticed]
    for one in noticed:
        assert (one["status"]["state"] == "suppressed") == held_back(one["labels"], firing), one
    assert {"suppressed", "active"} <= {one["status"]["state"] for one in noticed}

    command = [sys.executable, "-c", "from ingot.commands.cli import main; main()", "alerts", "--json"]
    inventory = ["--inventory", str(paced.watched.directory / "lab.py")]
    done = subprocess.run([*command, *inventory], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    said = json.loads(done.stdout)
    assert done.returncode == 1 and not said["errors"], done.stderr
    lost = next(one for one in said["alerts"] if one["name"] == "IngotGpuLost")
    assert (lost["host"], lost["severity"], lost["held_back"]) == (NAME, "critical", True)
    assert lost["summary"] == f"{NAME} has 1 GPUs fewer than its plan expects."

    paced.says(well())
    print(f"all ended within {paced.wait_until_ended():.0f} s")
    assert "IngotXidReset" in paced.watched.host.succeeds(f"cat {NOTED}")


def test_what_is_not_seen_fires_and_ends(paced: Paced) -> None:
    host, silent = paced.watched.host, replica_address(next(iter(faults().replicas)))
    healthy = well()
    paced.says({**healthy, NODE: [one for one in healthy[NODE] if "last_run" not in one[0]]})
    paced.wait_until_fired({"IngotMetricsMissing"})

    host.succeeds(f"cat >> {RULES} <<'END'{BROKEN}END")
    paced.reload()
    host.succeeds(f"systemctl stop prometheus-alertmanager && cp {PROMETHEUS} /root/good.yml")
    host.succeeds(f"echo broken: [ >> {PROMETHEUS}")
    host.run("systemctl reload prometheus")
    paced.says({one: series for one, series in healthy.items() if one not in (DCGM, silent)})
    paced.wait_until_fired(
        {
            "IngotDcgmDown",
            "IngotReplicaUnseen",
            "IngotRulesFail",
            "IngotAlertmanagerAway",
            "IngotConfigurationNotTaken",
        }
    )
    paced.says({one: series for one, series in healthy.items() if one != NODE})
    paced.wait_until_fired({"IngotHostUnreachable"})

    paced.says(healthy)
    host.put(RULES, rule_file(pace=PACE))
    host.succeeds(f"cp /root/good.yml {PROMETHEUS} && systemctl start prometheus-alertmanager")
    paced.reload()
    paced.wait_until_ended()


def test_a_prometheus_that_had_no_time_says_so(paced: Paced) -> None:
    kill = "systemctl kill --kill-whom=main --signal"
    # Between the pauses it has time for what the rule needs: two figures of itself, and two looks at them.
    turn = f"{kill} STOP prometheus; sleep 2.5; {kill} CONT prometheus; sleep 4"
    paced.watched.host.succeeds(f"systemd-run --unit pauses sh -c 'for turn in $(seq 30); do {turn}; done'")
    try:
        paced.wait_until_fired({"IngotRulesLate"})
    finally:
        paced.watched.host.succeeds(f"systemctl stop pauses; {kill} CONT prometheus")
    paced.watched.wait_for_sample('vector(1) unless on () ALERTS{alertname="IngotRulesLate"}', timeout_s=600)


def test_a_prometheus_whose_disk_is_full_says_so_and_goes_on_when_it_is_freed(paced: Paced) -> None:
    host, [data] = paced.watched.host, DATA["prometheus"]
    host.succeeds(
        f"systemctl stop prometheus && mount -t tmpfs -o size=64m,mode=0750 tmpfs {data} && "
        f"chown prometheus: {data} && systemctl start prometheus"
    )
    try:
        paced.watched.wait_for_sample('up{job="prometheus"} == 1')
        host.run(f"dd if=/dev/zero of={data}/full bs=1M")
        # It cannot keep that this fires, but Alertmanager gets it.
        host.wait_until_succeeds("curl -sf http://127.0.0.1:9093/api/v2/alerts | grep -q IngotPrometheusDisk")
        host.succeeds(f"rm {data}/full")
        paced.watched.wait_for_sample('changes(prometheus_tsdb_head_samples_appended_total{type="float"}[3s]) > 0')
        paced.wait_until_ended()
        active = "curl -sf 'http://127.0.0.1:9093/api/v2/alerts?active=true'"
        host.wait_until_succeeds(f"! {active} | grep -q IngotPrometheusDisk")
    finally:
        host.succeeds(f"systemctl stop prometheus && umount {data} && systemctl start prometheus")
