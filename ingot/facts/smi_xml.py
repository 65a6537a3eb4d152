"""`nvidia-smi -q -x`: the only place that tells the memory of MIG instances."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

from ingot.facts.errors import ParseError
from ingot.facts.smi_query import QueryRow, read_cells


@dataclass(frozen=True, slots=True)
class XmlInstance:
    """One MIG instance: its number on its GPU and its own memory in bytes, None where the driver withholds it."""

    index: int
    total_bytes: int | None = None
    free_bytes: int | None = None
    reserved_bytes: int | None = None
    uuid: str | None = None


@dataclass(frozen=True, slots=True)
class XmlGpu:
    """One GPU of the log: the same row as the query's CSV, and its instances."""

    row: QueryRow
    instances: tuple[XmlInstance, ...] = ()


@dataclass(frozen=True, slots=True)
class XmlLog:
    """The whole log."""

    driver_version: str | None
    gpus: tuple[XmlGpu, ...]


def parse_xml(text: str) -> XmlLog:
    """The GPUs of a log.

    Raises: ParseError when it is not well-formed, or not a log of nvidia-smi.
    """
    try:
        root = ElementTree.fromstring(_document(text))
    except (ElementTree.ParseError, ValueError) as error:
        raise ParseError(f"the XML is not well-formed ({error}): record the whole of nvidia-smi -q -x.") from None
    if root.tag != "nvidia_smi_log":
        raise ParseError(f"the XML's root is <{root.tag[:40]}>, expected <nvidia_smi_log>.")
    driver = (_text(root, "driver_version") or _text(root, "kmd_version")).partition(" ")[0] or None
    return XmlLog(driver, tuple(_gpu(number, node, driver) for number, node in enumerate(root.findall("gpu"))))


def _gpu(number: int, node: ElementTree.Element, driver: str | None) -> XmlGpu:
    device = _text(node, "pci/pci_device_id")
    cells = {
        "uuid": _text(node, "uuid"),
        "name": _text(node, "product_name"),
        "pci.bus_id": _text(node, "pci/pci_bus_id") or (node.get("id") or ""),
        # Masked captures carry no vendor; what is not NVIDIA's is no id.
        "pci.device_id": device if device.upper().endswith("10DE") else "",
        **{f"memory.{part}": _memory(node, part) for part in ("total", "reserved", "used", "free")},
        "mig.mode.current": _text(node, "mig_mode/current_mig"),
        "ecc.mode.current": _text(node, "ecc_mode/current_ecc"),
        "driver_version": driver or "",
        "persistence_mode": _text(node, "persistence_mode"),
        "fabric.state": _text(node, "fabric/state"),
        "fabric.status": _text(node, "fabric/status"),
        "gpu_recovery_action": _text(node, "gpu_recovery_action"),
        "remapped_rows.pending": _text(node, "remapped_rows/remapped_row_pending"),
        "remapped_rows.failure": _text(node, "remapped_rows/remapped_row_failure"),
        "ecc.errors.uncorrected.volatile.total": _uncorrected(node),
    }
    # The log numbers its GPUs by their order: its minor_number is the device file's, not nvidia-smi's index.
    cells["index"] = str(number)
    instances = tuple(_instance(mig) for mig in node.findall("mig_devices/mig_device"))
    return XmlGpu(read_cells(cells), instances)


def _instance(node: ElementTree.Element) -> XmlInstance:
    memory = {f"memory.{part}": _memory(node, part) for part in ("total", "reserved", "free")}
    row = read_cells({"index": _text(node, "index"), "uuid": _text(node, "uuid"), **memory})
    if row.index is None:
        raise ParseError("a <mig_device> has no index: record the whole of nvidia-smi -q -x.")
    return XmlInstance(row.index, row.total_bytes, row.free_bytes, row.reserved_bytes, row.uuid)


def _document(text: str) -> str:
    """The last log of a recording, without what was printed around it and without its document type."""
    start, end = text.rfind("<nvidia_smi_log"), text.rfind(_END)
    if start < 0:
        return text[max(text.find("<"), 0) :]
    return text[start : end + len(_END)] if end > start else text[start:]


_END = "</nvidia_smi_log>"


def _memory(node: ElementTree.Element, part: str) -> str:
    """Schemas before version 5 call it memory_usage."""
    return _text(node, f"fb_memory_usage/{part}") or _text(node, f"memory_usage/{part}")


def _uncorrected(node: ElementTree.Element) -> str:
    """Uncorrectable errors since the last reset; schemas split them by memory, ever more finely. Empty: not counted."""
    volatile = node.find("ecc_errors/volatile")
    counts = [
        int(text)
        for one in (volatile.iter() if volatile is not None else ())
        if "uncorrectable" in one.tag and (text := (one.text or "").strip()).isdecimal() and text.isascii()
    ]
    doubles = _text(node, "ecc_errors/volatile/double_bit/total")
    return str(sum(counts)) if counts else doubles


def _text(node: ElementTree.Element, path: str) -> str:
    return (node.findtext(path) or "").strip()
