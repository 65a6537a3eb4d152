"""Makes the installed driver run: loads its module, replaces the loaded one, or reboots where nothing else helps."""

from __future__ import annotations

import shlex
from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host

from ingot.facts.driver import Driver, DriverLook, DriverState
from ingot.operations import changes, reboot
from ingot.operations.driver import transaction
from ingot.operations.driver.state import module_is_current, needs_reboot, next_kernel
from ingot.settings import of_host

_LOAD = "modprobe nvidia && modprobe nvidia-uvm"
_DEPENDENTS = "nvidia_drm nvidia_modeset nvidia_uvm nvidia_peermem"
_UNLOAD = f"remember_daemons; stop_daemons; modprobe -r {_DEPENDENTS} 2>/dev/null; modprobe -r nvidia"
_REFUSED_MODULE = (
    "the kernel refuses the NVIDIA module; read dmesg on the host "
    "(Key was rejected: Secure Boot; not supported by open nvidia.ko: wrong flavour)"
)


def activate(state: DriverState) -> Generator[PyinfraCommand, None, str | None]:
    """Make what is on disk run: load it, or replace what is loaded, or reboot; each only where the state asks for it.

    Returns: why it may not, without the host's name; None when it was done.
    """
    if state.nouveau:
        # What blacklists nouveau must be in the initramfs too, or it is loaded again before the root file system.
        yield StringCommand("command -v update-initramfs >/dev/null && update-initramfs -u -k all; true")
    elif next_kernel(state):
        changes.announce(["start the newer kernel, which the driver's module is for"])
    elif state.running is None:
        changes.announce([f"load driver {state.on_disk}"])
        sentence = shlex.quote(f"{host.name}: {_REFUSED_MODULE}")
        yield StringCommand(f"{_LOAD} || {{ echo {sentence} >&2; exit 1; }}")
    elif not module_is_current(state):
        if state.users and not of_host(host).driver_disrupt:
            return (
                f"driver {state.running} runs, {state.on_disk} is installed, and {', '.join(state.users[:3])} use the "
                "GPUs; stop them, or set driver_disrupt to true for this run"
            )
        if of_host(host).driver_disrupt:
            yield from transaction.drain()
        if state.readers:
            changes.announce([f"stop {', '.join(state.readers)} meanwhile"])
        changes.announce([f"replace the running driver {state.running} by {state.on_disk}"])
        # A module that is in use cannot be unloaded: then the reboot below replaces it.
        yield StringCommand(transaction.with_daemons(f"{_UNLOAD} && {_LOAD}; true"))
    yield from reboot.reboot._inner(needed=_reboot_reason)
    return None


def _reboot_reason() -> str | None:
    look = host.get_fact(Driver)
    return needs_reboot(look.state) if isinstance(look, DriverLook) else None
