"""What the driver says of its GPUs before, during and after: nvidia-smi's tables as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from ingot.facts.smi_query import bus_id
from ingot.facts.xid import SwitchError, Xid, parse_switch_errors, parse_xids

#: Asked before and after; a driver that does not know a field refuses all, so that the newest are asked apart.
COUNTER_FIELDS = (
    "index,uuid,name,pci.bus_id,ecc.errors.corrected.volatile.total,ecc.errors.uncorrected.volatile.total,"
    "ecc.errors.corrected.aggregate.total,ecc.errors.uncorrected.aggregate.total,remapped_rows.correctable,"
    "remapped_rows.uncorrectable,remapped_rows.pending,remapped_rows.failure,pcie.link.gen.max,"
    "pcie.link.width.current,pcie.link.width.max,driver_version"
)
NEWER_FIELDS = "uuid,fabric.state,fabric.status,pcie.link.gen.hostmax"
#: Asked again and again while the GPUs work.
TRACE_FIELDS = (
    "timestamp,uuid,temperature.gpu,temperature.memory,clocks.current.sm,power.draw,utilization.gpu,"
    "pcie.link.gen.current,pcie.link.width.current,clocks_event_reasons.hw_slowdown,"
    "clocks_event_reasons.hw_thermal_slowdown,clocks_event_reasons.sw_thermal_slowdown,"
    "clocks_event_reasons.hw_power_brake_slowdown,clocks_event_reasons.sw_power_cap"
)
_REASON = "clocks_event_reasons."
_NUMBER = re.compile(r"^-?[0-9]+(?:\.[0-9]+)?")
_LINK = re.compile(r"^\s*Link [0-9]+:\s*(.*)$")
_LISTED = re.compile(r"^GPU [0-9]+: .*\(UUID: ((?:GPU|MIG)-[0-9a-fA-F-]+)\)")
_REPLAYS = re.compile(r'<gpu id="([0-9a-fA-F:.]+)">|<replay_counter>\s*([0-9]+)')


@dataclass(frozen=True, slots=True)
class GpuCounters:
    """One GPU's counters; None where it or its driver has no such counter. `links` are its NVLinks: active, all."""

    uuid: str
    index: int
    name: str
    address: str
    corrected: int | None = None
    uncorrected: int | None = None
    corrected_ever: int | None = None
    uncorrected_ever: int | None = None
    rows_remapped: int | None = None
    remap_pending: bool = False
    remap_failed: bool = False
    generation: int | None = None
    width: int | None = None
    widest: int | None = None
    fabric: str | None = None
    links: tuple[int, int] = (0, 0)
    replays: int | None = None

    @property
    def label(self) -> str:
        """How a sentence names it."""
        return f"GPU {self.index}"


@dataclass(frozen=True, slots=True)
class Look:
    """All GPUs at one moment, and what the kernel's log has of them and of NVSwitches until then."""

    gpus: tuple[GpuCounters, ...] = ()
    xids: tuple[Xid, ...] = ()
    driver: str = ""
    switch_errors: tuple[SwitchError, ...] = ()

    def gpu(self, uuid: str) -> GpuCounters | None:
        """One GPU by its UUID."""
        return next((one for one in self.gpus if one.uuid == uuid), None)


@dataclass(frozen=True, slots=True)
class Sample:
    """One GPU at one moment under load: seconds since the first sample, °C, MHz, W, %, link, throttle reasons."""

    at_s: float
    uuid: str
    temperature: float | None = None
    memory_temperature: float | None = None
    clock: float | None = None
    power: float | None = None
    utilization: float | None = None
    generation: int | None = None
    width: int | None = None
    reasons: tuple[str, ...] = ()

    @property
    def is_busy(self) -> bool:
        """Whether the GPU worked; one that does not say is taken to."""
        return self.utilization is None or self.utilization >= 50


def parse_look(counters: str, newer: str, nvlink: str, detail: str, kernel: str) -> Look:
    """The answers of one look: two tables, `nvlink -s`, the replay counters of `-q -x`, the kernel's Xids."""
    extra = {row["uuid"]: row for row in table(newer) if "uuid" in row}
    links, replays = parse_nvlink(nvlink), parse_replays(detail)
    rows = [row for row in table(counters) if "uuid" in row]
    return Look(
        gpus=tuple(_counters(row, extra.get(row["uuid"], {}), links.get(row["uuid"], (0, 0)), replays) for row in rows),
        xids=parse_xids(kernel),
        driver=rows[0].get("driver_version", "") if rows else "",
        switch_errors=parse_switch_errors(kernel),
    )


def _counters(
    row: Mapping[str, str], newer: Mapping[str, str], links: tuple[int, int], replays: Mapping[str, int]
) -> GpuCounters:
    address = bus_id(row["pci.bus_id"]) if "pci.bus_id" in row else ""
    generations = [one for one in (_whole(row, "pcie.link.gen.max"), _whole(newer, "pcie.link.gen.hostmax")) if one]
    state, status = newer.get("fabric.state"), newer.get("fabric.status")
    return GpuCounters(
        uuid=row["uuid"],
        index=_whole(row, "index") or 0,
        name=row.get("name", ""),
        address=address,
        corrected=_whole(row, "ecc.errors.corrected.volatile.total"),
        uncorrected=_whole(row, "ecc.errors.uncorrected.volatile.total"),
        corrected_ever=_whole(row, "ecc.errors.corrected.aggregate.total"),
        uncorrected_ever=_whole(row, "ecc.errors.uncorrected.aggregate.total"),
        rows_remapped=_sum(_whole(row, "remapped_rows.correctable"), _whole(row, "remapped_rows.uncorrectable")),
        remap_pending=row.get("remapped_rows.pending", "").lower() in ("yes", "1"),
        remap_failed=row.get("remapped_rows.failure", "").lower() in ("yes", "1"),
        generation=min(generations) if generations else None,
        width=_whole(row, "pcie.link.width.current"),
        widest=_whole(row, "pcie.link.width.max"),
        fabric=f"{state}, {status}" if state else None,
        links=links,
        replays=replays.get(address),
    )


def parse_trace(text: str) -> tuple[Sample, ...]:
    """The samples of a trace, whose header stands once or before each of its parts."""
    rows = [row for row in table(text) if "uuid" in row and "timestamp" in row]
    first: datetime | None = None
    samples = []
    for row in rows:
        at = _time(row["timestamp"])
        if at is None:
            continue
        first = first or at
        samples.append(
            Sample(
                at_s=round((at - first).total_seconds(), 1),
                uuid=row["uuid"],
                temperature=_number(row, "temperature.gpu"),
                memory_temperature=_number(row, "temperature.memory"),
                clock=_number(row, "clocks.current.sm"),
                power=_number(row, "power.draw"),
                utilization=_number(row, "utilization.gpu"),
                generation=_whole(row, "pcie.link.gen.current"),
                width=_whole(row, "pcie.link.width.current"),
                reasons=tuple(
                    name.removeprefix(_REASON)
                    for name, cell in row.items()
                    if name.startswith(_REASON) and cell == "Active"
                ),
            )
        )
    return tuple(samples)


def table(text: str) -> Iterator[dict[str, str]]:
    """Rows of nvidia-smi's CSV by column name without unit; cells that say nothing are left out."""
    columns: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if "uuid" in cells:
            columns = [cell.partition(" [")[0] for cell in cells]
        elif columns and len(cells) == len(columns):
            bare = [cell.strip("[]") for cell in cells]
            yield {
                name: cell
                for name, cell in zip(columns, bare, strict=True)
                if cell.lower() not in ("", "n/a", "not supported", "gpu is lost", "unknown error")
            }


def parse_nvlink(text: str) -> dict[str, tuple[int, int]]:
    """Active and all NVLinks of each GPU, by UUID."""
    found: dict[str, tuple[int, int]] = {}
    current = ""
    for line in text.splitlines():
        listed, link = _LISTED.match(line.strip()), _LINK.match(line)
        if listed:
            current = listed.group(1)
        elif link and current:
            active, every = found.get(current, (0, 0))
            found[current] = (active + ("GB/s" in link.group(1)), every + 1)
    return found


def parse_replays(text: str) -> dict[str, int]:
    """PCIe replays since the last reset by address, from the XML's lines of GPUs and counters."""
    found: dict[str, int] = {}
    current = ""
    for match in _REPLAYS.finditer(text):
        if match.group(1):
            current = bus_id(match.group(1))
        elif current:
            found[current] = int(match.group(2))
    return found


def _time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y/%m/%d %H:%M:%S.%f")
    except ValueError:
        return None


def _number(row: Mapping[str, str], name: str) -> float | None:
    match = _NUMBER.match(row.get(name, ""))
    return float(match.group()) if match else None


def _whole(row: Mapping[str, str], name: str) -> int | None:
    found = _number(row, name)
    return None if found is None else int(found)


def _sum(*numbers: int | None) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
