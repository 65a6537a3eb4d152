"""How a host's driver compares with the decision: installed, built, running, answering. Pure."""

from __future__ import annotations

import re
from typing import Any

from ingot.compat import Decision, Fabric, Flavour, Source, headers_of, version_key
from ingot.errors import IngotError
from ingot.facts.driver import DriverLook, DriverState, Kernel
from ingot.facts.smi_fault import GpuFault
from ingot.operations import gpus_use

#: Modules that an archive builds for one kernel, at the kernel's version.
PREBUILT = "linux-modules-nvidia-"


def older_modules(decision: Decision, state: DriverState) -> tuple[str, ...]:
    """Prebuilt modules of single kernels, which want the driver of their day and give way to another."""
    return tuple(name for name in state.installed if name.startswith(PREBUILT) and name not in decision.packages.driver)


#: Other pins, and the other flavour of the module: never beside the decision's own.
_EXCLUSIVE = (
    "nvidia-driver-pinning-",
    "nvidia-kernel-dkms",
    "nvidia-kernel-open-dkms",
    "nvidia-open-kernel-dkms",
    "nvidia-dkms",
)
#: Packages of a driver, in every archive that carries one: module, libraries, tools, firmware, metas. The container
#: toolkit, CUDA's own toolkit and DCGM are none.
_DRIVER_PACKAGE = re.compile(
    r"^(nvidia-(?!container|docker|cdi|cuda)|libnvidia-(?!container)|cuda-drivers|libcuda1|libnvcuvid|libnvoptix|"
    r"linux-(modules|objects|signatures)-nvidia|xserver-xorg-video-nvidia|firmware-nvidia|libnvsdm)"
)
#: A branch in a package's name, and whether it is of Ubuntu's server series: nvidia-utils-535-server.
_NAMED_BRANCH = re.compile(r"-(?P<branch>[0-9]{3})(?P<server>-server)?(?=-|$)")
#: What a removed branch leaves and what hurts nobody: it goes with the next change, and is no reason for one.
_HARMLESS = ("nvidia-firmware-", "libnvidia-common-")


def rivals(decision: Decision, state: DriverState) -> tuple[str, ...]:
    """Installed packages that the decision's own replace: other pins, the other flavour, another branch or series.

    Packages of another branch conflict with the decision's by their relations or by their files, in whichever archive
    either is (`libnvidia-compute-535` and `libnvidia-compute-580`). This is what is known of both archives; their
    control files were not read.
    """
    chosen = _chosen(decision)
    return tuple(
        sorted(
            name
            for name in state.installed
            if name not in chosen and (name.startswith(_EXCLUSIVE) or _is_of_another_branch(name, decision))
        )
    )


def may_go(decision: Decision, state: DriverState) -> tuple[str, ...]:
    """Installed packages of a driver that apt may remove or exchange on the way to the decision's."""
    gone = {*_chosen(decision), *rivals(decision, state)}
    return tuple(sorted(name for name in state.installed if _DRIVER_PACKAGE.match(name) and name not in gone))


def _chosen(decision: Decision) -> set[str | None]:
    chosen = decision.packages
    return {chosen.pin, *chosen.driver, *chosen.companions, *chosen.tools}


def _is_of_another_branch(name: str, decision: Decision) -> bool:
    if not _DRIVER_PACKAGE.match(name) or name.startswith("nvidia-driver-pinning-"):
        return False
    named = _NAMED_BRANCH.search(name)
    if named is None or name.startswith(PREBUILT):
        # Prebuilt modules of the decision's own branch are kept or exchanged with their kernels.
        return named is not None and int(named["branch"]) != decision.branch
    if int(named["branch"]) != decision.branch:
        return True
    # Ubuntu's server series has the same branches under names of its own, but for its fabric manager.
    series = bool(named["server"]) != (decision.source is Source.UBUNTU)
    return series and not name.startswith(("nvidia-fabricmanager", "libnvidia-nscq", "nvidia-imex", "libnvsdm"))


def as_decided(decision: Decision, state: DriverState) -> bool:
    """Whether the driver's packages are those of the decision, so that installing changes no running version."""
    installed = state.installed
    wanted = decision.version
    replaced = [name for name in rivals(decision, state) if not name.startswith(_HARMLESS)]
    return not replaced and all(
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


def headers_missing(decision: Decision, state: DriverState) -> str | None:
    """Why no module can be built for the running kernel, though one could for a newer; None where that is not so."""
    if not decision.packages.headers or not state.lacks_headers or (state.on_disk and as_decided(decision, state)):
        return None
    newest = state.headers.newest if state.headers else None
    return (
        f"kernel {state.kernel} has no headers in the host's package sources any more ({headers_of(state.kernel)}), "
        f"expected them to build its NVIDIA module; set driver_kernel_upgrade to true, which brings kernel {newest} "
        "with its headers and reboots into it"
    )


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
