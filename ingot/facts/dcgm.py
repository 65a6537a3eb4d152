"""NVIDIA's DCGM exporter on a host: whether it is there, whose it is, and whether apt could install it."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from ingot.facts.sections import compose, split

PACKAGE = "datacenter-gpu-manager-exporter"
UNIT = "nvidia-dcgm-exporter"
#: Ingot's unit in place of the package's: while it is there, the package is Ingot's to remove.
UNIT_FILE = f"/etc/systemd/system/{UNIT}.service"


@dataclass(frozen=True, slots=True)
class Dcgm:
    """One look. `ours`: Ingot's unit is there; `available`: apt knows a version; `device_ids`: NVIDIA's PCI devices."""

    installed: bool = False
    ours: bool = False
    available: bool = False
    device_ids: tuple[int, ...] = ()


class DcgmLook(FactBase[Dcgm]):
    """The exporter's package and unit, and the GPUs on the PCI bus.

    Returns: Dcgm(installed=False, ours=False, available=True, device_ids=(0x2237,))
    """

    def command(self) -> str:
        return compose(
            {
                "installed": f"dpkg-query -W -f='${{db:Status-Abbrev}}' {PACKAGE} 2>/dev/null | grep -q '^.i'",
                "ours": f"grep -q '^# Written by Ingot' {UNIT_FILE} 2>/dev/null",
                "available": f"apt-cache policy {PACKAGE} | grep -q 'Candidate: [0-9]'",
                "devices": "for d in /sys/bus/pci/devices/*; do grep -qsx 0x10de $d/vendor && cat $d/device; done",
            }
        )

    @staticmethod
    def default() -> Dcgm:
        return Dcgm()

    def process(self, output: list[str]) -> Dcgm:
        found = split(output)
        return Dcgm(
            installed=found["installed"].status == 0,
            ours=found["ours"].status == 0,
            available=found["available"].status == 0,
            device_ids=tuple(int(word, 16) for word in found["devices"].output.split()),
        )
