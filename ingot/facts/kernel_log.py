"""The NVIDIA driver's lines of a kernel log or journal: Xids, SXids, and why GPUs do not come up."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingot.facts.smi_fault import Fault, GpuFault
from ingot.facts.xid import SwitchError, Xid, parse_switch_errors, parse_xids

#: What makes a text a kernel log of the driver.
IS_LOG = re.compile(r"NVRM: |SXid \(|nv-?fabricmanager\[|nvidia-fabricmanager|nvidia-nvswitch[0-9]+: |nvidia-modeset: ")

# A message runs over several lines, each with its own "NVRM: " and, in some recordings, its own stamp.
_PREFIX = re.compile(r"^.*?NVRM:\s*")
_MESSAGES: tuple[tuple[re.Pattern[str], Fault], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), fault)
    for pattern, fault in (
        # "API mismatch: the client has the version A, but this kernel module has the version B" (until 590), and
        # "API mismatch: the client 'name' (pid 1) has the version A, but this kernel module has the version B".
        (r"API mismatch:.{0,120}?version \S+?,? but this kernel module has the version [0-9.]+[0-9]", Fault.MISMATCH),
        (r"API mismatch", Fault.MISMATCH),
        (r"fabric ?manager.*version \S+ do(n['\u2019]t| not|es not) match[^.]*(\.[0-9]+)*", Fault.FABRIC_MISMATCH),
        (r"The NVIDIA GPU \S+ \(PCI ID: \S+\) installed in this system is not supported by open nvidia\.ko",
         Fault.WRONG_FLAVOUR),
        (r"not supported by open nvidia\.ko", Fault.WRONG_FLAVOUR),
        (r"requires use of the NVIDIA open kernel modules", Fault.WRONG_FLAVOUR),
        (r"The NVIDIA .{0,90}?installed in this system is (not supported|supported through).{0,60}", Fault.UNSUPPORTED),
        (r"is already bound to (nouveau|nova|vfio-pci)", Fault.HELD_BY_ANOTHER),
        (r"[^\n]{0,80}NV_WARN_NOTHING_TO_DO", Fault.NO_SWITCH),
        (r"NVIDIA probe routine was not called for [0-9]+ device", Fault.HELD_BY_ANOTHER),
        (r"GPU \S+ RmInitAdapter failed! \([^)]*\)", Fault.NOT_INITIALISED),
        (r"RmInitAdapter: Cannot initialize GSP firmware RM|RmInitAdapter failed", Fault.NOT_INITIALISED),
        (r"Reset required \[NV_ERR_RESET_REQUIRED\]|NV_ERR_RESET_REQUIRED|GPU requires (a )?reset", Fault.NEEDS_RESET),
        (r"GPU has fallen off the bus", Fault.LOST),
        (r"GPU is lost", Fault.LOST),
        (r"No NVIDIA GPU found", Fault.NO_DEVICES),
        (r"PCI I/O region assigned to your NVIDIA device is invalid.{0,60}", Fault.NO_DEVICES),
        (r"Loading of (unsigned )?module is rejected|module is unavailable.{0,40}locked down", Fault.NOT_LOADED),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class KernelLog:
    """What the driver's lines report: Xids and SXids oldest first, and each kind of fault once."""

    xids: tuple[Xid, ...] = ()
    switch_errors: tuple[SwitchError, ...] = ()
    faults: tuple[GpuFault, ...] = ()


def parse_kernel_log(text: str) -> KernelLog:
    """The driver's lines of a log; all others are passed over."""
    joined = _joined(text)
    faults: dict[Fault, GpuFault] = {}
    for pattern, kind in _MESSAGES:
        match = pattern.search(joined)
        if match and kind not in faults and not _is_told_by_xid(kind, joined):
            faults[kind] = GpuFault(kind, match.group(0)[:200])
    xids = parse_xids(text)
    return KernelLog(xids, parse_switch_errors(text), tuple(faults.values()))


def _joined(text: str) -> str:
    """The driver's messages with their continuation lines put together."""
    lines = []
    for line in text.splitlines():
        if "NVRM:" in line:
            lines.append(_PREFIX.sub("", line).strip())
        else:
            lines.append(line.strip() + "\n")
    return re.sub(r" +", " ", " ".join(lines))


def _is_told_by_xid(kind: Fault, text: str) -> bool:
    """A GPU that fell off the bus is Xid 79 already."""
    return kind is Fault.LOST and bool(re.search(r"Xid \([^)]*\): 79\b", text))
