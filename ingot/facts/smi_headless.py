"""A query's rows without their header (`--format=csv,noheader`), read where their columns cannot be mistaken."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingot.facts.errors import ParseError
from ingot.facts.smi_query import Query, read_cells

#: What a cell is by its shape alone.
_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("uuid", re.compile(r"^GPU-[0-9a-f]+(-[0-9a-f]+)*$", re.IGNORECASE)),
    ("pci.bus_id", re.compile(r"^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$", re.IGNORECASE)),
    ("driver_version", re.compile(r"^[0-9]{3}\.[0-9]{2,3}(\.[0-9]{2})?$")),
    ("compute_cap", re.compile(r"^[0-9]{1,2}\.[0-9]$")),
    ("memory", re.compile(r"^[0-9]{1,9} Mi?B$")),
    ("index", re.compile(r"^[0-9]{1,2}$")),
    ("name", re.compile(r"^(NVIDIA|Tesla|GeForce|Quadro|GRID|TITAN|RTX|GTX|A[0-9]{2,3}|[HBL][0-9]{2,3})\b.*$")),
)


def is_headless(text: str, asked: Sequence[Sequence[str]] = ()) -> bool:
    """Whether every line is a GPU's row: as the recorded commands asked, or by the shapes of its cells.

    By shape a row is a GPU's with a name beside something else of known shape, or with a UUID and nothing unknown.
    """
    rows = _rows(text)
    if rows and any(all(len(query) == len(row) for row in rows) for query in asked):
        return True
    return bool(rows) and all(_is_gpu([_shape(cell) for cell in row]) for row in rows)


def _is_gpu(shapes: Sequence[str]) -> bool:
    if "path" in shapes:
        return False
    if "name" in shapes:
        return len(set(shapes) - {"name", ""}) > 0
    # A process has a UUID too, beside a number and a name of any shape.
    return "uuid" in shapes and all(shapes)


def columns(rows: Sequence[Sequence[str]], queries: Sequence[Sequence[str]] = ()) -> tuple[str, ...]:
    """The column of each cell: those of the one known query that has as many fields and fits, else by shape.

    Raises: ParseError when rows differ in length, or a cell could be two things.
    """
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise ParseError("the rows have different numbers of cells: record with --format=csv, without noheader.")
    known = [query for query in queries if len(query) == len(rows[0]) and all(_fits(query, row) for row in rows)]
    if len({tuple(query) for query in known}) == 1:
        return tuple(known[0])
    found = []
    for place in range(len(rows[0])):
        shapes = {_shape(row[place]) for row in rows if not row[place].startswith("[")}
        found.append(shapes.pop() if len(shapes) == 1 else "")
    if found.count("index") > 1 or (found.count("index") == 1 and found[0] != "index"):
        # Any whole number has the shape of an index: only the first column's is one.
        found = [name if name != "index" or place == 0 else "" for place, name in enumerate(found)]
    for name in ("uuid", "pci.bus_id", "driver_version", "compute_cap", "name"):
        if found.count(name) > 1:
            raise ParseError(f"two columns look like {name}: record with --format=csv, without noheader.")
    memory = [place for place, name in enumerate(found) if name == "memory"]
    total = _total(rows, memory)
    return tuple("memory.total" if place == total else "" if name == "memory" else name
                 for place, name in enumerate(found))  # fmt: skip


def _fits(query: Sequence[str], row: Sequence[str]) -> bool:
    """Whether each cell whose shape is plain stands in the column of that shape."""
    plain = {"uuid", "pci.bus_id"}
    return all(_shape(cell) == name for name, cell in zip(query, row, strict=True)
               if name in plain or _shape(cell) in plain)  # fmt: skip


def _total(rows: Sequence[Sequence[str]], memory: Sequence[int]) -> int | None:
    """The column that is the sum of the others: total of used and free, within what a driver reserves.

    One amount alone, or two, may as well be what is used.
    """
    if len(memory) < 3:
        return None
    place = max(memory, key=lambda one: _mib(rows[0][one]))
    others = [other for other in memory if other != place]
    sums = [(_mib(row[place]), sum(_mib(row[one]) for one in others)) for row in rows]
    return place if all(0.9 * total <= rest <= total + 2 for total, rest in sums) else None


def parse_headless(text: str, queries: Sequence[Sequence[str]] = ()) -> Query:
    """The GPUs of the rows; `queries` are the fields that may have been asked for.

    Raises: ParseError as `columns`.
    """
    rows = _rows(text)
    names = columns(rows, queries)
    index = "index" in names
    read = []
    for number, row in enumerate(rows):
        cells = {name: cell for name, cell in zip(names, row, strict=True) if name}
        # nvidia-smi prints its GPUs in the order of their indices.
        read.append(read_cells(cells if index else {**cells, "index": str(number)}, _units(cells)))
    return Query(tuple(read))


def _units(cells: dict[str, str]) -> dict[str, str | None]:
    """Memory without a unit (nounits) is in MiB."""
    return {name: "MiB" for name, cell in cells.items() if name.startswith("memory.") and cell.isdigit()}


def _rows(text: str) -> list[list[str]]:
    """The lines with cells; those of a shell or of a code fence around them are no rows."""
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("```", "$ ", "#")) and "nvidia-smi" not in line]
    rows = [[cell.strip() for cell in line.split(",")] for line in kept]
    return rows if all(len(row) > 1 for row in rows) else []


def _shape(cell: str) -> str:
    if "/" in cell and not cell.startswith("["):
        return "path" if cell.startswith(("/", "./")) or "/bin/" in cell else ""
    return next((name for name, pattern in _SHAPES if pattern.match(cell)), "")


def _mib(cell: str) -> int:
    digits = cell.partition(" ")[0]
    return int(digits) if digits.isdigit() else 0
