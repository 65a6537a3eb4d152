"""GPUs by one call of nvidia-smi, and their Xids by the kernel's log."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ingot.monitoring.collector.calls import run
from ingot.monitoring.collector.figures import Figures

_IDENTITY = ("uuid", "index", "name", "pci.bus_id")
#: Field of nvidia-smi -> metric, and the factor to its unit. MiB, W, °C, MHz and percent there.
READINGS: dict[str, tuple[str, float]] = {
    "utilization.gpu": ("ingot_gpu_utilization_ratio", 0.01),
    "memory.total": ("ingot_gpu_memory_total_bytes", 1 << 20),
    "memory.used": ("ingot_gpu_memory_used_bytes", 1 << 20),
    "temperature.gpu": ("ingot_gpu_temperature_celsius", 1),
    "temperature.memory": ("ingot_gpu_memory_temperature_celsius", 1),
    "temperature.gpu.tlimit": ("ingot_gpu_temperature_margin_celsius", 1),
    "power.draw": ("ingot_gpu_power_watts", 1),
    "power.limit": ("ingot_gpu_power_limit_watts", 1),
    "power.default_limit": ("ingot_gpu_power_default_limit_watts", 1),
    "clocks.sm": ("ingot_gpu_sm_clock_hertz", 1_000_000),
    "ecc.errors.corrected.volatile.total": ("ingot_gpu_ecc_corrected_total", 1),
    "ecc.errors.uncorrected.volatile.total": ("ingot_gpu_ecc_uncorrected_total", 1),
    "remapped_rows.correctable": ("ingot_gpu_remapped_rows_correctable", 1),
    "remapped_rows.uncorrectable": ("ingot_gpu_remapped_rows_uncorrectable", 1),
    "remapped_rows.pending": ("ingot_gpu_row_remap_pending", 1),
    "remapped_rows.failure": ("ingot_gpu_row_remap_failure", 1),
    "pcie.link.width.current": ("ingot_gpu_pcie_link_width", 1),
    "pcie.link.width.max": ("ingot_gpu_pcie_link_width_max", 1),
}
#: Ending of a field of reasons -> what the metric calls it.
REASONS = {
    "hw_slowdown": "hw_slowdown",
    "hw_thermal_slowdown": "hw_thermal",
    "sw_thermal_slowdown": "sw_thermal",
    "hw_power_brake_slowdown": "power_brake",
}
#: Drivers before 535 call them by the second name.
_REASON_FAMILIES = ("clocks_event_reasons", "clocks_throttle_reasons")
_FABRIC, _ACTION = "fabric.state", "gpu_recovery_action"
FIELDS = (
    *_IDENTITY,
    *READINGS,
    *(f"{family}.{reason}" for family in _REASON_FAMILIES for reason in REASONS),
    _FABRIC,
    _ACTION,
)
_WORDS = {"yes": 1.0, "no": 0.0, "active": 1.0, "not active": 0.0, "enabled": 1.0, "disabled": 0.0}
_LOST = ("gpu is lost", "gpu requires reset", "unknown error")
_UNKNOWN_FIELD = re.compile(r'Field "([^"]+)" is not a valid field to query')
_UUID = re.compile(r"GPU-[0-9a-fA-F-]+")
_XID = re.compile(r"^(?:\[\s*([0-9]+\.[0-9]+)\])?.*NVRM: Xid \((?:PCI:)?([0-9a-fA-F:.]+)[^)]*\): ([0-9]+),")
#: What nvidia-smi is given to answer in, seconds.
LIMIT_S = 10
#: Fields that a driver may not know, at most: each costs one call, once per driver.
_MOST_UNKNOWN = 24


def collect(figures: Figures, memory: dict[str, Any], has_gpus: bool) -> bool:
    """The GPUs of the host; returns whether there was a driver to ask, or no GPU to expect."""
    rows, said = query(memory)
    slots: dict[str, str] = {}
    if rows is not None:
        figures.add("ingot_driver_up", 1)
        figures.add("ingot_driver_mismatch", 0)
        seen = 0
        for cells in rows:
            seen += _gpu(figures, cells)
            slots[slot_of(cells["pci.bus_id"])] = cells["uuid"]
        figures.add("ingot_gpu_seen", seen)
    elif has_gpus or said:
        figures.add("ingot_driver_up", 0)
        figures.add("ingot_driver_mismatch", float("version mismatch" in said))
        figures.add("ingot_gpu_seen", 0)
    if rows is not None or has_gpus:
        _xids(figures, memory, slots)
    return rows is not None or not has_gpus


def query(memory: dict[str, Any]) -> tuple[list[dict[str, str]] | None, str]:
    """The rows of one query, and what was said instead; None where nvidia-smi is not there or answers nothing.

    A field that this driver does not know is left out, now and in later runs until another driver is installed.
    """
    stamp = _stamp()
    kept = memory.get("smi", {})
    without: list[str] = list(kept.get("without", [])) if kept.get("stamp") == stamp else []
    said = ""
    for _ in range(_MOST_UNKNOWN + 1):
        fields = [name for name in FIELDS if name not in without]
        answer = run("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", limit_s=LIMIT_S)
        if answer is None:
            return None, ""
        said = answer[1]
        unknown = _UNKNOWN_FIELD.search(said)
        if unknown and unknown[1] in fields and unknown[1] not in _IDENTITY:
            without.append(unknown[1])
            continue
        memory["smi"] = {"stamp": stamp, "without": without}
        rows = table(said, fields)
        return (rows or None), said
    return None, said


def table(text: str, fields: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a query by field; what else is printed is passed over."""
    rows = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(", ")]
        if len(cells) == len(fields) and _UUID.fullmatch(cells[0]):
            rows.append(dict(zip(fields, cells, strict=True)))
    return rows


def reading(cell: str) -> float | None:
    """A cell as a number; None where the device or the driver has no such reading."""
    word = cell.strip("[] ").lower()
    if word in _WORDS:
        return _WORDS[word]
    try:
        return float(word)
    except ValueError:
        return None


def _gpu(figures: Figures, cells: Mapping[str, str]) -> bool:
    """One GPU; returns whether it answers."""
    labels = {"uuid": cells["uuid"], "index": cells["index"], "name": cells["name"]}
    up = not any(cell.strip("[] ").lower() in _LOST for cell in cells.values())
    figures.add("ingot_gpu_up", float(up), **labels)
    for field, (metric, factor) in READINGS.items():
        value = reading(cells.get(field, ""))
        figures.add(metric, None if value is None else value * factor, **labels)
    for field, reason in REASONS.items():
        told = (reading(cells.get(f"{family}.{field}", "")) for family in _REASON_FAMILIES)
        value = next((one for one in told if one is not None), None)
        figures.add("ingot_gpu_slowdown", value, **labels, reason=reason)
    fabric = cells.get(_FABRIC, "").strip("[] ").lower()
    if fabric and fabric not in ("n/a", "not supported"):
        figures.add("ingot_gpu_fabric_up", float(fabric == "completed"), **labels)
    action = cells.get(_ACTION, "").strip("[] ").lower()
    if action and action not in ("none", "n/a", "not supported") and action not in _LOST:
        figures.add("ingot_gpu_recovery_needed", 1, **labels, action=action)
    return up


def slot_of(address: str) -> str:
    """Domain, bus and device in one spelling: `00000000:83:00.0` and `0000:83:00` are 0000:83:00."""
    parts = re.findall(r"[0-9a-fA-F]+", address.partition(".")[0])
    domain, bus, device = (["0", *parts] if len(parts) == 2 else [*parts, "0", "0", "0"])[:3]
    return f"{int(domain, 16):04x}:{int(bus, 16):02x}:{int(device, 16):02x}"


def _xids(figures: Figures, memory: dict[str, Any], slots: Mapping[str, str]) -> None:
    answer = run("dmesg")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    kept = memory.get("xids", {})
    if kept.get("boot") != boot:
        kept = {"boot": boot, "after": 0.0, "counts": {}, "bare": {}, "uuids": {}}
    kept["uuids"] |= slots
    if answer is not None:
        count_xids(answer[1], kept)
    memory["xids"] = kept
    for key, count in sorted(kept["counts"].items()):
        slot, _, number = key.partition(" ")
        figures.add("ingot_gpu_xid_total", count, uuid=kept["uuids"].get(slot, slot), xid=number)


def count_xids(log: str, kept: dict[str, Any]) -> None:
    """Add the Xids of a kernel's log that were not counted yet: it is a ring, and forgets.

    Lines with a time are new when they are later than the last one counted; of those without, whatever is more.
    """
    after: float = kept["after"]
    bare: dict[str, int] = {}
    for line in log.splitlines():
        match = _XID.match(line.strip())
        if not match:
            continue
        key = f"{slot_of(match[2])} {int(match[3])}"
        if match[1] is None:
            bare[key] = bare.get(key, 0) + 1
        elif float(match[1]) > after:
            kept["counts"][key] = kept["counts"].get(key, 0) + 1
            kept["after"] = max(kept["after"], float(match[1]))
    for key, count in bare.items():
        more = count - kept["bare"].get(key, 0)
        kept["counts"][key] = kept["counts"].get(key, 0) + max(more, 0)
    kept["bare"] = bare


def _stamp() -> str:
    """What tells one driver from another."""
    try:
        return Path("/proc/driver/nvidia/version").read_text()[:200]
    except OSError:
        return ""
