"""The GPUs that a bus full of PCI ids stands for, before any driver tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ingot.catalog import load_gpus
from ingot.catalog.pci import GPU_OF_DEVICE
from ingot.facts.nvidia import GpuReport
from ingot.facts.pci import PciReading
from ingot.facts.smi_fault import GpuFault
from ingot.operations import gpus_use
from ingot.sizing import GPU


def expected(bus: PciReading) -> list[GPU]:
    """The catalog's GPUs of the bus, named by address; empty when the catalog lacks one of them.

    A driver never tells of those that belong to a virtual machine.
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


def usable(report: GpuReport, bus: PciReading, use: Any) -> tuple[GPU, ...]:
    """The GPUs that Ingot may use (`use` is the value gpus_use): as measured, else as the bus promises them.

    Raises: IngotError when `use` names another.
    """
    found = gpus_use.answering(report.fault or report.gpus, use)
    if not isinstance(found, GpuFault):
        return found
    return promised(expected(bus), use)


def promised(gpus: Sequence[GPU], use: Any) -> tuple[GPU, ...]:
    """Those of a host's GPUs that Ingot may use, while only their kind is known.

    Raises: IngotError when `use` names another.
    """
    if isinstance(use, Sequence) and any(str(name).upper().startswith(("GPU-", "MIG-")) for name in use):
        # Nothing tells a UUID yet: as many as are named stand for them.
        return tuple(gpus[: len(use)])
    return gpus_use.chosen(gpus, use)
