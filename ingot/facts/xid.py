"""Xids: what the NVIDIA driver reports to the kernel's log when a GPU, or a program on it, fails."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: The driver's own lines of the kernel's log since boot; the newest are enough, since a broken GPU repeats itself.
QUESTION = "dmesg 2>/dev/null | grep 'NVRM: Xid' | tail -n 50; true"

# The address is printed with and without "PCI:" and the function, by drivers since 340; an instance follows it (MIG).
_XID = re.compile(
    r"NVRM: Xid \((?:PCI:)?([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-7])?)(?: [^)]*)?\): ([0-9]{1,4}),?\s*(.*)$",
    re.IGNORECASE,
)

#: Numbers that need a person, and what to do; all others are a program's or pass. Source: NVIDIA's Xid catalog,
#: docs.nvidia.com/deploy/xid-errors, read 2026-11-22.
SEVERE = {
    48: "an uncorrectable memory error; reset the GPU or reboot",
    62: "its microcontroller stopped; reset the GPU or reboot",
    64: "a memory row could not be retired; reset the GPU, and have it replaced if it returns",
    74: "an NVLink error; check the bridge or the baseboard, reset the GPUs",
    79: "the GPU fell off the bus; power-cycle the host, check card, power and riser",
    95: "an uncontained memory error; reset the GPU or reboot",
    119: "its GSP does not answer; power-cycle the host",
    120: "its GSP failed; reset the GPU or reboot",
    140: "an unrecovered memory error; reset the GPU or reboot",
    149: "an NVLink failed; reset the GPUs, and have the baseboard checked if it returns",
}


@dataclass(frozen=True, slots=True)
class Xid:
    """One report: the GPU's PCI address as printed, the number, and the driver's words."""

    address: str
    number: int
    text: str = ""

    @property
    def meaning(self) -> str | None:
        """What it means and what to do, None where nobody needs to act."""
        return SEVERE.get(self.number)


def parse_xids(text: str) -> tuple[Xid, ...]:
    """Every Xid of a kernel log, oldest first; lines that are none are passed over."""
    found = (_XID.search(line.strip()) for line in text.splitlines())
    return tuple(
        Xid(match.group(1).lower(), int(match.group(2)), match.group(3)[:160].strip()) for match in found if match
    )
