"""What an acceptance leaves: levels and keys, the unit's members, records, overrides, and the page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.acceptance import evidence
from ingot.acceptance.finding import Finding, Verdict
from ingot.acceptance.judge import judge
from ingot.acceptance.level import LEVELS, key_of
from ingot.acceptance.looking import usable
from ingot.acceptance.script import Job
from ingot.errors import IngotError
from ingot.facts.smi_fault import Fault, GpuFault
from ingot.gateway.hold_out import ACCEPTANCE_FILE, held_out
from ingot.report.acceptance_page import render
from ingot.sizing import GPU
from tests.acceptance.box import HEALTHY, NAME, burned

pytestmark = pytest.mark.onboarding

HARDWARE = {"cpu": {"model": "Xeon"}, "memory_bytes": 2 << 40, "kernel": "6.8", "boot_id": "b", "disks": []}
JOB = Job(
    level=LEVELS["quick"],
    key="k",
    image="sha256:1234",
    gpus=("GPU-a", "GPU-b"),
    cache_root="/srv/my models",
    grace_s=120,
    burn_in=True,
    again=False,
    shm_bytes=16 << 30,
    pids=8192,
    drained={"/etc/nginx/ingot/engines.conf": "down\n"},
)


def outcome(host: str = "gpu-01", level: str = "quick", at: str = "2026-11-23T02:06:01+00:00") -> evidence.Outcome:
    verdict, findings = judge(burned(6, matmul_tflops=560))
    return evidence.Outcome(host, level, at, verdict, findings, burned(6, matmul_tflops=560), HARDWARE)


def gpu(index: int, mig_profile: str | None = None) -> GPU:
    return GPU(index=index, uuid=f"GPU-{index}", name=NAME, vram_bytes=80 << 30, mig_profile=mig_profile)


def test_a_broken_gpu_fails_the_host_and_a_missing_driver_is_no_judgement() -> None:
    assert usable([gpu(0), gpu(1)], 2) == (("GPU-0", "GPU-1"), None)
    uuids, fault = usable([gpu(0)], 2)
    assert uuids == ("GPU-0",)
    assert fault == "1 GPUs answer of 2 on the PCI bus; read `dmesg | grep -i nvrm` on the host"
    # Instances are several per card, and cards that Ingot may not use are nobody's business here.
    assert usable([gpu(0, "1g.10gb")], 2)[1] is None
    assert usable([gpu(0)], None)[1] is None
    uuids, fault = usable(GpuFault(Fault.LOST, "GPU 2 at 0000:1b:00.0: GPU is lost"), 2)
    assert (uuids, fault is not None and "GPU 2 at 0000:1b:00.0" in fault) == ((), True)
    for nothing in (GpuFault(Fault.NOT_LOADED, "no driver"), []):
        with pytest.raises(IngotError):
            usable(nothing, 2)


def test_levels_take_minutes_and_hours() -> None:
    assert LEVELS["quick"].soak_s < LEVELS["standard"].soak_s < LEVELS["soak"].soak_s == 4 * 3600
    assert LEVELS["soak"].with_soak(24).soak_s == 24 * 3600
    assert LEVELS["quick"].with_soak(None) == LEVELS["quick"]


def test_finished_steps_belong_to_one_boot_level_image_driver_and_set_of_gpus() -> None:
    same = {"boot_id": "1", "image": "i", "gpus": ["a"], "driver": "580", "script": "s"}
    keys = {key_of(LEVELS["quick"], **same)}
    keys |= {key_of(LEVELS["quick"], **{**same, name: ["a", "b"] if name == "gpus" else "2"}) for name in same}
    keys.add(key_of(LEVELS["standard"], **same))
    assert len(keys) == 7
    assert key_of(LEVELS["quick"], **same) in keys


def test_the_container_is_as_hard_as_a_replica_and_names_gpus_by_uuid() -> None:
    assert " ".join(JOB.container()) == (
        "--rm --init --runtime=runc --name=ingot-acceptance --label=ingot.acceptance --network=none --pull=never "
        "--read-only --tmpfs=/tmp --env=HOME=/tmp --cap-drop=ALL --security-opt=no-new-privileges --user=2000:0 "
        "--pids-limit=8192 --ipc=private --shm-size=17179869184 "
        "--volume=/run/ingot/ingot-accept/burnin.py:/burnin.py:ro "
        "--device=nvidia.com/gpu=GPU-a --device=nvidia.com/gpu=GPU-b --entrypoint=python3"
    )
    assert not any(word.startswith("--device") for word in replace(JOB, burn_in=False).container())


def test_values_reach_the_script_quoted_and_the_pool_as_files() -> None:
    members = JOB.members()
    assert "cache_root='/srv/my models'\n" in members["config"]
    assert "burn_options='--gpus GPU-a,GPU-b --seconds 1 --soak-seconds 45'\n" in members["config"]
    assert (members["pool.0.path"], members["pool.0.drained"]) == ("/etc/nginx/ingot/engines.conf\n", "down\n")
    assert members["burnin.py"].startswith('"""Burn-in of GPUs')


def test_the_hosts_record_has_the_keys_that_the_gateway_reads() -> None:
    acceptance = outcome().acceptance()
    assert set(acceptance) == {"verdict", "level", "at", "reasons", "override"}
    assert evidence.ACCEPTANCE_FILE == ACCEPTANCE_FILE
    assert held_out(json.dumps(acceptance))


def test_an_override_records_reason_operator_and_time_and_lets_the_host_serve() -> None:
    acceptance = evidence.overridden(json.dumps(outcome().acceptance()), "gpu-01", " the card is ordered ")
    assert acceptance["override"]["reason"] == "the card is ordered"
    assert acceptance["override"]["by"] == evidence.operator()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT.*\+00:00", acceptance["override"]["at"])
    assert not held_out(json.dumps(acceptance))


@pytest.mark.parametrize(
    ("stored", "reason", "said"),
    [
        ("", "why not", "gpu-01: it has no acceptance to override; run `ingot accept gpu-01` first."),
        ('{"verdict": "pass"}', "why not", "its acceptance came to pass, expected fail for an override"),
        ('{"verdict": "fail"}', " ", "the reason of an override is empty"),
    ],
)
def test_an_override_of_nothing_is_refused(stored: str, reason: str, said: str) -> None:
    with pytest.raises(IngotError, match=re.escape(said)):
        evidence.overridden(stored, "gpu-01", reason)


@pytest.mark.parametrize(
    ("failed_at", "level", "stands"),
    [
        ("standard", "quick", True),
        ("quick", "without burn-in", True),
        ("quick", "quick", False),
        ("quick", "soak", False),
        ("without burn-in", "without burn-in", False),
    ],
)
def test_a_failure_stands_until_as_much_is_proven(failed_at: str, level: str, stands: bool) -> None:
    failed = outcome(level=failed_at).acceptance()
    sentence = evidence.standing(json.dumps(failed), level)
    assert (sentence is not None) is stands
    if sentence:
        assert f"failed at level {failed_at} (GPU 6: matmul 560" in sentence
    assert evidence.standing(json.dumps(failed | {"override": {"reason": "x"}}), level) is None
    assert evidence.standing(json.dumps(failed | {"verdict": "pass"}), level) is None
    assert evidence.standing("", level) is None


def test_records_are_kept_and_the_last_of_each_other_host_is_the_fleet(tmp_path: Path) -> None:
    first, last = "2026-11-22T02:06:01+00:00", "2026-11-23T02:06:01+00:00"
    for host, level, at in (("a", "quick", first), ("a", "quick", last), ("b", "soak", last), ("c", "quick", last)):
        evidence.write(tmp_path, host, at, outcome(host, level, at).to_dict())
    (tmp_path / "a" / "20261121T000000Z.json").write_text("torn")
    (tmp_path / "2026-page.html").write_text("a page of a run")
    fleet = evidence.fleet(tmp_path, "quick", without="c")
    assert [one[NAME]["copy"] for one in fleet] == [2960]
    path = tmp_path / "a" / "2026-11-23T020601Z.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["verdict"] == "fail"


def test_a_trace_of_hours_is_thinned_and_keeps_every_gpu() -> None:
    long = replace(HEALTHY, samples=HEALTHY.samples * 100)
    samples = replace(outcome(), measured=long).to_dict()["measured"]["samples"]
    assert len(samples) < len(long.samples) / 3
    assert len({one["uuid"] for one in samples}) == 8


def test_the_page_shows_reasons_bars_with_what_was_expected_and_lines_over_time() -> None:
    record = json.loads(json.dumps(outcome().to_dict()))
    page = render([record])
    assert "GPU 6: matmul 560 TFLOP/s, expected at least 692.3 (data sheet 989)" in page
    assert page.count("<svg") == 6 + 3
    assert "expected</text>" in page
    assert "http:" not in page and "https:" not in page


def test_the_page_escapes_what_hosts_say() -> None:
    strange = replace(outcome(), findings=(Finding(Verdict.WARN, "<script>alert(1)</script>"),))
    assert "<script>" not in render([json.loads(json.dumps(strange.to_dict()))])


def test_a_host_without_a_burn_in_has_a_page_too() -> None:
    bare = replace(outcome(), measured=replace(HEALTHY, burn_in=None, samples=(), disk=None))
    assert "<svg" not in render([json.loads(json.dumps(bare.to_dict()))])
