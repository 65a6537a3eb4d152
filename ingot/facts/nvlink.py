"""`nvidia-smi nvlink -s`: the NVLinks of each GPU and how fast each runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ingot.facts.errors import ParseError
from ingot.facts.smi_list import Listed, parse_list

IS_STATUS = re.compile(r"^\s*Link [0-9]{1,3}: |^.*(Nvlink queries are not supported|support Nvlink|links are inactive)",
                       re.MULTILINE | re.IGNORECASE)  # fmt: skip
_GPU = re.compile(r"^\s*GPU [0-9]{1,3}: ")
_LINK = re.compile(r"^\s*Link ([0-9]{1,3}):\s*(?:([0-9]+(?:\.[0-9]+)?) GB/s|(.+?))\s*$")


@dataclass(frozen=True, slots=True)
class NvlinkStatus:
    """One GPU with its links: GB/s in one direction by number, None for an inactive link; `note` is what nvidia-smi
    says in place of links."""

    gpu: Listed
    links: dict[int, float | None] = field(default_factory=dict)
    note: str = ""

    @property
    def active(self) -> int:
        """How many links run."""
        return sum(1 for speed in self.links.values() if speed is not None)


def parse_nvlink(text: str) -> tuple[NvlinkStatus, ...]:
    """Every GPU of the output.

    Raises: ParseError when no line names a GPU.
    """
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if _GPU.match(line):
            blocks.append([line])
        elif blocks and line.strip():
            blocks[-1].append(line)
    if not blocks:
        raise ParseError("there is no line such as 'GPU 0: NVIDIA H200 (UUID: GPU-…)' above the links.")
    return tuple(_status(block) for block in blocks)


def _status(block: list[str]) -> NvlinkStatus:
    gpus = parse_list(block[0])
    if not gpus:
        raise ParseError(f"a GPU does not answer: {block[0].strip()[:120]!r}.")
    links: dict[int, float | None] = {}
    notes = []
    for line in block[1:]:
        match = _LINK.match(line)
        if match:
            links[int(match[1])] = float(match[2]) if match[2] else None
        else:
            notes.append(line.strip())
    return NvlinkStatus(gpus[0], links, " ".join(notes)[:200])
