"""Simulated: the hardware of a test host, which survives reboots, and what its kernel holds, which does not.

`INGOT_SIMULATED_ROOT` puts every path below another directory, so that unit tests need no guest.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(os.environ.get("INGOT_SIMULATED_ROOT", "/"))
HARDWARE = ROOT / "var/lib/ingot-simulated/hardware.json"
# Beside the hardware and not in /run, which containers cover with their own; every boot starts it anew.
STATE = ROOT / "var/lib/ingot-simulated/kernel.json"

NVIDIA_MODULES = ("nvidia", "nvidia_modeset", "nvidia_drm", "nvidia_uvm", "nvidia_peermem")
SIMULATED_MODULES = (*NVIDIA_MODULES, "nouveau")


def hardware() -> dict[str, Any]:
    """The devices of this host and their faults, as a test last left them."""
    loaded: dict[str, Any] = json.loads(HARDWARE.read_text())
    return loaded


def write_hardware(value: dict[str, Any]) -> None:
    """Replace the hardware; takes effect at once for queries, at the next boot for PCI devices."""
    _replace(HARDWARE, value)


def state() -> dict[str, Any]:
    """What the kernel holds now: {"modules": {name: {"version", "license"}}, "held": [who], "fabric": version}."""
    try:
        loaded: dict[str, Any] = json.loads(STATE.read_text())
    except FileNotFoundError:
        return {"modules": {}, "held": [], "fabric": None, "persistence": False}
    return loaded


@contextmanager
def changing_state() -> Iterator[dict[str, Any]]:
    """The state, locked; what the body leaves in it is written when the body ends without an exception."""
    STATE.parent.mkdir(parents=True, exist_ok=True)
    with STATE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        current = state()
        yield current
        _replace(STATE, current)


def kernel_release() -> str:
    """The running kernel, as `uname -r` prints it."""
    return os.uname().release


def running() -> dict[str, str] | None:
    """Version and licence of the nvidia module that is loaded, or None."""
    module: dict[str, str] | None = state()["modules"].get("nvidia")
    return module


def installed(module: str, release: str | None = None) -> dict[str, str] | None:
    """Version and licence of the module file on disk for a kernel (default: the running one), or None."""
    for path in sorted((ROOT / "lib/modules" / (release or kernel_release())).glob(f"**/{module_file(module)}")):
        info = dict(re.findall(rb"\x00(version|license)=([^\x00]*)", path.read_bytes()))
        return {key.decode(): value.decode() for key, value in info.items()}
    return None


def module_file(module: str) -> str:
    """nvidia_uvm -> nvidia-uvm.ko, as the real files are called."""
    return module.replace("_", "-") + ".ko"


def user_space_version() -> str | None:
    """Version of the driver's libraries, from the name of libnvidia-ml.so.<version>, or None."""
    names = sorted((ROOT / "usr/lib/x86_64-linux-gnu").glob("libnvidia-ml.so.[0-9]*.*"))
    return names[-1].name.removeprefix("libnvidia-ml.so.") if names else None


def visible_gpus() -> list[dict[str, Any]]:
    """GPUs and instances whose device nodes are here: all of them on the host, the injected ones in a container."""
    gpus = hardware()["gpus"]
    flavour = "open" if (running() or {}).get("license") == "Dual MIT/GPL" else "proprietary"
    return [
        gpu | {"mig_devices": _visible_instances(minor, gpu)} if gpu.get("mig_devices") else gpu
        for minor, gpu in enumerate(gpus)
        if (ROOT / f"dev/nvidia{minor}").exists() and flavour in gpu["flavours"]
    ]


def _visible_instances(minor: int, gpu: dict[str, Any]) -> list[dict[str, Any]]:
    return [device for device in gpu["mig_devices"] if (ROOT / "dev" / capability(minor, device)).exists()]


def capability(minor: int, device: dict[str, Any]) -> str:
    """The node below /dev that opens an instance of GPU `minor`; real drivers number these in their own way."""
    return f"nvidia-caps/nvidia-cap{(minor + 1) * 100 + device['gpu_instance']}"


def _replace(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    temporary.replace(path)
