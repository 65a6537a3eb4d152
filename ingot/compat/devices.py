"""Which architecture an NVIDIA PCI device id belongs to; ids, never marketing names, decide."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cache
from importlib.resources import files

NVIDIA_VENDOR = 0x10DE


class Architecture(IntEnum):
    """GPU generations in order of age, so that "Turing and newer" is `>= Architecture.TURING`."""

    FERMI = 1
    KEPLER = 2
    MAXWELL = 3
    PASCAL = 4
    VOLTA = 5
    TURING = 6
    AMPERE = 7
    ADA = 8
    HOPPER = 9
    BLACKWELL = 10
    UNKNOWN = 99

    def __str__(self) -> str:
        return self.name.capitalize()


class Kind(StrEnum):
    """The kind of device that an NVIDIA id belongs to; only GPUs compute."""

    GPU = "gpu"
    NVSWITCH = "nvswitch"


@dataclass(frozen=True, slots=True)
class Device:
    """One NVIDIA device id. `name` is for people to read; nothing is decided by it."""

    device_id: int
    architecture: Architecture
    name: str
    kind: Kind = Kind.GPU

    @property
    def label(self) -> str:
        """How a sentence names it: `A10G [10de:2237]`."""
        return f"{self.name} [10de:{self.device_id:04x}]"

    @property
    def is_data_center(self) -> bool:
        """Whether CUDA's forward compatibility covers it; a card that no table knows is not assumed to be."""
        return self.device_id in table() and not any(word in self.name for word in _CONSUMER)


# Words by which pci.ids marks cards that are not for data centers.
_CONSUMER = ("GeForce", "TITAN", "Mobile", "Laptop", " MX")


# Switch chips that sit on the host's PCI bus (HGX-2, HGX A100, HGX H100/H200); later ones do not.
# Source: pci.ids and gpu-driver-container's _assert_nvswitch_system, read 2026-11-22.
NVSWITCHES = {
    0x1AC2: Device(0x1AC2, Architecture.VOLTA, "V100 NVSwitch", Kind.NVSWITCH),
    0x1AF1: Device(0x1AF1, Architecture.AMPERE, "A100 NVSwitch", Kind.NVSWITCH),
    0x22A3: Device(0x22A3, Architecture.HOPPER, "H100 NVSwitch", Kind.NVSWITCH),
}

# Newer than the table. Source: NVIDIA's open-gpu-kernel-modules list of supported GPUs, read 2026-11-22.
LATER_DEVICES = {
    0x2909: Device(0x2909, Architecture.BLACKWELL, "B200"),
    0x2E12: Device(0x2E12, Architecture.BLACKWELL, "GB10"),
    0x3182: Device(0x3182, Architecture.BLACKWELL, "B300"),
    0x31C2: Device(0x31C2, Architecture.BLACKWELL, "GB300"),
}

# An id that no table knows still falls into its generation's range.
# Source: the ranges of pci.ids checked against NVIDIA's open-module table, 2026-11-22. First match wins.
RANGES = (
    (0x06C0, 0x0F06, Architecture.FERMI),
    (0x0FA0, 0x103F, Architecture.KEPLER),
    (0x1040, 0x1140, Architecture.FERMI),
    (0x1180, 0x11FF, Architecture.KEPLER),
    (0x1200, 0x1251, Architecture.FERMI),
    (0x1280, 0x130B, Architecture.KEPLER),
    (0x15C2, 0x15FF, Architecture.PASCAL),
    (0x1725, 0x172F, Architecture.PASCAL),
    (0x1340, 0x17FD, Architecture.MAXWELL),
    (0x1B00, 0x1D56, Architecture.PASCAL),
    (0x1D81, 0x1DF6, Architecture.VOLTA),
    (0x1E02, 0x1FF9, Architecture.TURING),
    (0x2080, 0x20FF, Architecture.AMPERE),
    (0x2182, 0x21D1, Architecture.TURING),
    (0x2200, 0x223F, Architecture.AMPERE),
    (0x2302, 0x23F0, Architecture.HOPPER),
    (0x2414, 0x25FB, Architecture.AMPERE),
    (0x2681, 0x28F8, Architecture.ADA),
    (0x2900, 0x2FFF, Architecture.BLACKWELL),
    # GB110 and GB112. Source: NVIDIA/gpu-admin-tools, read 2026-11-28.
    (0x3180, 0x31FF, Architecture.BLACKWELL),
    (0x3200, 0x327F, Architecture.BLACKWELL),
    (0x3340, 0x3340, Architecture.BLACKWELL),
)


@cache
def table() -> dict[int, Device]:
    """Every device id known by name: the packaged pci.ids extract, switches marked, later ids added."""
    lines = files("ingot.compat").joinpath("devices.tsv").read_text(encoding="utf-8").splitlines()
    known: dict[int, Device] = {}
    for line in lines:
        if line and not line.startswith("#"):
            device_id, architecture, name = line.split("\t")
            number = int(device_id, 16)
            known[number] = Device(number, Architecture[architecture.upper()], name)
    return known | LATER_DEVICES | NVSWITCHES


def lookup(device_id: int) -> Device:
    """The device of an NVIDIA PCI id; one no table knows gets its range's architecture, else UNKNOWN."""
    known = table().get(device_id)
    if known:
        return known
    for first, last, architecture in RANGES:
        if first <= device_id <= last:
            return Device(device_id, architecture, f"NVIDIA {architecture} GPU")
    return Device(device_id, Architecture.UNKNOWN, "NVIDIA GPU unknown to Ingot")
