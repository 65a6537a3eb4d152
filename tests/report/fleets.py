"""A fleet that is made up: hosts with eight H100 each, as their records would have them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ingot.acceptance.evidence import Outcome
from ingot.acceptance.judge import judge
from ingot.catalog import hardware_from_name, peaks
from ingot.facts.evidence import Recorded
from ingot.report.fleet import Fleet, FleetHost
from ingot.report.recorded import HostReport
from ingot.report.usage import Used
from ingot.runs.audit import PastRun
from ingot.runs.run import Run
from ingot.sizing import HostPlan, ModelRequest, Workload, plan_host, vllm
from ingot.verification.drift import Change, HostDrift
from tests.acceptance.box import burned
from tests.sizing.conftest import model

AT = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
_HARDWARE = {"cpu": {"model": "Xeon"}, "memory_bytes": 2 << 40, "kernel": "6.8", "boot_id": "b", "disks": []}


def plan() -> HostPlan:
    request = ModelRequest(model(), Workload(8192, 8), replicas=8)
    return plan_host(hardware_from_name("h100x8"), [request], engine=vllm("0.32.0"), peaks=peaks())


def acceptance() -> dict[str, Any]:
    """A record of an hour: its samples are as many as a record keeps."""
    measured = burned(6, matmul_tflops=560)
    long = replace(measured, samples=measured.samples * 60)
    verdict, findings = judge(long)
    outcome = Outcome("gpu", "soak", "2026-11-23T02:06:01+00:00", verdict, findings, long, _HARDWARE)
    found: dict[str, Any] = json.loads(json.dumps(outcome.to_dict()))
    return found


def fleet(count: int) -> Fleet:
    """So many hosts. The first does not answer, the second drifted, nobody looked at the others' drift."""
    served, record = plan(), acceptance()
    files = {
        "driver.json": {"driver": {"version": "580.95.05", "flavour": "open", "kernel": "6.8.0-60"}},
        "plan.json": {"plan": served.to_dict()},
    }
    recorded = Recorded(json.loads(json.dumps(files)), dict.fromkeys(files, 1790000000), "1.20.0-1", "29.1.0")
    run = Run("ab12cd34", "ops", "desk", 7, "deploy", "2026-11-28T09:30:00+00:00", "0123456789abcdef")
    deploys = [PastRun(run, "done", "2026-11-28T09:40:00+00:00", operations=("Gateway | Write files",) * 3)] * 3
    hosts = [
        FleetHost(
            HostReport(f"gpu-{number:03}", recorded),
            replace(served, host=f"gpu-{number:03}"),
            record,
            {served.replicas[0].model: "5,123 tokens/s with 16 at once; measured on gpu-000"},
            deploys,
        )
        for number in range(count)
    ]
    hosts[0] = FleetHost(HostReport("gpu-000", error="gpu-000: no SSH at 10.0.0.1 port 22."), deploys=deploys)
    if count > 1:
        drift = HostDrift("gpu-001", (Change("Gateway", "write", tuple(f"write file {n}" for n in range(20))),))
        hosts[1] = replace(hosts[1], drift=drift)
    used = {(f"team-{number}",): Used(requests=1000 * number, cost=1.5 * number) for number in range(12)}
    return Fleet("prod.py", AT, hosts, used, "EUR", ["gpu-009: its logs cannot be read."])
