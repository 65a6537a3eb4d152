"""What a decision is made from: the machine as it was found, and what its owner asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Flavour(StrEnum):
    """The two builds of the kernel module."""

    OPEN = "open"
    PROPRIETARY = "proprietary"


class Source(StrEnum):
    """Where the driver's packages come from."""

    NVIDIA = "nvidia"
    UBUNTU = "ubuntu"
    DEBIAN = "debian"


class Fabric(StrEnum):
    """What must run beside the driver so that NVLink through switches works."""

    NONE = "none"
    FABRIC_MANAGER = "fabric-manager"
    FABRIC_MANAGER_NVLINK5 = "fabric-manager+nvlsm"
    IMEX = "imex"


@dataclass(frozen=True, slots=True)
class Image:
    """What the engine's image asks of a driver: its CUDA version and the oldest capability it has code for.

    `compat_libraries`: it carries CUDA's forward-compatibility libraries (data center GPUs only).
    """

    name: str
    cuda: tuple[int, int] | None
    minimum_capability: tuple[int, int] = (7, 5)
    compat_libraries: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU or switch on the bus, by id; `driver` is the kernel driver that holds it."""

    device_id: int
    driver: str | None = None
    virtual: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """A host before anything changes. Versions as the host prints them; None where there is none.

    `nvlink5_bridge`: whether the host sees a bridge that manages NVLink 5 switches; None where nobody looked (a machine
    that is planned, an old recording).
    `partial`: its owner names the GPUs that Ingot may use, so that others may belong to virtual machines.
    """

    gpus: tuple[Card, ...]
    nvswitches: tuple[Card, ...] = ()
    os_id: str = "debian"
    os_version: str = "13"
    arch: str = "x86_64"
    kernel: str = ""
    newer_kernel: str | None = None
    kernel_metas: tuple[str, ...] = ()
    secure_boot: bool = False
    console: bool = False
    jetson: bool = False
    nvlink5_bridge: bool | None = None
    running_driver: str | None = None
    running_flavour: Flavour | None = None
    nouveau_loaded: bool = False
    partial: bool = False


@dataclass(frozen=True, slots=True)
class DriverRequest:
    """What the owner set: a branch or an exact version, and where Ingot may not choose for itself."""

    branch: int = 580
    version: str | None = None
    flavour: Flavour | None = None
    source: Source | None = None
    fabric: Fabric | None = None
    image: Image | None = None


def version_key(text: str) -> tuple[int, ...]:
    """A driver or package version as numbers for comparison: `580.95.05-1` is (580, 95, 5)."""
    upstream = text.partition(":")[2] or text
    return tuple(int(part) for part in re.findall(r"[0-9]+", upstream.partition("-")[0])[:4])
