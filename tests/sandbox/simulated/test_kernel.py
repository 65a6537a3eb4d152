"""The module's states: absent, installed, waiting for a reboot, running; and what /sys, /proc and /dev show of it."""

import json
from pathlib import Path

import pytest

from ingot.sandbox import simulated

from .conftest import RELEASE, Machine

A, B = "580.159.03", "580.173.02"


def on(profile: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("machine", [profile], indirect=True)


def driver_of(machine: Machine, address: str) -> str | None:
    link = machine.root / "sys/bus/pci/devices" / address / "driver"
    return link.resolve().name if link.is_symlink() else None


@on("a10gx4")
def test_devices_are_there_before_any_driver(machine: Machine) -> None:
    device = machine.root / "sys/bus/pci/devices/0000:00:1b.0"
    values = {name: (device / name).read_text() for name in ("vendor", "device", "class", "subsystem_vendor")}
    assert values == {"vendor": "0x10de\n", "device": "0x2237\n", "class": "0x030200\n", "subsystem_vendor": "0x10de\n"}
    assert (device / "config").read_bytes()[:4] == bytes.fromhex("de103722")
    assert driver_of(machine, "0000:00:1b.0") is None
    assert not (machine.root / "proc/driver/nvidia").exists()


@on("a10gx4")
def test_a_module_that_is_not_installed_does_not_load(machine: Machine) -> None:
    text = f"modprobe: FATAL: Module nvidia not found in directory /lib/modules/{RELEASE}"
    assert machine.modprobe("nvidia") == (1, text)


@on("a10gx4")
def test_without_nouveau_the_module_loads_at_once(machine: Machine) -> None:
    machine.install_driver(A)
    assert machine.modprobe("nvidia") == (0, "")
    version = (machine.root / "proc/driver/nvidia/version").read_text()
    assert version.startswith(f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {A}  Release Build")
    assert driver_of(machine, "0000:00:1b.0") == "nvidia"
    nodes = sorted(path.name for path in (machine.root / "dev").iterdir())
    assert nodes == ["nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidia1", "nvidia2", "nvidia3", "nvidiactl"]


@on("h100-mig")
def test_instances_are_shown_as_capabilities(machine: Machine) -> None:
    machine.install_driver(A)
    machine.modprobe("nvidia")
    capabilities = machine.root / "proc/driver/nvidia/capabilities"
    assert (capabilities / "mig/config").exists()
    devices = json.loads((machine.root / "var/lib/ingot-simulated/hardware.json").read_text())["gpus"][0]["mig_devices"]
    found = {path.name for path in capabilities.glob("gpu0/mig/gi*")}
    assert found == {f"gi{device['gpu_instance']}" for device in devices} != set()


@on("rtx4090x1")
def test_nouveau_owns_the_gpu_until_a_boot_with_its_blacklist(machine: Machine) -> None:
    assert driver_of(machine, "0000:01:00.0") == "nouveau"
    machine.install_driver(A)
    assert machine.modprobe("nvidia") == (1, "modprobe: ERROR: could not insert 'nvidia': No such device")
    assert machine.modprobe("-r", "nouveau") == (1, "modprobe: FATAL: Module nouveau is in use.")
    machine.boot()
    assert driver_of(machine, "0000:01:00.0") == "nvidia"
    assert driver_of(machine, "0000:01:00.1") == "snd_hda_intel"


@on("a10gx4")
def test_an_upgrade_under_a_running_module_mismatches_until_it_is_reloaded(machine: Machine) -> None:
    machine.install_driver(A)
    machine.modprobe("nvidia")
    machine.install_driver(B)
    assert machine.smi("-L")[0] == 18
    assert machine.modprobe("-r", "nvidia") == (0, "")
    assert machine.modprobe("nvidia") == (0, "")
    assert machine.smi("--query-gpu=driver_version", "--format=csv,noheader", "-i", "0") == (0, f"{B}\n")


@on("a10gx4")
def test_a_module_in_use_stays(machine: Machine) -> None:
    machine.install_driver(A)
    machine.modprobe("nvidia")
    machine.set("compute_apps", '[{"gpu": "GPU-x", "pid": 1, "name": "python3", "used_mib": 1}]')
    assert machine.modprobe("-r", "nvidia_uvm", "nvidia")[0] == 1
    assert (machine.root / "proc/driver/nvidia/version").exists()


@on("a10gx4")
def test_rmmod_names_the_modules_that_build_on_it(machine: Machine) -> None:
    machine.install_driver(A)
    machine.modprobe("nvidia")
    status, _, errors = machine.call("modprobe", "nvidia", call="main('rmmod', sys.argv[1:])")
    assert (status, errors) == (1, "rmmod: ERROR: Module nvidia is in use by: nvidia_uvm\n")


@on("a10gx4")
def test_dkms_lists_each_kernel_it_built_for(machine: Machine) -> None:
    machine.install_driver(A)
    assert machine.call("dkms", "status")[1] == f"nvidia/{A}, {RELEASE}, x86_64: installed\n"


@on("a10gx4")
def test_a_failed_build_leaves_a_log_with_the_compiler_s_error_and_no_module(machine: Machine) -> None:
    error = "nvidia-drm-drv.c:1234:5: error: too few arguments to function"
    machine.set("build_fault", json.dumps({"kernels": ".*", "versions": B, "message": error}))
    assert machine.install_driver(A)[0] == 0
    status, errors = machine.install_driver(B)
    assert status == 10
    assert f"Error! Bad return status for module build on kernel: {RELEASE} (x86_64)" in errors
    assert error in (machine.root / f"var/lib/dkms/nvidia/{B}/build/make.log").read_text()
    assert not list((machine.root / f"lib/modules/{RELEASE}").glob("updates/dkms/*.ko"))


@on("a10gx4")
def test_a_module_that_the_kernel_refuses_is_not_loaded(machine: Machine) -> None:
    machine.install_driver(A)
    machine.set("load_fault", json.dumps(A.replace(".", "[.]")))
    assert machine.modprobe("nvidia") == (1, "modprobe: ERROR: could not insert 'nvidia': Invalid argument")
    machine.boot()
    assert driver_of(machine, "0000:00:1b.0") is None
    machine.set("load_fault", json.dumps(B))
    assert machine.modprobe("nvidia")[0] == 0


@on("h100x8")
def test_switches_appear_with_the_module(machine: Machine) -> None:
    machine.install_driver(A)
    machine.modprobe("nvidia")
    switches = sorted(path.name for path in (machine.root / "proc/driver/nvidia-nvswitch/devices").iterdir())
    assert switches == ["0000:05:00.0", "0000:06:00.0", "0000:07:00.0", "0000:08:00.0"]


@on("h100x8")
def test_the_fabric_manager_refuses_another_driver_version(machine: Machine) -> None:
    machine.install_driver(A)
    machine.modprobe("nvidia")
    status, _, errors = machine.call("daemons", B, call="fabricmanager(sys.argv[1:])")
    assert status == 1
    assert f"interface version {B} don't match with driver version {A}." in errors


@on("a10gx4")
def test_the_fabric_manager_has_nothing_to_do_without_switches(machine: Machine) -> None:
    machine.install_driver(A)
    machine.modprobe("nvidia")
    status, _, errors = machine.call("daemons", A, call="fabricmanager(sys.argv[1:])")
    assert status == 1
    assert "NV_WARN_NOTHING_TO_DO" in errors


@on("gpu-lost")
def test_the_cdi_specification_names_every_answering_gpu_three_ways(machine: Machine) -> None:
    machine.install_driver(A)
    machine.modprobe("nvidia")
    assert machine.call("nvidia_ctk", "cdi", "generate", "--output=/var/run/cdi/nvidia.yaml")[0] == 0
    spec = json.loads((machine.root / "var/run/cdi/nvidia.yaml").read_text())
    uuids = machine.smi("--query-gpu=uuid", "--format=csv,noheader")[1].split()
    assert [device["name"] for device in spec["devices"]] == ["0", uuids[0], "1", uuids[1], "2", uuids[3], "all"]
    nodes = {node["path"] for edits in (spec, *spec["devices"]) for node in edits["containerEdits"]["deviceNodes"]}
    assert all((machine.root / node.lstrip("/")).exists() for node in nodes)
    assert "/dev/nvidia2" not in nodes
    listed = machine.call("nvidia_ctk", "cdi", "list")[1].split()
    assert listed == sorted(f"nvidia.com/gpu={device['name']}" for device in spec["devices"])


@on("a10gx4")
def test_no_specification_is_written_while_the_driver_does_not_answer(machine: Machine) -> None:
    machine.install_driver(A)
    status, _, errors = machine.call("nvidia_ctk", "cdi", "generate", "--output=/var/run/cdi/nvidia.yaml")
    assert (status, errors) == (1, "failed to generate CDI spec: failed to initialize NVML: ERROR_DRIVER_NOT_LOADED\n")
    assert not (machine.root / "var/run/cdi").exists()


@pytest.mark.parametrize("profile", simulated.PROFILES)
def test_every_profile_is_whole(profile: str, tmp_path: Path) -> None:
    simulated.install(tmp_path, profile, RELEASE)
    hardware = json.loads((tmp_path / "var/lib/ingot-simulated/hardware.json").read_text())
    addresses = [device["address"] for device in hardware["pci"]]
    assert len(set(addresses)) == len(addresses)
    assert {gpu["address"] for gpu in hardware["gpus"]} <= set(addresses)
    size = len(hardware["gpus"])
    links = hardware["topology"]["links"]
    assert [len(row) for row in links] == [size] * size
    assert all(links[a][b] == links[b][a] for a in range(size) for b in range(size))


def test_two_hosts_of_one_profile_have_gpus_of_their_own_and_keep_them(tmp_path: Path) -> None:
    def uuids(name: str, machine_id: str) -> list[str]:
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc/machine-id").write_text(machine_id)
        simulated.install(tmp_path / name, "a10gx4", RELEASE)
        hardware = json.loads((tmp_path / name / "var/lib/ingot-simulated/hardware.json").read_text())
        return [gpu["uuid"] for gpu in hardware["gpus"]]

    first, other, rebuilt = uuids("first", "one"), uuids("other", "two"), uuids("rebuilt", "one")
    assert len({*first, *other}) == 8
    assert rebuilt == first


def test_an_unknown_profile_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="no simulated profile 'rtx9090'; there are a10gx4, "):
        simulated.install(tmp_path, "rtx9090", RELEASE)
