"""`nvidia-smi topo -m`: which GPUs NVLink joins, and which NUMA node each sits on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile

from ingot.facts.errors import ParseError

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_GPU = re.compile(r"^GPU([0-9]{1,3})$")
_NVLINK = re.compile(r"^NV([0-9]{1,3})$")
# Where the memory of GPUs makes nodes of its own (GH200, GB200), these follow the node of the processor: 0,2-17.
_NODE = re.compile(r"^([0-9]{1,3})(?:,[0-9,-]+)?$")
# PCIe paths of today's and of earlier drivers, and what is printed where a path cannot be told.
_PATHS = frozenset({"X", "PIX", "PXB", "PHB", "NODE", "SYS", "PIB", "SOC", "NS", "DIS", "N/A"})


@dataclass(frozen=True, slots=True)
class Link:
    """How one GPU reaches the others: `peers` over NVLink, `paths` as printed (NV18, PIX, PHB, NODE, SYS)."""

    index: int
    peers: frozenset[int]
    paths: dict[int, str]
    numa_node: int | None = None


def parse_topology(text: str) -> dict[int, Link]:
    """Each GPU's links by its index.

    Raises: ParseError when no row is a GPU's, or a row names a link no driver prints.
    """
    lines = [_ANSI.sub("", line) for line in text.splitlines()]
    header = next((line.split() for line in lines if _is_header(line)), None)
    # Place among the columns -> index of the GPU: network cards may stand before the GPUs, too.
    gpus = {place: int(match.group(1)) for place, cell in enumerate(header or ()) if (match := _GPU.match(cell))}
    # An excerpt without its header is read as today's drivers print it; the oldest print no node at all.
    titles = " ".join(header or ("NUMA Affinity", "GPU NUMA ID"))
    node = -2 if "GPU NUMA ID" in titles else -1 if "NUMA Affinity" in titles else None
    rows = {}
    for line in lines:
        cells = line.split()
        match = _GPU.match(cells[0]) if len(cells) > 1 else None
        # The header, too, starts with GPU0: a row's second cell is a link.
        if match and not _GPU.match(cells[1]) and not _is_header(line):
            rows[int(match.group(1))] = cells[1:]
    if not rows:
        raise ParseError("there is no row such as 'GPU0  X  NV18': record the whole of nvidia-smi topo -m.")
    # Without its header (a pasted excerpt) columns stand for GPUs in order: other devices have no NVLink.
    return {index: _link(index, cells, gpus, node) for index, cells in rows.items()}


def _is_header(line: str) -> bool:
    cells = line.split()
    named = [bool(_GPU.match(cell)) for cell in cells]
    # Two GPUs side by side are columns, with or without the affinities that an excerpt may have lost.
    return "X" not in cells and ((any(named) and "Affinity" in cells) or named[:2] == [True, True])


def _link(index: int, cells: list[str], gpus: dict[int, int], node: int | None) -> Link:
    if gpus:
        if len(cells) <= max(gpus):
            raise ParseError(f"the row of GPU{index} has {len(cells)} cells where the header has {len(gpus)} GPUs.")
        paths = {gpu: cells[place] for place, gpu in gpus.items()}
    else:
        paths = dict(enumerate(takewhile(_is_path, cells)))
    if paths.get(index) != "X":
        raise ParseError(f"the row of GPU{index} has no X under its own column.")
    bad = [cell for cell in paths.values() if not _is_path(cell)]
    if bad:
        raise ParseError(f"the row of GPU{index} names a link {bad[0][:20]!r}, expected NV#, PIX, PHB, NODE or SYS.")
    others = {peer: cell for peer, cell in paths.items() if peer != index}
    peers = frozenset(peer for peer, cell in others.items() if _NVLINK.match(cell))
    return Link(index, peers, others if gpus else {}, _numa(cells[len(paths) :], node))


def _is_path(cell: str) -> bool:
    return cell in _PATHS or bool(_NVLINK.match(cell))


def _numa(cells: list[str], place: int | None) -> int | None:
    """The node counted from the right: columns of network cards in between may be damaged by pasting."""
    match = _NODE.match(cells[place]) if place is not None and len(cells) >= -place else None
    return int(match.group(1)) if match else None
