"""Simulated: the kernel's side of the NVIDIA stack: PCI devices, modules, /proc/driver/nvidia, device nodes.

State machine of the module: absent -> installed (dkms) -> running (modprobe or boot). It needs a reboot while
nouveau owns the GPUs, while another version is loaded and held, and whenever something keeps it in use.
"""

import os
import re
import shutil
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import machine

PCI_DEVICES = machine.ROOT / "sys/bus/pci/devices"
PCI_DRIVERS = machine.ROOT / "sys/bus/pci/drivers"
PROC_DRIVER = machine.ROOT / "proc/driver"
MODPROBE_DIRECTORIES = ("etc/modprobe.d", "run/modprobe.d", "usr/lib/modprobe.d")
OPEN_LICENSE = "Dual MIT/GPL"

# What each module brings under /dev; nvidia0… come with the GPUs.
NODES = {
    "nvidia": ("nvidiactl",),
    "nvidia_uvm": ("nvidia-uvm", "nvidia-uvm-tools"),
    "nvidia_modeset": ("nvidia-modeset",),
}
NEEDS = {
    "nvidia_uvm": "nvidia",
    "nvidia_modeset": "nvidia",
    "nvidia_peermem": "nvidia",
    "nvidia_drm": "nvidia_modeset",
}


class Refused(Exception):
    """The kernel said no; the text is what modprobe or rmmod prints after its own prefix."""


def boot() -> None:
    """What firmware, kernel and udev do before any service starts: devices appear, a driver binds to them."""
    first_boot = not (machine.HARDWARE.parent / "booted").exists()
    hardware = machine.hardware()
    with machine.changing_state() as state:
        state.update({"modules": {}, "held": [], "fabric": None, "persistence": False})
        if first_boot and hardware["loaded_at_first_boot"]:
            state["modules"]["nvidia"] = hardware["loaded_at_first_boot"]
            state["held"] = ["a process started before Ingot came"]
        elif hardware["nouveau"] and not _blacklisted("nouveau"):
            state["modules"]["nouveau"] = {"version": "", "license": "GPL and additional rights"}
            state["held"] = ["the console"]
        show(state)
    if hardware["gpus"] and machine.installed("nvidia") and not machine.state()["modules"]:
        # A module that the kernel refuses is one line in its log, and the boot goes on.
        with suppress(Refused):
            for module in ("nvidia", "nvidia_modeset", "nvidia_drm"):
                load(module)
    (machine.HARDWARE.parent / "booted").touch()


def load(module: str) -> None:
    """Insert a module and what it needs; nothing happens when it is already there.

    Raises:
        Refused: the module file is missing for this kernel, or no device is free for it.
    """
    if module in NEEDS:
        load(NEEDS[module])
    with machine.changing_state() as state:
        if module in state["modules"]:
            return
        info = machine.installed(module)
        if info is None:
            raise Refused(f"FATAL: Module {module} not found in directory /lib/modules/{machine.kernel_release()}")
        if module == "nvidia" and ("nouveau" in state["modules"] or not machine.hardware()["gpus"]):
            raise Refused(f"ERROR: could not insert '{module}': No such device")
        fault = machine.hardware()["load_fault"]
        if module == "nvidia" and fault and re.fullmatch(fault, info["version"]):
            raise Refused(f"ERROR: could not insert '{module}': Invalid argument")
        state["modules"][module] = info
        show(state)
    # The driver's packages say `softdep nvidia post: nvidia-uvm`.
    if module == "nvidia" and _softdep_uvm() and machine.installed("nvidia_uvm"):
        load("nvidia_uvm")


def unload(module: str) -> None:
    """Remove a module.

    Raises:
        Refused: it is not loaded, another module builds on it, or something holds it open.
    """
    with machine.changing_state() as state:
        if module not in state["modules"]:
            raise Refused(f"ERROR: Module {module} is not currently loaded")
        users = [user for user, needed in NEEDS.items() if needed == module and user in state["modules"]]
        if users:
            raise Refused(f"ERROR: Module {module} is in use by: {' '.join(users)}")
        if state["held"] or machine.hardware()["compute_apps"] or _holders():
            raise Refused(f"ERROR: Module {module} is in use")
        del state["modules"][module]
        show(state)


def show(state: dict[str, Any]) -> None:
    """Make /sys, /proc and /dev agree with a state."""
    hardware = machine.hardware()
    _show_pci(hardware, state["modules"])
    _show_proc(hardware, state["modules"].get("nvidia"))
    wanted = {node for module in state["modules"] for node in NODES.get(module, ())}
    if "nvidia" in state["modules"]:
        wanted |= {f"nvidia{minor}" for minor in range(len(hardware["gpus"]))}
        wanted |= {
            machine.capability(minor, device)
            for minor, gpu in enumerate(hardware["gpus"])
            for device in gpu.get("mig_devices", ())
        }
    _show_nodes(wanted)


def _show_pci(hardware: dict[str, Any], modules: dict[str, Any]) -> None:
    for device in hardware["pci"]:
        directory = PCI_DEVICES / device["address"]
        directory.mkdir(parents=True, exist_ok=True)
        for name in ("vendor", "device", "class", "subsystem_vendor", "subsystem_device"):
            (directory / name).write_text(device[name] + "\n")
        (directory / "numa_node").write_text(f"{device['numa_node']}\n")
        (directory / "config").write_bytes(_configuration_space(device))
        driver = directory / "driver"
        driver.unlink(missing_ok=True)
        if bound := _driver_of(device, modules):
            (PCI_DRIVERS / bound).mkdir(parents=True, exist_ok=True)
            driver.symlink_to(f"../../drivers/{bound}")


def _driver_of(device: dict[str, Any], modules: dict[str, Any]) -> str | None:
    if device.get("driver"):
        return str(device["driver"])
    if device["vendor"] == "0x10de" and device["class"].startswith("0x03"):
        return next((name for name in ("nouveau", "nvidia") if name in modules), None)
    if device["class"].startswith("0x0680"):
        return "nvidia-nvswitch" if "nvidia" in modules else None
    return "snd_hda_intel" if device["class"].startswith("0x0403") else None


def _configuration_space(device: dict[str, Any]) -> bytes:
    """The first 64 bytes as PCI lays them out, so that a real lspci reads the device too."""
    ids = {name: int(device[name], 16) for name in device if str(device[name]).startswith("0x")}
    header = bytearray(64)
    struct.pack_into("<HH", header, 0x00, ids["vendor"], ids["device"])
    struct.pack_into("<I", header, 0x08, ids["class"] << 8 | 0xA1)
    struct.pack_into("<HH", header, 0x2C, ids["subsystem_vendor"], ids["subsystem_device"])
    return bytes(header)


def _show_proc(hardware: dict[str, Any], module: dict[str, str] | None) -> None:
    for name in ("nvidia", "nvidia-nvswitch"):
        shutil.rmtree(PROC_DRIVER / name, ignore_errors=True)
    if module is None:
        return
    flavour = "UNIX Open Kernel Module for x86_64" if module["license"] == OPEN_LICENSE else "UNIX x86_64 Kernel Module"
    _write(
        PROC_DRIVER / "nvidia/version",
        f"NVRM version: NVIDIA {flavour}  {module['version']}  Release Build  (dvs-builder@simulated)  \n"
        "GCC version:  gcc version 14.2.0 (Debian 14.2.0-19) \n",
    )
    for minor, gpu in enumerate(hardware["gpus"]):
        _write(
            PROC_DRIVER / "nvidia/gpus" / gpu["address"] / "information",
            f"Model: \t\t {gpu['query']['name']}\nIRQ:   \t\t {60 + minor}\nGPU UUID: \t {gpu['uuid']}\n"
            f"Bus Type: \t PCIe\nBus Location: \t {gpu['address']}\nDevice Minor: \t {minor}\n"
            "GPU Excluded:\t No\n",
        )
        for device in gpu.get("mig_devices", ()):
            instance = PROC_DRIVER / f"nvidia/capabilities/gpu{minor}/mig/gi{device['gpu_instance']}"
            _write(instance / "access", "DeviceFileMinor: 0\nDeviceFileMode: 292\nDeviceFileModify: 1\n")
    for name in ("config", "monitor"):
        _write(PROC_DRIVER / "nvidia/capabilities/mig" / name, "DeviceFileMinor: 1\n")
    for device in hardware["pci"]:
        if device["class"].startswith("0x0680"):
            _write(PROC_DRIVER / "nvidia-nvswitch/devices" / device["address"], "")


def _show_nodes(wanted: set[str]) -> None:
    directory = machine.ROOT / "dev"
    directory.mkdir(parents=True, exist_ok=True)
    present = {
        path.name
        for path in directory.glob("nvidia*")
        if re.fullmatch(r"nvidia(\d+|ctl|-uvm|-uvm-tools|-modeset)", path.name)
    }
    present |= {f"nvidia-caps/{path.name}" for path in directory.glob("nvidia-caps/*")}
    for name in present - wanted:
        (directory / name).unlink()
    for name in wanted - present:
        (directory / name).parent.mkdir(exist_ok=True)
        if str(machine.ROOT) == "/":
            # /dev/null's own numbers: a character device that does nothing and that every device policy allows.
            os.mknod(directory / name, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        else:
            (directory / name).touch()
        (directory / name).chmod(0o666)


def _holders() -> list[str]:
    """Processes that have a GPU's node open, those in containers too: what the kernel counts as use of a module."""
    found = []
    for descriptor in (machine.ROOT / "proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if str(descriptor.readlink()).startswith("/dev/nvidia"):
                found.append(descriptor.parts[-3])
    return found


def _blacklisted(module: str) -> bool:
    return _modprobe_says(rf"^\s*blacklist\s+{module}\s*$")


def _softdep_uvm() -> bool:
    return _modprobe_says(r"^\s*softdep\s+nvidia\s+post:.*\bnvidia[-_]uvm\b")


def _modprobe_says(pattern: str) -> bool:
    return any(
        re.search(pattern, path.read_text(), re.MULTILINE)
        for directory in MODPROBE_DIRECTORIES
        for path in (machine.ROOT / directory).glob("*.conf")
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
