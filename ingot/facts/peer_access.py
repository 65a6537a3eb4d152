"""`nvidia-smi topo -p2p`: which GPUs may read, write or use each other's memory; it is not the topology."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingot.facts.errors import ParseError

#: Status words of the matrix. Source: the legend that nvidia-smi prints below it.
_STATUS = frozenset({"X", "OK", "CNS", "GNS", "TNS", "NS", "DR", "U", "N/A"})
_GPU = re.compile(r"^GPU([0-9]{1,3})$")


@dataclass(frozen=True, slots=True)
class PeerAccess:
    """One GPU: the status of every other by index, as printed (`OK`, `GNS`, `NS`, …)."""

    index: int
    peers: dict[int, str]


def is_peer_access(text: str) -> bool:
    """Whether a text is this matrix: its cells are statuses, or its legend says so."""
    rows = list(_rows(text))
    cells = {cell for _, row in rows for cell in row}
    return bool(rows) and cells <= _STATUS and (bool(cells - {"X", "N/A"}) or "Status Ok" in text)


def parse_peer_access(text: str) -> tuple[PeerAccess, ...]:
    """Every row of the matrix.

    Raises: ParseError when a row has no X under its own column.
    """
    found = []
    for index, cells in _rows(text):
        if len(cells) <= index or cells[index] != "X":
            raise ParseError(f"the row of GPU{index} has no X under its own column: record the whole matrix.")
        found.append(PeerAccess(index, {peer: cell for peer, cell in enumerate(cells) if peer != index}))
    if not found:
        raise ParseError("there is no row such as 'GPU0  X  OK': record the whole of nvidia-smi topo -p2p r.")
    return tuple(found)


def _rows(text: str) -> list[tuple[int, list[str]]]:
    rows = []
    for line in text.splitlines():
        cells = line.split()
        match = _GPU.match(cells[0]) if len(cells) > 1 else None
        if match and not _GPU.match(cells[1]):
            rows.append((int(match.group(1)), cells[1:]))
    return rows
