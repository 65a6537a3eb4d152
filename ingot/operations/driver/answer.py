"""What `ingot plan` says about the driver: which one, why, or why none can be right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingot.catalog import load_gpus
from ingot.catalog.pci import device_of
from ingot.compat import Card, Decision, DriverRequest, Machine, Refused, decide
from ingot.sizing import Hardware

#: What is taken for granted where only GPUs are named.
ASSUMED = "for Debian 13 without Secure Boot and with nothing installed"
#: Boards of eight that are joined by switches on the PCI bus, by their GPU: HGX A100 has six, HGX H100 and H200 four.
A100_SWITCHES, H100_SWITCHES = (Card(0x1AF1),) * 6, (Card(0x22A3),) * 4
SWITCHED = {0x20B0: A100_SWITCHES, 0x20B2: A100_SWITCHES} | dict.fromkeys(
    (0x2329, 0x232C, 0x2330, 0x2335), H100_SWITCHES
)
BOARD = 8


@dataclass(frozen=True)
class DriverAnswer:
    """The driver of one host, or the refusal; `assumed` says what was not looked at."""

    host: str
    decision: Decision | None = None
    refusal: Refused | None = None
    assumed: str | None = None

    def lines(self) -> tuple[str, ...]:
        """The decision, then one line per reason."""
        assumed = f" ({self.assumed})" if self.assumed else ""
        if self.refusal is not None:
            return (f"driver: none{assumed}: {self.refusal} ({self.refusal.rule.source})",)
        assert self.decision is not None
        version = self.decision.version or f"newest of branch {self.decision.branch}"
        fabric = f", {self.decision.fabric}" if self.decision.fabric != "none" else ""
        said = f"driver: {version}, {self.decision.flavour} modules, from {self.decision.source}{fabric}{assumed}"
        return (said, *(f"  {reason}" for reason in self.decision.explain()))

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON-able values."""
        if self.refusal is not None:
            rule = self.refusal.rule
            return {"refused": str(self.refusal), "rule": rule.name, "source": rule.source, "assumed": self.assumed}
        assert self.decision is not None
        chosen = self.decision.packages
        return {
            "branch": self.decision.branch,
            "version": self.decision.version,
            "flavour": self.decision.flavour,
            "source": self.decision.source,
            "packages": [*chosen.driver, *chosen.companions, *chosen.tools],
            "fabric": self.decision.fabric,
            "activation": self.decision.activation,
            "minimum_toolkit": self.decision.minimum_toolkit,
            "reasons": list(self.decision.explain()),
            "assumed": self.assumed,
        }


def answer(host: str, machine: Machine, request: DriverRequest, assumed: str | None = None) -> DriverAnswer:
    """The driver of a machine."""
    try:
        return DriverAnswer(host, decide(machine, request), assumed=assumed)
    except Refused as refusal:
        return DriverAnswer(host, refusal=refusal, assumed=assumed)


def by_name(hardware: Hardware, request: DriverRequest) -> DriverAnswer | None:
    """The driver of GPUs that are known by name only; None where one of them has no device id in the catalog."""
    keys = {known.name: key for key, known in load_gpus().items()}
    devices = [device_of(keys.get(gpu.name, "")) for gpu in hardware.ordered]
    known = tuple(Card(device) for device in devices if device is not None)
    if not known or len(known) < len(devices):
        return None
    machine = Machine(known, nvswitches=SWITCHED.get(known[0].device_id, ()) if len(known) == BOARD else ())
    return answer(hardware.host, machine, request, ASSUMED)
