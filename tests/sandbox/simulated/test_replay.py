"""nvidia-smi's stand-in prints what real ones printed: compared with captures, cell by cell."""

import json
import re
from collections.abc import Iterator

import pytest

from .conftest import Machine, capture

VERSION = "580.159.03"
# What differs between any two machines or moments.
OWN = {"timestamp", "driver_version", "index", "uuid", "serial", "count"}
# Of the captured H100 these were one GPU's in a VM; the profile has eight on bare metal.
PLACE = {"pci.bus_id", "pci.bus", "pci.device", "pcie.link.gen.hostmax", "persistence_mode"}


@pytest.fixture
def running(machine: Machine) -> Iterator[Machine]:
    """The machine with its driver installed and loaded."""
    assert machine.install_driver(VERSION) == (0, "")
    assert machine.modprobe("nvidia") == (0, "")
    yield machine


def on(profile: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("machine", [profile], indirect=True)


@on("h100x8")
def test_every_field_of_a_captured_h100_is_answered_with_its_value(running: Machine) -> None:
    header, row = capture("h100-sxm__query-gpu-all-csv").splitlines()
    names = [re.sub(r" \[.*", "", column) for column in header.split(", ")]
    status, output = running.smi(f"--query-gpu={','.join(names)}", "--format=csv")
    assert status == 0
    lines = output.splitlines()
    assert lines[0] == header
    assert len(lines) == 9
    captured = dict(zip(names, row.split(", "), strict=True))
    replayed = dict(zip(names, lines[1].split(", "), strict=True))
    differing = {name for name in names if captured[name] != replayed[name]}
    # No fabric manager runs here.
    assert differing <= OWN | PLACE | {"fabric.state", "fabric.status"}


@on("a10gx4")
def test_four_a10g_answer_as_captured(running: Machine) -> None:
    assert running.smi("--query-gpu=index,name,memory.total", "--format=csv") == (0, capture("a10g-x4__query-csv"))


@on("rtx4090x1")
def test_a_4090_without_header_answers_as_captured(machine: Machine) -> None:
    machine.install_driver(VERSION)
    machine.boot()
    status, output = machine.smi("--query-gpu=name,memory.total,memory.used,memory.free", "--format=csv,noheader")
    assert (status, output) == (0, capture("rtx4090__query-csv-noheader"))


@on("a10gx4")
def test_nounits_drops_units_from_cells_and_keeps_them_in_the_header(running: Machine) -> None:
    _, output = running.smi("--query-gpu=gpu_name,power.limit,memory.free", "--format=csv,nounits")
    assert output.splitlines()[:2] == ["name, power.limit [W], memory.free [MiB]", "NVIDIA A10G, 300.00, 22569"]


@on("a10gx4")
def test_memory_adds_up(running: Machine) -> None:
    query = "memory.total,memory.reserved,memory.used,memory.free"
    _, output = running.smi(f"--query-gpu={query}", "--format=csv,noheader,nounits")
    for line in output.splitlines():
        total, *parts = (int(cell) for cell in line.split(", "))
        assert abs(total - sum(parts)) <= 2


@on("a10gx4")
def test_an_unknown_field_is_named_with_status_2(running: Machine) -> None:
    status, output = running.smi("--query-gpu=index,kmd_version", "--format=csv")
    assert (status, output) == (2, 'Field "kmd_version" is not a valid field to query.\n\n')


@on("h100x8")
def test_listing_has_the_captured_shape(running: Machine) -> None:
    status, output = running.smi("-L")
    masked = re.sub(r"GPU-[0-9a-f-]{36}", "GPU-00000000-0000-0000-0000-000000000000", output)
    assert status == 0
    assert masked.splitlines()[0] + "\n" == capture("h100-sxm__L")
    assert len(set(re.findall(r"GPU-[0-9a-f-]{36}", output))) == 8


@on("h100x8")
def test_topology_has_the_captured_bytes(running: Machine) -> None:
    (running.root / "dev/nvidia0").rename(running.root / "dev/nvidia0.hidden")
    for minor in range(2, 8):
        (running.root / f"dev/nvidia{minor}").unlink()
    status, output = running.smi("topo", "-m")
    # One GPU only, as in the capture: tabs, underline and legend are compared, not the other machine's CPUs.
    assert (status, output) == (0, capture("h100-sxm__topo-m").replace("0-19", "0-55,112-167"))


@on("rtx3090+3060")
def test_topology_of_the_mixed_box_is_that_of_the_captured_pair(running: Machine) -> None:
    _, output = running.smi("topo", "-m")
    rows = [line.split()[:3] for line in output.splitlines()[1:3]]
    assert rows == [line.split()[:3] for line in capture("topo__2x3090-phb").splitlines()[1:3]]


@on("h100x8")
def test_links_have_the_captured_shape(running: Machine) -> None:
    _, output = running.smi("nvlink", "-s")
    assert output.count(capture("h100-sxm__nvlink-s").split("\n", 1)[1]) == 8


@on("h100-mig")
def test_every_field_of_a_captured_gpu_in_mig_mode_is_answered_with_its_value(running: Machine) -> None:
    header, row = capture("h100-mig__query-gpu-all-csv").splitlines()
    names = [re.sub(r" \[.*", "", column) for column in header.split(", ")]
    _, output = running.smi(f"--query-gpu={','.join(names)}", "--format=csv,noheader")
    captured = dict(zip(names, row.split(", "), strict=True))
    replayed = dict(zip(names, output.strip().split(", "), strict=True))
    # Of the same card at another moment: what its sensors measured.
    measured = re.compile(r"memory\.(used|free)|temperature\..*|power\.draw.*")
    differing = {name for name in names if captured[name] != replayed[name] and not measured.fullmatch(name)}
    assert differing <= OWN | PLACE


@on("h100-mig")
def test_instances_are_listed_as_captured(running: Machine) -> None:
    def masked(text: str) -> str:
        return re.sub(r"(GPU|MIG)-[0-9a-f-]{36}", r"\1", text)

    assert masked(running.smi("-L")[1]) == masked(capture("h100-mig__L"))
    assert masked(running.smi("nvlink", "-s")[1]) == masked(capture("h100-mig__nvlink-s"))
    assert running.smi("topo", "-m")[1] == capture("h100-mig__topo-m")


@on("h100-mig")
def test_an_instance_is_a_device_of_its_own_in_a_container(running: Machine) -> None:
    gpus = json.loads((running.root / "var/lib/ingot-simulated/hardware.json").read_text())["gpus"]
    uuids = [device["uuid"] for device in gpus[0]["mig_devices"]]
    running.unpack("1.20.0", "nvidia-container-toolkit-base")
    _, text, _ = running.call("nvidia_ctk", "cdi", "generate")
    nodes = {
        device["name"]: [node["path"] for node in device["containerEdits"]["deviceNodes"]]
        for device in json.loads(text)["devices"]
    }
    assert set(uuids) < set(nodes)
    assert len({tuple(nodes[uuid]) for uuid in uuids}) == 4
    # What a container without the other instances' nodes sees.
    for node in {path for uuid in uuids[1:] for path in nodes[uuid]} - set(nodes[uuids[0]]):
        (running.root / node.lstrip("/")).unlink()
    listed = running.smi("-L")[1]
    assert [uuid in listed for uuid in uuids] == [True, False, False, False]


@on("a10gx4")
def test_without_a_module_it_says_so_with_status_9(machine: Machine) -> None:
    machine.install_driver(VERSION)
    assert machine.smi("-L") == (9, capture("err__driver-not-loaded"))


@on("driver-mismatch")
def test_libraries_of_another_version_than_the_module_give_status_18(machine: Machine) -> None:
    machine.install_driver("580.173.02")
    assert machine.smi("-L") == (18, capture("err__lib-mismatch-new"))
    assert machine.modprobe("-r", "nvidia") == (1, "modprobe: FATAL: Module nvidia is in use.")
    machine.boot()
    assert machine.smi("-L")[0] == 0


@on("gpu-lost")
def test_a_lost_gpu_keeps_its_row_and_loses_its_values(running: Machine) -> None:
    query = "index,name,pci.bus_id,memory.total,ecc.mode.current"
    status, output = running.smi(f"--query-gpu={query}", "--format=csv,noheader")
    assert status == 15
    assert output.splitlines()[1:3] == [
        "1, NVIDIA A10G, 00000000:00:1C.0, 23028 MiB, Enabled",
        "2, NVIDIA A10G, 00000000:00:1D.0, [GPU is lost], [GPU is lost]",
    ]
    assert running.smi("-L")[1].count("GPU ") == 4
    assert running.smi() == (15, capture("err__gpu-lost-handle").replace("0000:02:00.0", "0000:00:1D.0"))


@on("v100x1")
def test_an_open_module_does_not_see_a_gpu_that_only_the_proprietary_one_drives(machine: Machine) -> None:
    machine.install_driver(VERSION)
    machine.modprobe("nvidia")
    assert machine.smi("-L") == (6, capture("err__no-devices"))
    machine.modprobe("-r", "nvidia")
    machine.install_driver(VERSION, "nvidia-kernel-dkms")
    machine.modprobe("nvidia")
    assert machine.smi("-L")[1].startswith("GPU 0: Tesla V100-SXM2-16GB (UUID: GPU-")


@on("a10gx4")
def test_a_compute_process_is_listed_and_takes_memory(running: Machine) -> None:
    uuid = running.smi("--query-gpu=uuid", "--format=csv,noheader", "-i", "1")[1].strip()
    running.set("compute_apps", f'[{{"gpu": "{uuid}", "pid": 4711, "name": "python3", "used_mib": 20000}}]')
    _, apps = running.smi("--query-compute-apps=pid,used_memory", "--format=csv")
    assert apps == "pid, used_gpu_memory [MiB]\n4711, 20000 MiB\n"
    _, free = running.smi("--query-gpu=memory.free", "--format=csv,noheader,nounits")
    assert free.split() == ["22569", "2569", "22569", "22569"]


@on("none")
def test_a_machine_without_gpus_does_not_load_the_module(machine: Machine) -> None:
    machine.install_driver(VERSION)
    assert machine.modprobe("nvidia") == (1, "modprobe: ERROR: could not insert 'nvidia': No such device")
    assert machine.smi("-L")[0] == 9
