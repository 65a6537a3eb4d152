"""Xids and SXids: what the NVIDIA driver writes to the kernel's log when a GPU, a switch or a program fails."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

#: The driver's own lines of the kernel's log since boot; the newest are enough, since a broken GPU repeats itself.
QUESTION = "dmesg 2>/dev/null | grep -E 'NVRM: Xid|SXid \\(' | tail -n 50; true"

# The address is printed with and without "PCI:" and the function, by drivers since 340; an instance follows it (MIG).
_XID = re.compile(
    r"NVRM: Xid \((?:PCI:)?([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-7])?)(?: [^)]*)?\): ([0-9]{1,4}),?\s*(.*)$",
    re.IGNORECASE,
)
# As in NVIDIA's Fabric Manager user guide: "SXid (PCI:0000:06:00.0): 20034, Fatal, Link 30 LTSSM Fault Up".
_SXID = re.compile(r"SXid \((?:PCI:)?([0-9a-f:.]+)\): ([0-9]{1,6})(?:, *(Fatal|Non-fatal))?,? *(.*)$", re.IGNORECASE)
# Xid 154: "GPU recovery action changed from 0x0 (None) to 0x4 (Drain and Reset)".
_RECOVERY = re.compile(r"recovery action changed\b.*\bto\b[^(]*\(([^)]*)\)", re.IGNORECASE)


class Action(StrEnum):
    """What NVIDIA's Xid catalog asks for at once."""

    RESET = "reset"
    DRAIN_AND_RESET = "drain and reset"
    DRAIN_LINKS = "drain p2p"
    REBOOT = "reboot"
    POWER_CYCLE = "power-cycle"
    RESET_LINKED = "reset linked"
    CHECK_POWER = "check power"
    RESTART_VM = "restart vm"

    @property
    def is_fatal(self) -> bool:
        """Whether the GPU computes nothing right until this was done."""
        return self not in (Action.DRAIN_LINKS, Action.CHECK_POWER)


def next_command(action: Action, gpu: str = "<index>") -> str:
    """What the operator does next; `gpu` is what `nvidia-smi -i` takes: an index, a UUID or a PCI address."""
    reset = f"`nvidia-smi --gpu-reset -i {gpu}`"
    return {
        Action.RESET: f"stop what uses the GPU and reset it ({reset}), or reboot the host",
        Action.DRAIN_AND_RESET: f"let what runs on the GPU end, start nothing new on it, then reset it ({reset})",
        Action.DRAIN_LINKS: "stop the programs that use it together with other GPUs; others may go on",
        Action.REBOOT: "let what runs on the GPU end and reboot the host",
        Action.POWER_CYCLE: "power-cycle the host; if it returns, have the card, its power and its riser checked",
        Action.RESET_LINKED: (
            "stop what uses the GPUs and reset those that NVLink joins (`nvidia-smi --gpu-reset`), or reboot the "
            "host; if it returns, have the bridge or the baseboard checked"
        ),
        Action.CHECK_POWER: "shut the host down and check the power cables of the GPU",
        Action.RESTART_VM: "restart the virtual machine that has the GPU, or reboot the host",
    }[action]


_AGAIN = "; if it returns, have the card replaced"
#: Numbers that need a person: what was found, and NVIDIA's immediate action. All others are a program's, or pass.
#: Source: NVIDIA's Xid catalog, docs.nvidia.com/deploy/xid-errors, as of October 2025.
CATALOG: dict[int, tuple[str, Action]] = {
    46: ("the GPU stopped processing", Action.RESET),
    48: ("an uncorrectable memory error", Action.RESET),
    54: ("its auxiliary power is not connected", Action.CHECK_POWER),
    62: ("its microcontroller stopped", Action.RESET),
    64: (f"a memory row could not be retired{_AGAIN}", Action.RESET),
    74: ("an NVLink error", Action.RESET_LINKED),
    79: ("the GPU fell off the bus", Action.POWER_CYCLE),
    95: ("an uncontained memory error", Action.RESET),
    109: ("a context switch timed out", Action.RESET),
    110: ("a security fault", Action.RESET),
    119: ("its GSP does not answer", Action.RESET),
    120: ("its GSP failed", Action.RESET),
    136: ("its NVLink could not be trained", Action.RESET),
    140: ("an unrecovered memory error", Action.RESET),
    143: ("the GPU could not be initialised", Action.RESET),
    144: ("an NVLink error (SAW)", Action.RESET_LINKED),
    145: ("an NVLink error (RLW)", Action.RESET_LINKED),
    146: ("an NVLink error (TLW)", Action.RESET_LINKED),
    147: ("an NVLink error (TREX)", Action.RESET_LINKED),
    148: ("an NVLink error (NVLPW_CTRL)", Action.RESET_LINKED),
    149: ("an NVLink failed (NETIR)", Action.RESET_LINKED),
    150: ("an NVLink error (MSE)", Action.RESET_LINKED),
    151: ("the rotation of its encryption keys failed", Action.RESTART_VM),
    155: ("an NVLink went down", Action.RESET),
    156: ("a faulty part of the GPU was retired, which takes effect with a reset", Action.RESET),
    158: ("a timeout that it does not recover from", Action.RESET),
    167: ("a PCIe timeout that it does not recover from", Action.REBOOT),
    169: (
        "its security processor halted, so that the GPU does not initialise (a Blackwell GPU under the proprietary "
        "modules does so: it needs the open ones)",
        Action.RESET,
    ),
}
#: What the catalog decides by the rest of the line: an NVLink 5 error says itself whether it is fatal.
NVLINK5 = frozenset(range(144, 151))
#: Reports that name the action of the Xids before them.
RECOVERY_CHANGED = 154

#: How the driver writes an action, in Xid 154 and in `gpu_recovery_action`. Source: the catalog's note on Xid 154 and
#: nvmlDeviceGpuRecoveryAction in NVML's header.
RECOVERY_ACTIONS = {
    "gpu reset required": Action.RESET,
    "gpu reset": Action.RESET,
    "reset": Action.RESET,
    "node reboot required": Action.REBOOT,
    "node reboot": Action.REBOOT,
    "reboot": Action.REBOOT,
    "drain p2p": Action.DRAIN_LINKS,
    "drain and reset": Action.DRAIN_AND_RESET,
}


def recovery(text: str | None) -> Action | None:
    """The action that the driver asks for by its own words; None for `None`, `N/A` and words it never used before."""
    return RECOVERY_ACTIONS.get((text or "").strip().lower())


@dataclass(frozen=True, slots=True)
class Xid:
    """One report: the GPU's PCI address as printed, the number, and the driver's words."""

    address: str
    number: int
    text: str = ""

    @property
    def action(self) -> Action | None:
        """What has to be done, None where nobody needs to act."""
        if self.number == RECOVERY_CHANGED:
            changed = _RECOVERY.search(self.text)
            return recovery(changed.group(1)) if changed else None
        if self.number in NVLINK5 and re.search(r"\bnon-?fatal\b", self.text, re.IGNORECASE):
            return None
        entry = CATALOG.get(self.number)
        return entry[1] if entry else None

    @property
    def meaning(self) -> str | None:
        """What it means and what to do, None where nobody needs to act."""
        action = self.action
        if action is None:
            return None
        if self.number == RECOVERY_CHANGED:
            changed = _RECOVERY.search(self.text)
            found = f"the driver asks for: {changed.group(1)}" if changed else ""
        else:
            found = CATALOG[self.number][0]
        # Drivers leave the function out; nvidia-smi wants it.
        address = self.address if "." in self.address else f"{self.address}.0"
        return f"{found}; {next_command(action, address)}"


@dataclass(frozen=True, slots=True)
class SwitchError:
    """What an NVSwitch reported: its address, the number, whether it is fatal to its links, the driver's words."""

    address: str
    number: int
    is_fatal: bool
    text: str = ""

    @property
    def meaning(self) -> str | None:
        """What it means and what to do, None where nobody needs to act."""
        if not self.is_fatal:
            return None
        return (
            "a fatal NVSwitch error; stop what uses the GPUs and reboot the host, which resets GPUs and switches; if "
            "it returns, have the baseboard checked"
        )


#: SXids that are fatal whatever the line says. Source: NVIDIA's Fabric Manager user guide, "Always fatal".
ALWAYS_FATAL = frozenset({12020, 22003, 22011, *range(23001, 23018)})


def parse_xids(text: str) -> tuple[Xid, ...]:
    """Every Xid of a kernel log, oldest first; lines that are none are passed over."""
    found = (_XID.search(line.strip()) for line in text.splitlines())
    return tuple(
        Xid(match.group(1).lower(), int(match.group(2)), match.group(3)[:160].strip()) for match in found if match
    )


def parse_switch_errors(text: str) -> tuple[SwitchError, ...]:
    """Every SXid of a kernel log, oldest first; the lines of raw data that follow one are no reports of their own."""
    found = []
    for line in text.splitlines():
        match = _SXID.search(line.strip())
        if match is None or re.match(r"(Data|Severity) ", match[4]):
            continue
        number = int(match[2])
        is_fatal = (match[3] or "").lower() == "fatal" or number in ALWAYS_FATAL
        found.append(SwitchError(match[1].lower(), number, is_fatal, match[4][:160]))
    return tuple(found)
