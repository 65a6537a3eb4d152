"""Reports of the kernel's log: what NVSwitches say of themselves, and which reports are new."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

Report = TypeVar("Report", bound=Hashable)

# As in NVIDIA's Fabric Manager user guide: "SXid (PCI:0000:06:00.0): 20034, Fatal, Link 30 LTSSM Fault Up".
_SXID = re.compile(r"SXid \(PCI:([0-9a-fA-F:.]+)\): ([0-9]{1,6})(?:, *(Fatal|Non-fatal))?,? *(.*)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SwitchError:
    """What an NVSwitch reported: its address, the number, whether it is fatal to its links, the driver's words."""

    address: str
    number: int
    is_fatal: bool
    text: str = ""


def parse_switch_errors(text: str) -> tuple[SwitchError, ...]:
    """Every SXid of a kernel log, oldest first."""
    found = (_SXID.search(line.strip()) for line in text.splitlines())
    return tuple(
        SwitchError(one[1].lower(), int(one[2]), (one[3] or "").lower() == "fatal", one[4][:160])
        for one in found
        if one
    )


def fresh(before: Iterable[Report], after: Iterable[Report]) -> tuple[Report, ...]:
    """Reports of the later log that the earlier one has not: the same line twice is two reports."""
    known = Counter(before)
    found = []
    for one in after:
        if known[one]:
            known[one] -= 1
        else:
            found.append(one)
    return tuple(found)
