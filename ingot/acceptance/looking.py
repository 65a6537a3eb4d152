"""What a host is before anything is measured: hardware, boot, driver, GPUs, image, and its gateway's pool."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyinfra.api.host import Host

from ingot.acceptance.remote import run
from ingot.errors import IngotError
from ingot.facts.boot import COMMAND as BOOT_ID
from ingot.facts.errors import Unread
from ingot.facts.hardware import HardwareLook, HardwareSeen
from ingot.facts.nvidia import Gpus
from ingot.facts.pool import Pool, PoolState
from ingot.facts.sections import compose, split
from ingot.facts.smi_fault import GpuFault
from ingot.operations import gpus_use
from ingot.operations.containers.image import image_source
from ingot.settings import of_host
from ingot.sizing import GPU


@dataclass(frozen=True, slots=True)
class Seen:
    """What the host was before anything was measured. `fault`: why its GPUs cannot be burned in, as a sentence."""

    boot_id: str
    driver: str
    hardware: HardwareSeen
    gpus: tuple[str, ...]
    pool: PoolState
    image: str
    fault: str | None = None

    def shown(self) -> dict[str, Any]:
        """What a record says of the host."""
        hardware = self.hardware
        return {
            "boot_id": self.boot_id,
            "image": self.image,
            "cpu": asdict(hardware.cpu),
            "memory_bytes": hardware.installed_memory_bytes,
            "disks": [{"name": one.name, "bytes": one.size_bytes, "kind": one.kind} for one in hardware.disks],
            "kernel": hardware.kernel,
        }


def look(host: Host, name: str, *, burn_in: bool) -> Seen:
    """Look at the host in context. Raises: IngotError, one sentence, where a burn-in cannot be."""
    hardware = host.get_fact(HardwareLook)
    if isinstance(hardware, Unread):
        raise IngotError(hardware.sentence(name))
    gpus: tuple[str, ...] = ()
    fault = None
    if burn_in:
        use = of_host(host).gpus_use
        try:
            gpus, fault = usable(gpus_use.answering(host.get_fact(Gpus), use), None if use else len(hardware.gpus))
        except IngotError as error:
            raise IngotError(f"{name}: {str(error.args[0]).rstrip('.')}.") from None
    image = _image(host, name, needed=burn_in)
    questions = {
        "boot": BOOT_ID,
        "driver": "head -n 1 /proc/driver/nvidia/version 2>/dev/null",
        "image": f"docker image inspect {shlex.quote(image)} >/dev/null 2>&1",
    }
    found = split(run(host, compose(questions)).stdout.splitlines())
    if burn_in and found["image"].status:
        raise IngotError(
            f"{name}: the engine's image {image[:24]} is not on the host, where the burn-in runs in it; deploy the "
            "host first, or accept what needs no GPU with --no-burn-in."
        )
    return Seen(found["boot"].line, found["driver"].line, hardware, gpus, host.get_fact(Pool), image, fault)


def usable(found: Sequence[GPU] | GpuFault, on_bus: int | None) -> tuple[tuple[str, ...], str | None]:
    """UUIDs of the GPUs to burn in, and why the acceptance fails before it: one that is broken, or does not answer.

    `on_bus`: how many there are by the PCI bus, None where Ingot may not use all.

    Raises: IngotError, without the host's name, where the driver is not there yet.
    """
    if isinstance(found, GpuFault):
        if found.kind in gpus_use.OF_ONE_GPU:
            return (), f"{found.found}; {found.remedy}"
        raise IngotError(f"{found.found}; {found.remedy}.")
    if not found:
        raise IngotError("no GPU answers, expected one to burn in; deploy its driver, or use --no-burn-in.")
    uuids = tuple(gpu.uuid for gpu in found)
    whole = not any(gpu.mig_profile for gpu in found)
    if on_bus is not None and whole and len(found) < on_bus:
        return uuids, f"{len(found)} GPUs answer of {on_bus} on the PCI bus; read `dmesg | grep -i nvrm` on the host"
    return uuids, None


def _image(host: Host, name: str, *, needed: bool) -> str:
    """The engine's image as the host's values pin it; empty where they do not and it is not needed."""
    try:
        return image_source(of_host(host)).reference
    except IngotError as refusal:
        if needed:
            raise IngotError(f"{name}: {refusal}") from None
        return ""
