"""The collector as a process of its own, over files and programs as a host has them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ingot.bench.served import subject
from ingot.monitoring.collector.gpus import FIELDS, count_xids, slot_of, table
from ingot.monitoring.collector.host import forced_read_only
from ingot.monitoring.metrics import CATALOGUE
from ingot.operations.monitoring import exporter
from tests.report.fleets import plan
from tests.settings.values import settings

pytestmark = pytest.mark.observe

ROOT = Path(__file__).parents[3]
UUID = "GPU-e0e9a8fb-a021-52ab-bf52-c2c78c411fa1"
SERVED = {"model": "qwen3-8b", "context": 4096, "concurrency": 8}
#: A stand-in of nvidia-smi of an older driver: it knows no `gpu_recovery_action`, no `clocks_event_reasons`.
SMI = f"""#!/usr/bin/env python3
import pathlib, sys
calls = pathlib.Path(__file__).with_name("calls")
calls.write_text(calls.read_text() + "." if calls.exists() else ".")
fields = next(word for word in sys.argv if word.startswith("--query-gpu=")).partition("=")[2].split(",")
for name in fields:
    if name == "gpu_recovery_action" or name.startswith("clocks_event_reasons"):
        print(f'Field "{{name}}" is not a valid field to query.')
        sys.exit(2)
known = {{"uuid": "{UUID}", "index": "0", "name": "NVIDIA A10G", "pci.bus_id": "00000000:00:1E.0",
    "memory.total": "24576", "memory.used": "100", "utilization.gpu": "42", "fabric.state": "[N/A]",
    "clocks_throttle_reasons.hw_slowdown": "Active", "remapped_rows.pending": "Yes"}}
print(", ".join(known.get(name, "[N/A]") for name in fields))
"""


@pytest.fixture
def told(tmp_path: Path) -> dict[str, object]:
    """What the collector is told, with every path below a directory of the test."""
    (tmp_path / "bin").mkdir()
    values = settings(gateway_teams={"sales": {"tokens_per_day": 100}}, cache_root="/srv/x", serve=[SERVED])
    told = exporter.told(values, "gpu-01")
    here = {
        key: str(tmp_path / key)
        for key in ("textfile", "memory", "targets", "state", "upstreams", "holds", "runs", "audit", "access_log")
    }
    return {**told, **here, "ledger": str(tmp_path / "ledger"), "gateway_name": None, "certificates": []}


def program(directory: Path, name: str, text: str) -> None:
    path = directory / "bin" / name
    path.write_text(text)
    path.chmod(0o755)


def collect(directory: Path, told: dict[str, object]) -> dict[str, float]:
    """One run; the readings by series."""
    file = directory / "collector.json"
    file.write_text(json.dumps(told))
    done = subprocess.run(
        [sys.executable, "-m", "ingot.monitoring.collector", str(file)],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{directory}/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = Path(str(told["textfile"])).read_text()
    return {
        series: float(value)
        for series, _, value in (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    }


def of_gpu(name: str) -> str:
    return f'{name}{{uuid="{UUID}",index="0",name="NVIDIA A10G"}}'


def test_an_older_driver_is_asked_for_what_it_knows(tmp_path: Path, told: dict[str, object]) -> None:
    program(tmp_path, "nvidia-smi", SMI)
    found = collect(tmp_path, told)
    assert found[of_gpu("ingot_gpu_utilization_ratio")] == pytest.approx(0.42)
    assert found[of_gpu("ingot_gpu_memory_total_bytes")] == 24 << 30
    assert found[of_gpu("ingot_gpu_row_remap_pending")] == 1
    assert found[of_gpu("ingot_gpu_slowdown")[:-1] + ',reason="hw_slowdown"}'] == 1
    assert (found["ingot_driver_up"], found["ingot_gpu_seen"]) == (1, 1)
    assert not [series for series in found if "power_watts" in series or "fabric" in series], "absent, never 0"
    before = len((tmp_path / "bin/calls").read_text())
    collect(tmp_path, told)
    assert len((tmp_path / "bin/calls").read_text()) == before + 1, "later runs ask once"


def test_a_driver_that_does_not_answer_is_said(tmp_path: Path, told: dict[str, object]) -> None:
    said = "Failed to initialize NVML: Driver/library version mismatch"
    program(tmp_path, "nvidia-smi", f"#!/bin/sh\necho '{said}'\nexit 18\n")
    found = collect(tmp_path, told)
    assert (found["ingot_driver_up"], found["ingot_driver_mismatch"], found["ingot_gpu_seen"]) == (0, 1, 0)


def test_a_host_without_a_gpu_has_no_figures_of_one(tmp_path: Path, told: dict[str, object]) -> None:
    found = collect(tmp_path, {**told, "has_gpus": False})
    assert not [series for series in found if "gpu_" in series or "driver" in series]
    assert found['ingot_collector_part_up{part="gpus"}'] == 1


def test_a_host_that_serves_nothing_misses_no_directory_for_models(tmp_path: Path, told: dict[str, object]) -> None:
    assert told["cache_root"] == "/srv/x" and exporter.told(settings(serve=[]), "watch-01")["cache_root"] is None
    found = collect(tmp_path, {**told, "cache_root": None})
    assert not [series for series in found if series.startswith("ingot_cache_")]
    assert found['ingot_collector_part_up{part="cache"}'] == 1


def test_a_lost_gpu_is_not_up(tmp_path: Path, told: dict[str, object]) -> None:
    program(tmp_path, "nvidia-smi", SMI.replace('"memory.total": "24576"', '"memory.total": "[GPU is lost]"'))
    found = collect(tmp_path, told)
    assert (found[of_gpu("ingot_gpu_up")], found["ingot_gpu_seen"]) == (0, 0)


def request(team: str, status: int, first_byte: str = "0.3", upstream: str = "172.31.213.10:8000") -> str:
    entry = {
        "team": team,
        "model": "qwen3-8b",
        "path": "/v1/chat/completions",
        "port": 443,
        "status": status,
        "upstream": upstream,
        "first_byte_s": first_byte,
        "key": "secret-id",
        "request_id": "0123",
    }
    return json.dumps(entry) + "\n"


def test_requests_are_counted_once_through_rotations(tmp_path: Path, told: dict[str, object]) -> None:
    log = Path(str(told["access_log"]))
    log.write_text(request("sales", 200))
    collect(tmp_path, told)
    with log.open("a") as file:
        file.write(request("sales", 200) + request("sales", 429, "", "") + "torn\n" + request("sales", 503, "", ""))
    collect(tmp_path, told)
    with log.open("a") as file:
        file.write(request("sales", 200, "0.001, 3.0"))
    log.rename(f"{log}.1")
    log.write_text(request("law", 200))
    found = collect(tmp_path, told)
    found = collect(tmp_path, told)
    labels = 'team="sales",model="qwen3-8b"'
    assert found[f'ingot_gateway_requests_total{{{labels},status="200"}}'] == 2, "what was there before is no news"
    assert found[f'ingot_gateway_requests_total{{{labels},status="429"}}'] == 1
    assert found[f"ingot_gateway_draining_total{{{labels}}}"] == 1
    assert found['ingot_gateway_requests_total{team="law",model="qwen3-8b",status="200"}'] == 1
    histogram = "ingot_gateway_first_byte_seconds"
    assert found[f'{histogram}_bucket{{{labels},le="0.5"}}'] == 1
    assert found[f'{histogram}_bucket{{{labels},le="5.0"}}'] == 2
    assert found[f"{histogram}_count{{{labels}}}"] == 2
    assert found[f"{histogram}_sum{{{labels}}}"] == pytest.approx(3.3)
    assert "secret-id" not in Path(str(told["textfile"])).read_text()


def test_budgets_and_runs_are_told(tmp_path: Path, told: dict[str, object]) -> None:
    ledger = Path(str(told["ledger"]))
    ledger.mkdir()
    days = {"days": {time.strftime("%Y-%m-%d", time.gmtime()): {"sales": 40}}}
    (ledger / "1.json").write_text(json.dumps({"absorbed": [], **days}))
    (ledger / "2.json").write_text(json.dumps({"absorbed": ["0.json"], **days}))
    (ledger / "0.json").write_text(json.dumps({"absorbed": [], **days}))
    begin = {"event": "begin", "run": {"id": "ab", "purpose": "deploy"}}
    end = {"event": "end", "run": "ab", "at": "2026-11-29T10:00:00+00:00", "result": "failed"}
    Path(str(told["audit"])).write_text(f"{json.dumps(begin)}\n{json.dumps(end)}\n")
    state = Path(str(told["state"]))
    state.mkdir()
    verdict = {"verdict": "fail", "at": "2026-11-29T10:00:00+00:00", "override": None}
    (state / "acceptance.json").write_text(json.dumps(verdict))
    found = collect(tmp_path, told)
    assert found['ingot_team_budget_used_tokens{team="sales",period="day"}'] == 80, "what was taken over counts once"
    assert found["ingot_deploy_succeeded"] == 0 and found["ingot_acceptance_passed"] == 0
    assert found["ingot_cache_mounted"] == 0


#: As Linux 6.18 tells them of an ext4 on a loop device: before and after `trigger_fs_error`, with `mount -o ro`, and
#: with `mount -o remount,bind,ro` of a second place; older kernels say `ro` after an error.
_HEALTHY = "154 27 7:0 / /srv/models rw,relatime - ext4 /dev/loop0 rw,errors=remount-ro"
_FAILED = f"{_HEALTHY},emergency_ro"
_FAILED_BEFORE = "154 27 7:0 / /srv/models rw,relatime shared:9 - ext4 /dev/loop0 ro,errors=remount-ro"
_MEANT = "154 27 7:0 / /srv/models ro,relatime - ext4 /dev/loop0 ro"
_BOUND = f"{_HEALTHY}\n155 27 7:0 / /srv/shown ro,relatime - ext4 /dev/loop0 rw"


@pytest.mark.parametrize(
    ("mountinfo", "forced"),
    [(_HEALTHY, False), (_FAILED, True), (_FAILED_BEFORE, True), (_MEANT, False), (_BOUND, False)],
    ids=["healthy", "an error", "an error, older kernel", "mounted so", "bound so"],
)
def test_a_disk_that_errors_made_read_only_is_told_from_one_that_is_mounted_so(mountinfo: str, forced: bool) -> None:
    others = "22 27 0:21 / /proc rw - proc proc ro\n23 27 0:22 / /run ro - tmpfs tmpfs ro\nno line"
    assert forced_read_only(f"{others}\n{mountinfo}\n") == {("/dev/loop0", "/srv/models"): forced}


def test_disks_are_told_as_the_host_mounts_them(tmp_path: Path, told: dict[str, object]) -> None:
    assert told["mountinfo"] == "/proc/1/mountinfo", "the collector's own unit sees the system read-only"
    (tmp_path / "mounts").write_text(_FAILED)
    found = collect(tmp_path, {**told, "mountinfo": str(tmp_path / "mounts")})
    assert found['ingot_disk_forced_readonly{device="/dev/loop0",mountpoint="/srv/models"}'] == 1
    assert found['ingot_collector_part_up{part="disks"}'] == 1


def test_engines_are_listed_for_the_monitor(tmp_path: Path, told: dict[str, object]) -> None:
    services = Path(str(told["state"]), "engine/last-good")
    services.mkdir(parents=True)
    service = {"name": "qwen3-8b-0", "model": "qwen3-8b", "address": "172.31.213.12", "port": 1, "health_path": "/h"}
    (services / "a.json").write_text(json.dumps({"service": service}))
    (services / "torn.json").write_text("{")
    program(tmp_path, "docker", "#!/bin/sh\necho '/ingot-engine-qwen3-8b-0 true 3 false'\n")
    found = collect(tmp_path, told)
    [target] = json.loads(Path(str(told["targets"]), "replica.json").read_text())
    assert target["labels"] == {"__metrics_path__": "/replica/2", "model": "qwen3-8b", "replica": "qwen3-8b-0"}
    labels = 'model="qwen3-8b",replica="qwen3-8b-0"'
    assert found[f"ingot_replica_restarts_total{{{labels}}}"] == 3
    assert found[f"ingot_replica_running{{{labels}}}"] == 1
    assert found[f"ingot_replica_healthy{{{labels}}}"] == 0
    assert found[f"ingot_replica_in_pool{{{labels}}}"] == 0


def test_of_several_hosts_that_serve_together_only_the_head_is_a_replica(
    tmp_path: Path, told: dict[str, object]
) -> None:
    services = Path(str(told["state"]), "engine/last-good")
    services.mkdir(parents=True)
    Path(str(told["targets"])).mkdir(exist_ok=True)
    part = {"name": "m-0", "model": "m", "address": "127.0.0.1", "port": 8000, "group": ["gpu-01", "gpu-02"]}
    for health, known in (("/health", True), ("none", False)):
        (services / "m-0.json").write_text(json.dumps({"service": {**part, "health_path": health}}))
        found = collect(tmp_path, told)
        assert ('ingot_replica_healthy{model="m",replica="m-0"}' in found) is known
        assert json.loads(Path(str(told["targets"]), "replica.json").read_text()) == []


def test_a_model_says_by_which_plan_it_is_served_as_a_benchmark_does(tmp_path: Path, told: dict[str, object]) -> None:
    made = plan()
    state = Path(str(told["state"]))
    state.mkdir()
    (state / "plan.json").write_text(json.dumps({"plan": made.to_dict()}))
    found = collect(tmp_path, told)
    of = subject(made.replicas[0].model, made.engine, made.replicas, len(made.replicas))
    labels = f'model="{of.model}",engine="{of.engine}",gpu="{of.gpu}",gpus="{of.gpus}",plan="{of.plan}"'
    assert found[f"ingot_model_plan{{{labels}}}"] == 1

    older = made.to_dict()
    del older["replicas"][0]["kv_offload_gib"]
    (state / "plan.json").write_text(json.dumps({"plan": older}))
    found = collect(tmp_path, told)
    assert (
        not [series for series in found if "model_plan" in series]
        and found['ingot_collector_part_up{part="plans"}'] == 1
    )


def test_it_writes_what_the_catalogue_names_and_nothing_else() -> None:
    text = "".join(path.read_text() for path in (ROOT / "ingot/monitoring/collector").glob("*.py"))
    written = set(re.findall(r'"(ingot_[a-z0-9_]+)"', text))
    assert written == {one.name for one in CATALOGUE}


def test_prometheus_takes_what_is_written(tmp_path: Path, told: dict[str, object]) -> None:
    program(tmp_path, "nvidia-smi", SMI)
    Path(str(told["access_log"])).write_text("")
    collect(tmp_path, told)
    Path(str(told["access_log"])).write_text(request("sales", 200))
    collect(tmp_path, told)
    text = Path(str(told["textfile"])).read_text()
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=180, check=False
    )
    assert "error" not in done.stderr.lower(), done.stderr


def test_xids_are_counted_once_and_outlive_the_ring() -> None:
    kept = {"after": 0.0, "counts": {}, "bare": {}}
    first = "[   10.5] NVRM: Xid (PCI:0000:00:1e): 79, pid=1, GPU has fallen off the bus.\n"
    count_xids(first, kept)
    count_xids(first + first.replace("10.5", "20.5"), kept)
    count_xids("[   30.0] something else\n", kept)
    assert kept["counts"] == {"0000:00:1e 79": 2}
    bare = first.partition("] ")[2]
    count_xids(bare, kept)
    count_xids(bare * 2, kept)
    count_xids("", kept)
    count_xids(bare, kept)
    assert kept["counts"] == {"0000:00:1e 79": 5}


def test_addresses_are_one_however_they_are_written() -> None:
    assert slot_of("00000000:00:1E.0") == slot_of("0000:00:1e") == slot_of("00:1e.0") == "0000:00:1e"


def test_rows_are_told_from_words() -> None:
    row = ", ".join([UUID, *["1"] * (len(FIELDS) - 1)])
    assert len(table(f"WARNING: something\n{row}\n", FIELDS)) == 1
