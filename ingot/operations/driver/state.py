"""How a host's driver compares with the decision: installed, built, running, answering. Pure."""

from __future__ import annotations

from typing import Any

from ingot.compat import Decision, Fabric, Flavour, version_key
from ingot.errors import IngotError
from ingot.facts.driver import DriverLook, DriverState, Kernel
from ingot.facts.smi_fault import GpuFault
from ingot.operations import gpus_use

#: Modules that an archive builds for one kernel, at the kernel's version.
PREBUILT = "linux-modules-nvidia-"


def older_modules(decision: Decision, state: DriverState) -> tuple[str, ...]:
    """Prebuilt modules of single kernels, which want the driver of their day and give way to another."""
    return tuple(name for name in state.installed if name.startswith(PREBUILT) and name not in decision.packages.driver)


def rivals(decision: Decision, state: DriverState) -> tuple[str, ...]:
    """Installed packages that the decision's own replace: other pins, the other flavour of the module."""
    chosen = {decision.packages.pin, *decision.packages.driver}
    prefixes = (
        "nvidia-driver-pinning-",
        "nvidia-kernel-dkms",
        "nvidia-kernel-open-dkms",
        "nvidia-open-kernel-dkms",
        "nvidia-dkms",
    )
    return tuple(sorted(name for name in state.installed if name.startswith(prefixes) and name not in chosen))


def as_decided(decision: Decision, state: DriverState) -> bool:
    """Whether the driver's packages are those of the decision, so that installing changes no running version."""
    installed = state.installed
    wanted = decision.version
    return not rivals(decision, state) and all(
        name in installed
        and (
            installed[name].upstream == wanted if wanted else version_key(installed[name].version)[0] == decision.branch
        )
        for name in decision.packages.driver
        if not name.startswith(PREBUILT)
    )


def unbuilt(state: DriverState) -> tuple[str, ...]:
    """Kernels that can boot here without the module that is on disk for the running one."""
    return tuple(kernel.release for kernel in state.kernels if kernel.headers and kernel.module != state.on_disk)


def next_kernel(state: DriverState) -> Kernel | None:
    """The kernel that the next boot takes, where the driver's module is for that one and not for the running one."""
    if state.on_disk is not None:
        return None
    return next((one for one in state.kernels if one.release == state.newer_kernel and one.module), None)


def needs_reboot(state: DriverState) -> str | None:
    """Why only a reboot makes the installed driver run; None when loading it is enough."""
    if newer := next_kernel(state):
        return f"driver {newer.module} is installed for kernel {newer.release}, and {state.kernel} runs"
    if state.nouveau:
        return "nouveau holds the GPUs"
    if state.on_disk and state.running and not module_is_current(state):
        return (
            f"driver {called(state.running, state.running_flavour)} runs, "
            f"{called(state.on_disk, state.on_disk_flavour)} is installed and the old one could not be unloaded"
        )
    return None


def is_running_as_installed(state: DriverState) -> bool:
    """Whether the loaded module is the one on disk, and user space is of its version."""
    return module_is_current(state) and state.library in (None, state.running)


def module_is_current(state: DriverState) -> bool:
    """Both flavours of a version call themselves by the same number."""
    return state.running is not None and (state.running, state.running_flavour) == (
        state.on_disk,
        state.on_disk_flavour,
    )


def called(version: str, flavour: Flavour | None) -> str:
    return f"{version} ({flavour})" if flavour else version


def fabric_matches(decision: Decision, state: DriverState) -> bool:
    return all(
        name in state.installed and state.installed[name].upstream == state.on_disk
        for name in decision.packages.companions
    )


def problem(look: DriverLook, decision: Decision, use: Any = None) -> str | None:
    """What keeps the GPUs that Ingot may use (`use` is gpus_use) from it, without the host's name; None: all answer."""
    try:
        fault = gpus_use.answering(look.gpus.fault or look.gpus.gpus, use)
    except IngotError as error:
        return str(error)
    if isinstance(fault, GpuFault):
        return f"{fault.found}; {fault.remedy}"
    on_bus, answering = len(look.state.bus.gpus), len(look.gpus.rows)
    if answering < on_bus and use is None:
        return (
            f"{answering} GPUs answer of {on_bus} on the PCI bus, expected all; read `dmesg | grep -i nvrm` on the host"
        )
    if decision.fabric is not Fabric.NONE:
        waiting = [row for row in look.gpus.rows if row.fabric_state and row.fabric_state != "Completed"]
        if waiting:
            return (
                f"the NVLink fabric of GPU {waiting[0].index} is {waiting[0].fabric_state}, expected Completed; "
                "read `journalctl -u nvidia-fabricmanager` on the host"
            )
    return None
