"""The container toolkit: what is wrong is said, and one writer writes the specification."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.facts.cdi import CdiState, DockerCdi, Spec
from ingot.facts.nvidia import GpuReport
from ingot.facts.smi_fault import Fault, GpuFault
from ingot.facts.smi_query import QueryRow
from ingot.operations.containers.cdi import is_listed, narrowed, problem, regenerate
from ingot.sizing import GPU

pytestmark = pytest.mark.driver

A, B = "GPU-9a9a6c50-2a47-2f51-a902-b82c3b127e94", "GPU-3a23c669-1f69-c64e-cf85-44e9b07e7a2a"
GPUS = GpuReport(
    tuple(GPU(index, uuid, "NVIDIA A10G", 23028 << 20) for index, uuid in enumerate((A, B))),
    tuple(QueryRow(index=index, uuid=uuid) for index, uuid in enumerate((A, B))),
)
GOOD = CdiState(
    gpus=GPUS,
    running="580.173.02",
    refreshed=Spec(frozenset({A, B}), frozenset({"580.173.02"})),
    has_refresh_unit=True,
    docker=DockerCdi(("/etc/cdi", "/var/run/cdi"), frozenset({A, B})),
)


def test_a_host_whose_containers_get_every_gpu_is_passed() -> None:
    assert problem(GOOD) is None
    # dockerd before 28.2 lists no devices: that it reads the directory of the specification must do.
    assert problem(replace(GOOD, docker=DockerCdi(("/run/cdi/",), None))) is None
    generated = replace(GOOD, has_refresh_unit=False, refreshed=None, generated=GOOD.refreshed)
    assert problem(replace(generated, docker=DockerCdi(("/etc/cdi",), None))) is None


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (replace(GOOD, gpus=GpuReport((), (), GpuFault(Fault.LOST))), "a GPU is lost"),
        (replace(GOOD, refreshed=None), "no CDI specification at /var/run/cdi/nvidia.yaml"),
        (replace(GOOD, refreshed=None, has_refresh_unit=False), "no CDI specification at /etc/cdi/nvidia.yaml"),
        (replace(GOOD, running="595.71.05"), "does not name exactly the GPUs and the driver"),
        (replace(GOOD, docker=None), "dockerd does not answer"),
        (replace(GOOD, docker=DockerCdi((), None)), "dockerd has CDI off"),
        (
            replace(GOOD, docker=DockerCdi(("/etc/cdi",), None)),
            "of /etc/cdi and not /var/run/cdi/nvidia.yaml",
        ),
        (replace(GOOD, docker=DockerCdi(("/var/run/cdi",), frozenset({A}))), f"dockerd does not list {B}"),
    ],
)
def test_what_keeps_containers_from_gpus_is_said_with_a_remedy(state: CdiState, says: str) -> None:
    found = problem(state) or ""
    assert says in found
    assert "; " in found


def test_the_refresh_service_writes_where_the_toolkit_has_it_and_nothing_else_does() -> None:
    own = regenerate(GOOD)
    assert own.endswith(" && systemctl restart nvidia-cdi-refresh.service") and "rm " not in own
    without = regenerate(replace(GOOD, has_refresh_unit=False))
    assert "rm -f /var/run/cdi/nvidia.yaml" in without
    assert without.endswith("nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml")


def test_waiting_for_dockerd_is_bounded_and_asks_for_every_device() -> None:
    command = is_listed(GOOD)
    assert "-lt 15" in command
    assert A in command and B in command


def test_only_gpus_that_ingot_may_use_are_asked_for() -> None:
    lost = GpuReport(GPUS.gpus[:1], GPUS.rows, GpuFault(Fault.LOST, "GPU 1", GPUS.gpus[:1]))
    state = replace(GOOD, gpus=lost, refreshed=replace(GOOD.refreshed or Spec(), uuids=frozenset({A})))
    assert "a GPU is lost" in (problem(state) or "")
    seen = narrowed(state, [0])
    assert isinstance(seen, CdiState)
    assert (problem(seen), seen.is_current) == (None, True)
    assert narrowed(state, None) is state


def test_instances_left_alone_make_no_specification_stale() -> None:
    instances = tuple(
        GPU(index, f"MIG-{index}", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9 << 30, mig_profile="1g.10gb")
        for index in range(3)
    )
    report = GpuReport(instances, (QueryRow(index=0, uuid=A, mig_enabled=True),))
    state = replace(GOOD, gpus=report, refreshed=Spec(frozenset({A, "MIG-0", "MIG-1", "MIG-2"})))
    seen = narrowed(state, ["MIG-1"])
    assert isinstance(seen, CdiState)
    assert (seen.uuids, seen.is_current) == ({"MIG-1"}, True)
    assert "MIG-1" in is_listed(seen) and "MIG-2" not in is_listed(seen)


def test_a_description_that_somebody_wrote_is_moved_and_not_deleted(tmp_path: Path) -> None:
    command = regenerate(GOOD).replace("/etc/cdi", str(tmp_path)).partition(" && systemctl")[0]
    for text in ("theirs", "theirs again"):
        (tmp_path / "nvidia.yaml").write_text(text)
        subprocess.run(["sh", "-c", command], check=True, timeout=180)
    subprocess.run(["sh", "-c", command], check=True, timeout=180)
    kept = sorted((path.name, path.read_text()) for path in tmp_path.iterdir())
    assert kept == [
        ("nvidia.yaml.before-ingot", "theirs again"), ("nvidia.yaml.before-ingot.~1~", "theirs"),
    ]  # fmt: skip
