"""MIG on a real booted host: each instance is a GPU of its own to the planner, to containers and to every later run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from ingot.sandbox import Sandbox, TestHost, simulated
from tests.driver.deploying import TO_CONTAINERS, run
from tests.e2e.deploying import INGOT, ROOT, Run

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.driver, pytest.mark.timeout(1800)]

NAME = "driver-mig"
MIB = 1 << 20
#: The host's own python3, for which nvidia-smi's stand-in is written; nvidia-smi itself stays out: only CDI brings one.
IMAGE = """cd / && tar -c --exclude __pycache__ bin lib lib64 usr/lib64 usr/bin/env usr/bin/python3* usr/lib/python3.* \
$(for name in ld-linux libc. libm. libz. libexpat.; do echo usr/lib/*-linux-gnu/$name*; done) | docker import - probe"""
LISTED = "nvidia-ctk cdi list 2>/dev/null | sed -n 's/nvidia.com.gpu=//p' | grep ^MIG-; true"
OTHERS = [
    {"profile": "4g.40gb", "gpu_instance": 1, "compute_instance": 0, "total_mib": 40448, "free_mib": 40400},
    {"profile": "3g.40gb", "gpu_instance": 2, "compute_instance": 0, "total_mib": 40448, "free_mib": 40423},
]


def divided(*uuids: str) -> str:
    """The command that divides the GPU anew, as `nvidia-smi mig` would."""
    devices = [{**one, "uuid": uuid} for one, uuid in zip(OTHERS, uuids, strict=True)]
    return simulated.set_command("gpus.0.mig_devices", devices)


@pytest.fixture(scope="module")
def host() -> Iterator[TestHost]:
    yield Sandbox().up(NAME, profile="h100-mig")
    Sandbox().down(NAME)


@pytest.fixture(scope="module")
def first(host: TestHost) -> Run:
    done = run(NAME, roles=TO_CONTAINERS)
    assert done.status == 0, done.output[-3000:]
    return done


def instances(host: TestHost) -> list[str]:
    """UUIDs of the instances in the order in which nvidia-smi lists them."""
    return [
        line.split("UUID: ")[1].rstrip(")") for line in host.succeeds("nvidia-smi -L").splitlines() if "MIG " in line
    ]


def test_a_container_gets_the_instance_that_it_names_and_no_other(first: Run, host: TestHost) -> None:
    uuids = instances(host)
    assert len(uuids) == 4
    assert sorted(host.succeeds(LISTED).split()) == sorted(uuids)
    host.succeeds(IMAGE, timeout_s=600)
    inside = host.succeeds(f"docker run --rm --network none --device nvidia.com/gpu={uuids[1]} probe nvidia-smi -L")
    assert [uuid in inside for uuid in uuids] == [False, True, False, False]


def test_each_instance_is_planned_with_its_own_memory(first: Run, host: TestHost) -> None:
    asked = ["plan", "inventories/sandbox.py", "--host", NAME, "--model", "qwen2.5-1.5b-instruct", "--json"]
    done = subprocess.run([str(INGOT), *asked], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    (plan,) = json.loads(done.stdout)["plans"]
    uuids = instances(host)
    # It fits each, and what the host is asked for in all is served fastest by every one of them.
    sizes = (40448, 20096, 9984, 9984)
    assert [(one["gpu_uuids"], one["memory"]["total"]["bytes"]) for one in plan["replicas"]] == [
        ([uuid], size * MIB) for uuid, size in zip(uuids, sizes, strict=True)
    ]


def test_a_second_run_is_silent(first: Run) -> None:
    assert run(NAME, roles=TO_CONTAINERS).changed(NAME) == []


def test_containers_get_the_instances_of_today_after_the_gpu_was_divided_anew(first: Run, host: TestHost) -> None:
    new = ["MIG-11111111-1111-5111-8111-111111111111", "MIG-22222222-2222-5222-8222-222222222222"]
    host.succeeds(divided(*new))
    assert not set(new) & set(host.succeeds(LISTED).split())
    again = run(NAME, roles=TO_CONTAINERS)
    assert again.changed(NAME) == ["Toolkit | Give GPUs to containers"], again.output[-3000:]
    assert host.succeeds(LISTED).split() == new
    host.succeeds(f"docker run --rm --network none --device nvidia.com/gpu={new[0]} probe nvidia-smi -L")


def test_without_a_refresh_service_the_specification_is_generated_and_is_the_only_one(
    first: Run, host: TestHost
) -> None:
    host.succeeds("systemctl disable --now nvidia-cdi-refresh.path nvidia-cdi-refresh.service")
    host.succeeds("rm /etc/systemd/system/nvidia-cdi-refresh.* && systemctl daemon-reload")
    again = run(NAME, roles=TO_CONTAINERS)
    assert again.changed(NAME) == ["Toolkit | Give GPUs to containers"], again.output[-3000:]
    assert host.succeeds("ls /etc/cdi/nvidia.yaml /var/run/cdi/nvidia.yaml 2>/dev/null; true").split() == [
        "/etc/cdi/nvidia.yaml"
    ]
    (uuid, _) = instances(host)
    host.succeeds(f"docker run --rm --network none --device nvidia.com/gpu={uuid} probe nvidia-smi -L")
