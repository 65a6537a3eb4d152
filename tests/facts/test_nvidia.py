"""Several outputs of nvidia-smi together become the planner's GPUs, or a fault with those that still answer."""

import subprocess
from pathlib import Path

import pytest

from ingot.facts import nvidia
from ingot.facts.nvidia import Gpus, parse_memory, parse_report
from ingot.facts.sections import Section
from ingot.facts.smi_fault import Fault, GpuFault
from ingot.facts.smi_query import parse_query
from tests.facts.captures import capture

pytestmark = pytest.mark.driver

MIB = 1 << 20
UUID = "GPU-00000000-0000-0000-0000-00000000000"
MEMORY = Section("MemTotal:       127600748 kB\nMemAvailable:   120000000 kB")


def query(rows: list[str], header: str = "index, uuid, name, memory.total [MiB], memory.free [MiB]") -> Section:
    return Section("\n".join([header, *rows]))


def mig() -> dict[str, Section]:
    """An H100 with four instances: query and list are one machine's; the log is an A100's with the same UUID put in."""
    uuid = "GPU-00000000-0000-0000-0000-000000000000"
    log = capture("telegraf__a100-sxm4-v12.xml.txt").replace("GPU-513536b6-7d19-9063-b049-1e69664bb298", uuid)
    return {
        "smi_query": Section(capture("derived__linux-x86_64__nvidia-h100-mig__590.48.01__sizing.csv.txt")),
        "smi_list": Section(capture("h100-mig__L.txt")),
        "smi_xml": Section(log),
        "memory": MEMORY,
    }


def test_gpus_of_a_query_are_the_planner_s() -> None:
    report = parse_report(
        {"smi_query": query([f"{i}, {UUID}{i}, NVIDIA A10G, 23028 MiB, 22569 MiB" for i in range(4)])}
    )
    assert [gpu.index for gpu in report.gpus] == [0, 1, 2, 3]
    assert (report.gpus[0].vram_bytes, report.gpus[0].free_bytes) == (23028 * MIB, 22569 * MIB)
    assert report.fault is None


def test_topology_joins_gpus_and_places_them() -> None:
    rows = [f"{i}, {UUID}{i}, NVIDIA H100 80GB HBM3, 81559 MiB, 81079 MiB" for i in range(8)]
    sections = {"smi_query": query(rows), "smi_topology": Section(capture("topo__hgx-h100-x8-nics.txt"))}
    gpus = parse_report(sections).gpus
    assert gpus[0].nvlink_peers == frozenset(range(1, 8))
    assert (gpus[0].numa_node, gpus[7].numa_node) == (0, 1)


def test_a_damaged_topology_costs_the_links_and_not_the_gpus() -> None:
    rows = [f"{i}, {UUID}{i}, NVIDIA L4, 23034 MiB, 22000 MiB" for i in range(2)]
    report = parse_report({"smi_query": query(rows), "smi_topology": Section("GPU0 ?")})
    assert [gpu.nvlink_peers for gpu in report.gpus] == [frozenset(), frozenset()]


def test_instances_replace_their_gpu_with_their_own_memory() -> None:
    report = parse_report(mig())
    assert [gpu.mig_profile for gpu in report.gpus] == ["3g.40gb", "2g.20gb", "1g.10gb", "1g.10gb"]
    assert [gpu.index for gpu in report.gpus] == [0, 1, 2, 3]
    assert all(gpu.uuid.startswith("MIG-") and gpu.vram_bytes < 81559 * MIB // 2 for gpu in report.gpus)
    assert {gpu.pci_bus_id for gpu in report.gpus} == {"0000:00:09.0"}


def test_mig_mode_without_instances_is_a_fault() -> None:
    sections = mig() | {"smi_list": Section(capture("h100-sxm__L.txt"))}
    report = parse_report(sections)
    assert report.fault is not None
    assert report.fault.kind is Fault.NO_INSTANCES


def test_unified_memory_is_the_system_s() -> None:
    report = parse_report({"smi_query": query([f"0, {UUID}0, NVIDIA GB10, [N/A], [N/A]"]), "memory": MEMORY})
    (gpu,) = report.gpus
    assert gpu.unified_memory
    assert (gpu.vram_bytes, gpu.free_bytes) == (127600748 * 1024, 120000000 * 1024)


def test_two_gpus_without_memory_share_no_system_memory_twice() -> None:
    rows = [f"{i}, {UUID}{i}, NVIDIA Graphics Device, [N/A], [N/A]" for i in range(2)]
    report = parse_report({"smi_query": query(rows), "memory": MEMORY})
    assert report.gpus == ()
    assert report.fault is not None


def test_a_lost_gpu_is_a_fault_that_keeps_the_others() -> None:
    rows = [
        f"0, {UUID}0, NVIDIA A10G, 23028 MiB, 22569 MiB",
        f"1, {UUID}1, NVIDIA A10G, [GPU is lost], [GPU is lost]",
    ]
    fault = parse_report({"smi_query": query(rows)}).fault
    assert fault is not None
    assert (fault.kind, [gpu.index for gpu in fault.healthy]) == (Fault.LOST, [0])
    assert "GPU 1" in fault.detail


def test_a_message_beside_the_rows_is_a_fault_too() -> None:
    said = "Unable to determine the device handle for GPU0000:17:00.0: Unknown Error"
    report = parse_report({"smi_query": query([f"0, {UUID}0, NVIDIA A10G, 23028 MiB, 22569 MiB", said])})
    assert report.fault is not None
    assert report.fault.kind is Fault.UNKNOWN_ERROR


def test_a_corrupt_inforom_leaves_the_gpu_usable() -> None:
    rows = [f"0, {UUID}0, Tesla T4, 15360 MiB, 15000 MiB", "WARNING: infoROM is corrupted at gpu 0000:3B:00.0"]
    report = parse_report({"smi_query": Section(query(rows).output, 14)})
    assert (report.fault, len(report.gpus), len(report.messages)) == (None, 1, 1)


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (9, "err__driver-not-loaded.txt", Fault.NOT_LOADED),
        (18, "err__lib-mismatch-new.txt", Fault.MISMATCH),
        (6, "err__no-devices.txt", Fault.NO_DEVICES),
        (15, "err__gpu-lost-handle.txt", Fault.LOST),
    ],
)
def test_no_table_at_all_is_the_driver_s_own_fault(status: int, name: str, kind: Fault) -> None:
    report = parse_report({"smi_query": Section(capture(name), status)})
    assert report.fault is not None
    assert (report.fault.kind, report.gpus) == (kind, ())


def test_the_fact_never_raises_and_never_fails_its_host() -> None:
    command = Gpus().command()
    assert command.endswith("true")
    for output in (
        [],
        ["@@ingot-begin smi_query", "half a"],
        ["@@ingot-begin smi_query", "x", "@@ingot-end smi_query 0"],
    ):
        found = Gpus().process(output)
        assert isinstance(found, GpuFault)
        assert found.sentence("gpu-01").startswith("gpu-01: ")


def test_memory_needs_both_of_its_lines() -> None:
    assert parse_memory("MemTotal: 1024 kB\nMemAvailable: 512 kB\n") == (1 << 20, 1 << 19)
    assert parse_memory("MemTotal: 1024 kB\n") is None
    assert parse_memory("MemTotal: many kB\nMemAvailable: 512 kB\n") is None


REFUSING = """#!/bin/sh
case $1 in --query-gpu=*{lacking}*) echo 'Field "{lacking}" is not a valid field to query.'; exit 2;; esac
fields=${{1#--query-gpu=}}
echo "$fields" | sed 's/,/, /g'; echo "$fields" | sed 's/[^,]*/[N\\/A]/g; s/,/, /g'
"""


@pytest.mark.parametrize("lacking", ["gpu_recovery_action", "fabric.state", "compute_cap", "driver_version"])
def test_a_driver_that_knows_fewer_fields_is_asked_for_fewer(tmp_path: Path, lacking: str) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(REFUSING.format(lacking=lacking))
    tool.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", nvidia.QUESTIONS["smi_query"]],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    header = done.stdout.partition("\n")[0]
    assert (done.returncode, lacking in header) == (0, False)
    assert len(parse_query(done.stdout).rows) == 1
