"""Simulated GPUs for test hosts: profiles of hardware, and the stand-ins that replay them under NVIDIA's names.

The hardware belongs to a host before any driver does: `install` puts it into a guest's root tree. The driver comes
later, from the signed repository of `ingot.sandbox.aptrepo`, by the same packages and commands as on a real host.
"""

import json
import shlex
from pathlib import Path
from typing import Any

from ingot.sandbox.simulated import profile as profiles
from ingot.sandbox.simulated.standins import ko

PROFILES = profiles.names()

_STANDINS = Path(__file__).parent / "standins"
_LIBRARY = "usr/lib/ingot-simulated"
_UNIT = "etc/systemd/system/ingot-simulated-hardware.service"


def install(root: Path, profile: str, kernel_release: str) -> None:
    """Place the hardware of a profile into the root tree of a guest that is not running.

    Args:
        root: the guest's root directory (a Debian or Ubuntu tree with merged /usr and python3).
        profile: one of `PROFILES`.
        kernel_release: the kernel the guest will run on, `uname -r` of this machine.

    Raises:
        KeyError: no such profile.
    """
    machine_id = root / "etc/machine-id"
    hardware = profiles.hardware(profile, machine_id.read_text() if machine_id.exists() else profile)
    _write(root / "var/lib/ingot-simulated/hardware.json", json.dumps(hardware, indent=1) + "\n")
    (root / "var/lib/ingot-simulated/booted").unlink(missing_ok=True)
    for module in sorted(_STANDINS.glob("*.py")):
        _write(root / _LIBRARY / "standins" / module.name, module.read_text())
    for module in sorted((_STANDINS / "python").glob("*.py")):
        _write(root / _LIBRARY / "python" / module.name, module.read_text())
    _write(root / "usr/local/sbin/dmesg", launcher("dmesg"), 0o755)
    for tool in ("modprobe", "rmmod"):
        _write(root / _LIBRARY / tool, launcher("modprobe", f"main({tool!r}, sys.argv[1:])"), 0o755)
    _write(root / "usr/sbin/ingot-simulated", launcher("control"), 0o755)
    _write(root / _LIBRARY / "boot", (_STANDINS / "boot.sh").read_text(), 0o755)
    _write(root / _UNIT, (_STANDINS / "hardware.service").read_text())
    _link(root / "etc/systemd/system/sysinit.target.wants" / Path(_UNIT).name, f"/{_UNIT}")
    _install_kernel(root, kernel_release)


def set_command(path: str, value: Any) -> str:
    """The shell command that changes the hardware of a running guest: `set_command("gpus.2.fault", "GPU is lost")`.

    Queries see it at once. Paths a test may want: gpus.N.fault, gpus.N.query.FIELD, gpus.N.mig_devices, compute_apps
    ([{"gpu": uuid, "pid", "name", "used_mib"}]), build_fault ({"kernels": regex, "versions": regex, "message"}),
    load_fault (regex of versions that the kernel refuses), smi_delay_s (a driver that hangs), nouveau,
    loaded_at_first_boot, kernel_log (lines of dmesg), gpus.N.burn_in.FIGURE, gpus.N.under_load.
    """
    return f"ingot-simulated set {shlex.quote(path)} {shlex.quote(json.dumps(value))}"


def launcher(module: str, call: str = "main(sys.argv[1:])") -> str:
    """A small program under a real tool's name that runs one of the stand-ins."""
    return (
        "#!/usr/bin/env python3\n"
        f"# Simulated: stands in for the real tool on a test host; the code is /{_LIBRARY}/standins/{module}.py\n"
        "import sys\n\n"
        "sys.dont_write_bytecode = True\n"
        f'sys.path.insert(0, "/{_LIBRARY}")\n'
        f"from standins.{module} import {call.split('(')[0]}\n\n"
        f"sys.exit({call})\n"
    )


def _install_kernel(root: Path, release: str) -> None:
    """The files a kernel package leaves, so that modinfo, depmod and dkms meet what they meet on a real host."""
    modules = root / "usr/lib/modules" / release
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        _write(modules / name, "")
    nouveau = modules / "kernel/drivers/gpu/drm/nouveau/nouveau.ko"
    nouveau.parent.mkdir(parents=True, exist_ok=True)
    nouveau.write_bytes(ko.module_file("nouveau", "", "GPL and additional rights", release))


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
