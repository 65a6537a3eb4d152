"""Simulated: nvidia-persistenced and nv-fabricmanager; both run in the foreground until they are told to stop."""

import signal
import sys
from types import FrameType

from . import kernel, machine


def persistenced(arguments: list[str]) -> int:
    """Hold the module open; switch persistence mode on unless told not to."""
    if machine.running() is None:
        print("nvidia-persistenced failed to initialize. Check syslog for more details.", file=sys.stderr)
        return 1
    _serve("nvidia-persistenced", persistence="--no-persistence-mode" not in arguments)
    return 0


def fabricmanager(arguments: list[str]) -> int:
    """Bring the fabric up; refuses without a driver, on another driver version, and without NVSwitches."""
    own = arguments[0]
    module = machine.running()
    if module is None:
        print("request to query NVSwitch device information from NVSwitch driver failed with error:NVRM not loaded")
        return 1
    if module["version"] != own:
        print(
            f"fabric manager NVIDIA GPU driver interface version {own} don't match with driver version "
            f"{module['version']}. Please update with matching NVIDIA driver package.",
            file=sys.stderr,
        )
        return 1
    if not any(device["class"].startswith("0x0680") for device in machine.hardware()["pci"]):
        print(
            "request to query NVSwitch device information from NVSwitch driver failed with error:"
            "WARNING Nothing to do [NV_WARN_NOTHING_TO_DO]",
            file=sys.stderr,
        )
        return 1
    print("Successfully configured all the available NVSwitches to route GPU NVLink traffic.", flush=True)
    _serve("nv-fabricmanager", fabric=own)
    return 0


def modprobe_helper(arguments: list[str]) -> int:
    """nvidia-modprobe: loads the module; -u loads unified memory too."""
    try:
        kernel.load("nvidia")
        if "-u" in arguments:
            kernel.load("nvidia_uvm")
    except kernel.Refused as refusal:
        print(f"nvidia-modprobe: {refusal}", file=sys.stderr)
        return 1
    return 0


def _serve(who: str, **while_running: object) -> None:
    """Run until told to stop, with a GPU's node open under the daemon's own name, as the real one shows in /proc."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    (machine.ROOT / "proc/self/comm").write_text(who)
    with (machine.ROOT / "dev/nvidiactl").open("rb"):
        with machine.changing_state() as state:
            state.update(while_running)
        try:
            signal.pause()
        finally:
            with machine.changing_state() as state:
                # A fabric stays configured when its manager stops; persistence mode ends with its daemon.
                state.update({name: False for name in while_running if name == "persistence"})
