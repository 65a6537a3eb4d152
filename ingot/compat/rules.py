"""What NVIDIA, Canonical and Debian support, as dated data: every rule names where it was read."""

from __future__ import annotations

from dataclasses import dataclass

from ingot.compat.devices import Architecture, Device

#: When these rules were last compared with their sources.
CHECKED = "2026-11-28"

_BRANCH_TABLE = "docs.nvidia.com/datacenter/tesla/drivers supported-drivers-and-cuda-toolkit-versions (2026-09-09)"
_KERNEL_MODULES = "docs.nvidia.com/datacenter/tesla/driver-installation-guide kernel-modules"
_UNIX_DEPRECATION = "NVIDIA Unix driver deprecation schedule: release 580 is the last for Maxwell, Pascal and Volta"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name in messages, and where it was read."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Branch:
    """One driver branch. `floor` is the first version without the vulnerabilities of bulletin 5821 (May 2026)."""

    number: int
    kind: str
    ended: str | None
    cuda_major: int
    oldest: Architecture
    proprietary: bool
    floor: str | None = None


#: Branches Ingot knows. `ended` is set where NVIDIA no longer fixes the branch.
BRANCHES = {
    branch.number: branch
    for branch in (
        Branch(535, "long-term", "June 2026", 12, Architecture.MAXWELL, True, "535.309.01"),
        Branch(550, "production", "2025", 12, Architecture.MAXWELL, True),
        Branch(570, "production", "February 2026", 12, Architecture.MAXWELL, True),
        Branch(580, "long-term", None, 13, Architecture.MAXWELL, True, "580.159.03"),
        Branch(590, "new feature", "2026", 13, Architecture.TURING, True),
        Branch(595, "production", None, 13, Architecture.TURING, True, "595.71.05"),
        Branch(610, "new feature", "August 2026", 13, Architecture.TURING, True),
        Branch(615, "new feature", None, 13, Architecture.TURING, False),
        Branch(620, "new feature", None, 13, Architecture.TURING, False),
    )
}

BRANCH_ENDED = Rule("branch ended", _BRANCH_TABLE)
BRANCH_UNKNOWN = Rule("branch unknown", _BRANCH_TABLE)
LAST_FOR_OLD = Rule("last branch of the architecture", _UNIX_DEPRECATION)
OPEN_NEEDS_GSP = Rule("open modules need a GSP (Turing and newer)", _KERNEL_MODULES)
OPEN_ONLY = Rule("only the open modules drive this GPU", _KERNEL_MODULES)
NO_PROPRIETARY = Rule("no proprietary modules from 615", "615.71.09 data center driver release notes")
TOO_OLD = Rule("architecture without a supported driver", _UNIX_DEPRECATION)
MIXED = Rule("no driver serves both", _KERNEL_MODULES)
MIN_BRANCH = Rule("first branch of the GPU", "open-gpu-kernel-modules, list of supported GPUs")
VULNERABLE = Rule("driver below the security floor", "NVIDIA security bulletin 5821 (May 2026)")
SECURE_BOOT = Rule(
    "Secure Boot accepts signed modules only",
    "a DKMS module's key is enrolled in MokManager at the console (mokutil(1)); Ubuntu signs its own modules",
)
PLATFORM = Rule("supported platforms", "docs/driver.md: Ubuntu 22.04, 24.04, 26.04 and Debian 12, 13")
ARCHITECTURE = Rule("supported processors", "NVIDIA's repositories carry x86_64 and sbsa (arm64 servers)")
JETSON = Rule("Jetson has its own driver", "NVIDIA Jetson Linux: the GPU is not on PCI and JetPack carries its driver")
VGPU = Rule("a virtual GPU needs NVIDIA's licensed guest driver", "NVIDIA vGPU software documentation")
PASSTHROUGH = Rule("a GPU bound to vfio-pci belongs to a virtual machine", "Linux vfio documentation")
NO_GPU = Rule("an inference host has a GPU", "PCI vendor 10de, display classes 0300, 0302 and 0380")
IMAGE_CUDA = Rule("CUDA major of image and driver", "docs.nvidia.com/deploy/cuda-compatibility")
IMAGE_ARCH = Rule("architectures of the image", "CUDA 13.0 release notes: Maxwell, Pascal and Volta removed")
FABRIC = Rule(
    "NVSwitch boards need a fabric manager of exactly the driver's version", "NVIDIA Fabric Manager user guide"
)
NVLINK5 = Rule("NVLink 5 boards need nvlsm beside the fabric manager", "NVIDIA Fabric Manager user guide, HGX B200")
FABRIC_VALUE = Rule("the owner names what joins the GPUs", "driver_fabric of the host's values")
NVLINK5_BRIDGE = Rule(
    "the bridge that manages NVLink 5 switches has SW_MNG in its vital product data",
    "NVIDIA/gpu-driver-container _assert_nvlink5_system; NVIDIA/nccl-tests #260 (read 2026-11-28)",
)
IMEX = Rule("rack-scale NVLink needs IMEX, not a fabric manager", "NVIDIA IMEX documentation, GB200 NVL72")
TOOLKIT_FLOOR = Rule("container toolkit below the security floor", "CVE-2026-24260; CVE-2025-23266 and earlier")
DEBIAN_BRANCH = Rule("Debian's own driver is of an ended branch", "Debian archive: 535 in Debian 12, 550 in Debian 13")
DEBIAN_OPEN = Rule(
    "Debian 12's open modules are older than its libraries",
    "Debian archive, read 2026-11-23: nvidia-open-kernel-dkms 535.261.03 beside nvidia-smi 535.309.01",
)
ACTIVATION = Rule(
    "a reboot only where loading the module is not enough",
    "NVIDIA gpu-driver-container and k8s-driver-manager, which load and unload in place",
)
SIGNED_KERNEL = Rule(
    "Ubuntu's modules are for its newest kernel",
    "dependencies of linux-modules-nvidia-580-server-open-* in Ubuntu's archive (restricted), read 2026-11-23",
)
SOURCE = Rule(
    "driver sources",
    "NVIDIA driver installation guide; Ubuntu server guide; Debian wiki NvidiaGraphicsDrivers",
)

#: Grace Hopper: the open modules alone drive these ids; both flavours drive other Hopper GPUs. Source: kernel-modules.
GRACE_HOPPER = frozenset({0x2342, 0x2343, 0x2345, 0x2348})

#: First public driver that drives an id, where it is later than its architecture's first branch.
#: Source: README of NVIDIA/open-gpu-kernel-modules by tag, read 2026-11-28.
FIRST_DRIVER = {
    0x2BB5: "575.57.08",
    0x2B8C: "580",
    0x2BB2: "580.95.05",
    0x2BB9: "580.82.07",
    0x2BBC: "580",
    0x2C3A: "580.142",
    0x2E12: "580",
}
#: The same for ids of one chip (GB110 and GB112: B300, GB300 and their kin).
FIRST_DRIVER_OF_RANGE = ((0x3180, 0x327F, "580"),)
FIRST_BRANCH_OF_ARCHITECTURE = {
    Architecture.BLACKWELL: 570,
    Architecture.HOPPER: 535,
    Architecture.ADA: 535,
}


def first_driver(device: Device) -> str:
    """The first driver of a device: a branch ("580") or an exact version ("580.142"); "0" where every branch does."""
    exact = FIRST_DRIVER.get(device.device_id)
    ranged = next((driver for low, high, driver in FIRST_DRIVER_OF_RANGE if low <= device.device_id <= high), None)
    return exact or ranged or str(FIRST_BRANCH_OF_ARCHITECTURE.get(device.architecture, 0))


@dataclass(frozen=True, slots=True)
class Unbuildable:
    """A branch whose versions up to `last` do not build against kernels from `kernel` on."""

    branch: int
    last: str
    kernel: tuple[int, int]


#: Source: Frogging-Family/nvidia-all #379 (read 2026-11-28).
UNBUILDABLE = (Unbuildable(580, "580.119.02", (7, 0)),)
KERNEL_TOO_NEW = Rule("a driver older than the kernel does not build against it", "Frogging-Family/nvidia-all #379")

#: HGX boards whose NVLink 5 switches are not on PCI.
NVLINK5_BOARDS = frozenset({0x2901, 0x2909, 0x3182})
#: Compute trays of rack-scale systems: the switches sit in their own trays.
RACK_SCALE = frozenset({0x2941, 0x31C2})

#: Lowest container toolkit Ingot installs.
TOOLKIT_MINIMUM = "1.19.1"

DEFAULT_BRANCH = 580

#: Driver branches in Debian's archive (non-free), by release.
DEBIAN_ARCHIVE = {"12": 535, "13": 550}

#: os-release ID and VERSION_ID that Ingot supports, and their names in NVIDIA's repository.
PLATFORMS = {
    ("ubuntu", "22.04"): "ubuntu2204",
    ("ubuntu", "24.04"): "ubuntu2404",
    ("ubuntu", "26.04"): "ubuntu2604",
    ("debian", "12"): "debian12",
    ("debian", "13"): "debian13",
}

#: uname -m and its name in NVIDIA's repository.
MACHINES = {"x86_64": "x86_64", "aarch64": "sbsa"}
