"""`nvidia-smi --query-gpu=… --format=csv`, read by its header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ingot.facts.errors import ParseError

_COLUMN = re.compile(r"^([a-z][a-z0-9_.]*)(?: \[([^\]]*)\])?$", re.IGNORECASE)
_KNOWN = frozenset(
    {
        "index",
        "uuid",
        "gpu_uuid",
        "name",
        "gpu_name",
        "pci.bus_id",
        "gpu_bus_id",
        "pci.device_id",
        "memory.total",
        "memory.used",
        "memory.free",
        "compute_cap",
        "driver_version",
        "kmd_version",
    }
)
_ALIASES = {"gpu_uuid": "uuid", "gpu_name": "name", "gpu_bus_id": "pci.bus_id"}
#: Fields without which a table is one of GPUs all the same.
_FAMILIES = ("memory.", "ecc.", "temperature.", "power.", "utilization.", "clocks.", "pcie.", "mig.", "fabric.")

# Cells that mean "this device or driver has no such figure"; source: captures, nvidia-smi(1), and NVML's own error
# strings (nvmlErrorString), which stand in a cell without brackets in the log.
_ABSENT = frozenset(
    {
        "",
        "n/a",
        "not supported",
        "not available",
        "not found",
        "insufficient permissions",
        "requested functionality has been deprecated",
        "none available",
        "no data",
        "timeout",
        "function not found",
        "invalid argument",
        "in use by another client",
        "insufficient resources",
        "gpu access blocked by the operating system",
    }
)
_LOST = "gpu is lost"
_RESET = "gpu requires reset"
_UNKNOWN = ("unknown error", "err!")
# Drivers before 340 wrote MB for what is MiB.
_UNITS = {"b": 1, "bytes": 1, "kib": 1 << 10, "mib": 1 << 20, "mb": 1 << 20, "gib": 1 << 30}
_BUS_ID = re.compile(r"^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2}\.[0-7])$", re.IGNORECASE)
_NUMBER = re.compile(r"^[0-9]{1,12}$")
_AMOUNT = re.compile(r"^([0-9]{1,12})(?:\.[0-9]{1,3})?$")


@dataclass(frozen=True, slots=True)
class QueryRow:
    """One GPU as the driver prints it; None where the figure is absent. Memory in bytes.

    `fault` is the marker of a GPU that no longer answers (`GPU is lost`), as printed.
    """

    index: int | None = None
    uuid: str | None = None
    name: str | None = None
    bus_id: str | None = None
    device_id: int | None = None
    total_bytes: int | None = None
    reserved_bytes: int | None = None
    used_bytes: int | None = None
    free_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    mig_enabled: bool | None = None
    ecc_enabled: bool | None = None
    driver_version: str | None = None
    persistence: bool | None = None
    fabric_state: str | None = None
    fabric_status: str | None = None
    recovery_action: str | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    ecc_uncorrected: int | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """Every row, and what was printed around them."""

    rows: tuple[QueryRow, ...]
    messages: tuple[str, ...] = ()


def bus_id(text: str) -> str:
    """A PCI address as sysfs writes it: `00000000:83:00.0` is `0000:83:00.0`.

    Raises: ParseError.
    """
    match = _BUS_ID.match(text.strip())
    if not match:
        raise ParseError(f"{text[:40]!r} is not a PCI address such as 00000000:83:00.0.")
    domain, bus, rest = match.groups()
    return f"{int(domain or '0', 16):04x}:{bus}:{rest}".lower()


def is_header(line: str) -> bool:
    """Whether a line is the header of a query: names only, one of them known, none of a process."""
    names = [match.group(1).lower() for cell in line.split(",") if (match := _COLUMN.match(cell.strip()))]
    return (
        len(names) == line.count(",") + 1
        and "pid" not in names
        and any(name in _KNOWN or name.startswith(_FAMILIES) for name in names)
    )


def parse_query(text: str) -> Query:
    """Every GPU of a query's CSV, whatever its columns; lines around the table are kept as messages.

    Raises: ParseError when there is no header, or a row does not fit it.
    """
    columns: list[tuple[str, str | None]] = []
    rows: list[QueryRow] = []
    messages: list[str] = []
    for raw in text.splitlines():
        line = raw.strip()
        if not line:
            continue
        if is_header(line):
            # A recording of several runs: the last one counts.
            columns, rows = [_column(cell) for cell in line.split(",")], []
            continue
        if not columns:
            messages.append(line[:200])
            continue
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == len(columns) and not line.upper().startswith("WARNING"):
            rows.append(read_cells(dict(zip((name for name, _ in columns), cells, strict=True)), dict(columns)))
        elif _looks_like_row(cells, columns):
            raise ParseError(
                f"a row has {len(cells)} cells where the header has {len(columns)} columns: {line[:120]!r}."
            )
        else:
            messages.append(line[:200])
    if not columns:
        raise ParseError(
            "there is no header line such as 'index, uuid, name': record with --format=csv, without noheader."
        )
    return Query(tuple(rows), tuple(messages))


def _column(cell: str) -> tuple[str, str | None]:
    match = _COLUMN.match(cell.strip())
    assert match  # is_header looked already
    name = match.group(1).lower()
    return _ALIASES.get(name, name), match.group(2)


def _looks_like_row(cells: list[str], columns: list[tuple[str, str | None]]) -> bool:
    """A torn row starts as rows start; a message of the driver does not."""
    if columns[0][0] == "index":
        return bool(_NUMBER.match(cells[0]))
    return len(cells) > 1 and abs(len(cells) - len(columns)) <= len(columns) // 2


def read_cells(cells: Mapping[str, str], units: Mapping[str, str | None] = MappingProxyType({})) -> QueryRow:
    """A row from its cells by column name; a memory cell carries its unit, or `units` does.

    Raises: ParseError when a cell is neither absent nor what its column holds.
    """
    fault = _fault(cells)
    read = {name: _present(cell) for name, cell in cells.items()}

    def memory(name: str) -> int | None:
        return _memory(name, read.get(name), units.get(name))

    device = read.get("pci.device_id")
    bus = read.get("pci.bus_id")
    return QueryRow(
        index=_integer("index", read.get("index")),
        uuid=read.get("uuid"),
        name=read.get("name"),
        bus_id=bus_id(bus) if bus else None,
        device_id=_device(device) if device else None,
        total_bytes=memory("memory.total"),
        reserved_bytes=memory("memory.reserved"),
        used_bytes=memory("memory.used"),
        free_bytes=memory("memory.free"),
        compute_capability=_capability(read.get("compute_cap")),
        mig_enabled=_switch(read.get("mig.mode.current")),
        ecc_enabled=_switch(read.get("ecc.mode.current")),
        driver_version=read.get("driver_version") or read.get("kmd_version"),
        persistence=_switch(read.get("persistence_mode")),
        fabric_state=read.get("fabric.state"),
        fabric_status=read.get("fabric.status"),
        recovery_action=read.get("gpu_recovery_action"),
        remap_pending=_switch(read.get("remapped_rows.pending")),
        remap_failed=_switch(read.get("remapped_rows.failure")),
        ecc_uncorrected=_count(read.get("ecc.errors.uncorrected.volatile.total")),
        fault=fault,
    )


def _bare(cell: str) -> str:
    """A marker without its brackets: drivers print `N/A` and `[N/A]`."""
    text = cell.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].strip()
    return text


def _fault(cells: Mapping[str, str]) -> str | None:
    for name, cell in cells.items():
        bare = _bare(cell).lower()
        if bare in (_LOST, _RESET):
            return _bare(cell)
        # A single sensor that fails is no lost GPU; identity and memory that fail are.
        if bare in _UNKNOWN and (name in _KNOWN or name.startswith("memory.")):
            return _bare(cell)
    return None


def _present(cell: str) -> str | None:
    bare = _bare(cell)
    lowered = bare.lower()
    # Whatever a driver puts in brackets, it is the reason why there is no figure.
    if bare != cell.strip() or lowered in _ABSENT or lowered in (_LOST, _RESET) or lowered in _UNKNOWN:
        return None
    return bare


def _integer(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not _NUMBER.match(text):
        raise ParseError(f"{name} is {text[:40]!r}, expected a whole number.")
    return int(text)


def _count(text: str | None) -> int | None:
    """A counter that nothing is decided from: what cannot be read is absent."""
    return int(text) if text is not None and _NUMBER.match(text) else None


def _memory(name: str, text: str | None, unit: str | None) -> int | None:
    if text is None:
        return None
    number, _, suffix = text.partition(" ")
    amount = _AMOUNT.match(number)
    factor = _UNITS.get((suffix or unit or "").strip().lower())
    if not amount or factor is None:
        raise ParseError(f"{name} is {text[:40]!r}, expected a number with its unit such as 24564 MiB.")
    return int(amount.group(1)) * factor


def _capability(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.match(r"^([0-9]{1,2})\.([0-9]{1,2})$", text)
    if not match:
        raise ParseError(f"compute_cap is {text[:40]!r}, expected a capability such as 8.9.")
    return int(match.group(1)), int(match.group(2))


def _device(text: str) -> int:
    """NVIDIA prints device and vendor in one number: `0x233510DE` is device 2335 of vendor 10de."""
    match = re.match(r"^(?:0x)?([0-9a-f]{4})10de$", text, re.IGNORECASE)
    if not match:
        raise ParseError(f"pci.device_id is {text[:40]!r}, expected an NVIDIA id such as 0x233510DE.")
    return int(match.group(1), 16)


def _switch(text: str | None) -> bool | None:
    return None if text is None else text.lower() in ("enabled", "yes", "true", "1")
