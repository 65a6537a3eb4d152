"""The GPUs of a host by the PCI ids on its bus, for as long as no driver reports them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ingot.catalog import load_gpus
from ingot.catalog.pci import GPU_OF_DEVICE
from ingot.facts.nvidia import GpuReport
from ingot.facts.pci import PciReading
from ingot.facts.smi_fault import GpuFault
from ingot.operations import gpus_use
from ingot.operations.gpus_use import Use
from ingot.sizing import GPU


def expected(bus: PciReading) -> list[GPU]:
    """The GPUs of the bus as the catalog knows them, with their PCI address as UUID; empty when it lacks one of them.

    GPUs that belong to a virtual machine are left out: no driver of the host will report them.
    """
    catalog = load_gpus()
    gpus: list[GPU] = []
    for index, device in enumerate(device for device in bus.gpus if device.driver != "vfio-pci"):
        known = catalog.get(GPU_OF_DEVICE.get(device.device_id, ""))
        if known is None:
            return []
        gpus.append(replace(known.hardware(1).gpus[0], index=index, uuid=f"GPU-{device.address}"))
    if bus.nvswitches:
        everyone = frozenset(range(len(gpus)))
        gpus = [replace(gpu, nvlink_peers=everyone - {gpu.index}) for gpu in gpus]
    return gpus


def usable(report: GpuReport, bus: PciReading, use: Use) -> tuple[GPU, ...]:
    """The GPUs that Ingot may use (`use` is gpus_use): as their driver measures them, else as the catalog knows them.

    Raises: IngotError when `use` names another.
    """
    found = gpus_use.answering(report.fault or report.gpus, use)
    if not isinstance(found, GpuFault):
        return found
    return promised(expected(bus), use)


def promised(gpus: Sequence[GPU], use: Use) -> tuple[GPU, ...]:
    """The expected GPUs that Ingot may use, before a driver reports their UUIDs.

    Raises: IngotError when `use` names another.
    """
    if use is not None and any(str(name).upper().startswith(("GPU-", "MIG-")) for name in use):
        # No UUID is known yet: the first ones stand for as many as are named.
        return tuple(gpus[: len(use)])
    return gpus_use.chosen(gpus, use)
