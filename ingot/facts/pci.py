"""NVIDIA devices on the PCI bus, from sysfs or from lspci: by vendor, device id and class, never by name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingot.compat.devices import NVIDIA_VENDOR, Device, Kind, lookup
from ingot.facts.errors import ParseError

# One line per NVIDIA function; `-` where the kernel has no such file. Display functions add their configuration
# space, in which a virtual GPU says what it is.
QUESTION = """for d in /sys/bus/pci/devices/*; do
  [ -e "$d/vendor" ] && read -r v < "$d/vendor" || continue
  [ "$v" = 0x10de ] || continue
  id=-; cl=-; sv=-; sd=-; nn=-; dr=-; cf=-
  [ -r "$d/device" ] && read -r id < "$d/device"
  [ -r "$d/class" ] && read -r cl < "$d/class"
  [ -r "$d/subsystem_vendor" ] && read -r sv < "$d/subsystem_vendor"
  [ -r "$d/subsystem_device" ] && read -r sd < "$d/subsystem_device"
  [ -r "$d/numa_node" ] && read -r nn < "$d/numa_node"
  [ -e "$d/driver" ] && dr=$(readlink "$d/driver") && dr=${dr##*/}
  case $cl in 0x03*) cf=$(od -An -v -tx1 -N256 "$d/config" 2>/dev/null | tr -d ' \\n');; esac
  echo "${d##*/} $v $id $cl $sv $sd $nn $dr ${cf:--}"
done; true"""

_ADDRESS = re.compile(r"^(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$", re.IGNORECASE)
_HEX = re.compile(r"^0x[0-9a-f]{1,6}$", re.IGNORECASE)

# Classes of PCI functions. A GPU's audio (0403), USB (0c03) and UCSI (0c80) functions compute nothing.
_VGA, _DISPLAY_3D, _DISPLAY_OTHER = 0x0300, 0x0302, 0x0380
_BRIDGES = (0x0680, 0x0604)


@dataclass(frozen=True, slots=True)
class PciDevice:
    """One NVIDIA PCI function; `class_code` is base class and subclass (0x0302 is a 3D controller)."""

    address: str
    device_id: int
    class_code: int
    subsystem: tuple[int, int] | None = None
    numa_node: int | None = None
    driver: str | None = None
    is_virtual: bool = False

    @property
    def device(self) -> Device:
        """What the device table knows about this id."""
        return lookup(self.device_id)

    @property
    def is_gpu(self) -> bool:
        """Whether it computes: a display class, and not the id of a switch."""
        return self.class_code in (_VGA, _DISPLAY_3D, _DISPLAY_OTHER) and self.device.kind is Kind.GPU

    @property
    def is_nvswitch(self) -> bool:
        """Whether it joins GPUs: drivers print switches as either kind of bridge, so the id decides."""
        return self.device.kind is Kind.NVSWITCH and self.class_code in _BRIDGES


@dataclass(frozen=True, slots=True)
class PciReading:
    """Every NVIDIA function of a host, in bus order."""

    functions: tuple[PciDevice, ...] = ()

    @property
    def gpus(self) -> tuple[PciDevice, ...]:
        """The GPUs."""
        return tuple(device for device in self.functions if device.is_gpu)

    @property
    def nvswitches(self) -> tuple[PciDevice, ...]:
        """The NVSwitches of the host (none on NVLink 5 boards, whose switches sit elsewhere)."""
        return tuple(device for device in self.functions if device.is_nvswitch)


def parse_sysfs(text: str) -> PciReading:
    """The lines of `QUESTION`.

    Raises: ParseError when a line is not one.
    """
    return PciReading(tuple(_sysfs(line) for line in text.splitlines() if line.strip()))


def _sysfs(line: str) -> PciDevice:
    cells = line.split()
    if len(cells) != 9 or not _ADDRESS.match(cells[0]):
        raise ParseError(f"a PCI line has {len(cells)} cells, expected 9 from the address on: {line[:80]!r}.")
    address, vendor, device, class_code, subvendor, subdevice, node, driver, config = cells
    if _hex(vendor) != NVIDIA_VENDOR:
        raise ParseError(f"{address} has vendor {vendor}, expected 0x10de.")
    numbers = (_hex(device), _hex(class_code))
    if numbers[0] is None or numbers[1] is None:
        raise ParseError(f"{address} has no readable device id or class: {line[:80]!r}.")
    subsystem = (_hex(subvendor), _hex(subdevice))
    return PciDevice(
        address.lower(),
        numbers[0],
        numbers[1] >> 8,
        (subsystem[0], subsystem[1]) if subsystem[0] is not None and subsystem[1] is not None else None,
        int(node) if re.match(r"^[0-9]{1,4}$", node) else None,
        None if driver == "-" else driver,
        is_vgpu(bytes.fromhex(config)) if re.match(r"^(?:[0-9a-f]{2})+$", config) else False,
    )


def is_vgpu(config: bytes) -> bool:
    """Whether a function's configuration space has NVIDIA's vGPU signature, "VF" in a vendor capability.

    Source: NVIDIA gpu-feature-discovery, which labels virtual GPUs by it.
    """
    has_capabilities = len(config) > _FIRST_CAPABILITY and config[_STATUS] & 0x10
    place = config[_FIRST_CAPABILITY] & 0xFC if has_capabilities else 0
    for _ in range(_MOST_CAPABILITIES):
        if place < 0x40 or place + 5 > len(config):
            return False
        if config[place] == _VENDOR_SPECIFIC and config[place + 3 : place + 5] == b"VF":
            return True
        place = config[place + 1] & 0xFC
    return False


# Offsets in PCI's configuration space. A list with more capabilities than fit into the space must be a loop.
_STATUS, _FIRST_CAPABILITY, _VENDOR_SPECIFIC, _MOST_CAPABILITIES = 0x06, 0x34, 0x09, 48


def _hex(text: str) -> int | None:
    return int(text, 16) if _HEX.match(text) else None


_LSPCI = re.compile(
    r"(?:^|\s)((?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\s+[^\[]*\[([0-9a-f]{4})\]:\s.*"
    r"\[([0-9a-f]{4}):([0-9a-f]{4})\](?:\s\(|\s*$)",
    re.IGNORECASE,
)
# `lspci -n` prints numbers only: class, then vendor and device.
_NUMBERS = re.compile(
    r"(?:^|\s)((?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\s+([0-9a-f]{4}):\s([0-9a-f]{4}):([0-9a-f]{4})(?:\s|$)",
    re.IGNORECASE,
)
_SUBSYSTEM = re.compile(r"^\s*Subsystem:(?:.*\[|\s)([0-9a-f]{4}):([0-9a-f]{4})(?:\]|\s*$)", re.IGNORECASE)
_IN_USE = re.compile(r"^\s*Kernel driver in use: (\S+)")


def is_lspci(text: str) -> bool:
    """Whether a line of the text is a PCI function as `lspci -nn` or `lspci -n` prints it."""
    return any(_LSPCI.search(line) or _NUMBERS.search(line) for line in text.splitlines())


def parse_lspci(text: str) -> PciReading:
    """The NVIDIA functions of `lspci -nn`, `-nnk` or `-n`, with or without `-D`.

    Raises: ParseError when no line is a PCI function.
    """
    found: list[PciDevice] = []
    seen = 0
    mine = False
    for line in text.splitlines():
        match = _LSPCI.search(line) or _NUMBERS.search(line)
        if match:
            seen += 1
            address, class_code, vendor, device = match.groups()
            mine = int(vendor, 16) == NVIDIA_VENDOR
            if mine:
                full = address if address.count(":") == 2 else f"0000:{address}"
                found.append(PciDevice(full.lower(), int(device, 16), int(class_code, 16)))
        elif mine and (subsystem := _SUBSYSTEM.match(line)):
            ids = (int(subsystem.group(1), 16), int(subsystem.group(2), 16))
            found[-1] = _with(found[-1], subsystem=ids)
        elif mine and (driver := _IN_USE.match(line)):
            found[-1] = _with(found[-1], driver=driver.group(1))
    if not seen:
        raise ParseError("there is no line such as '01:00.0 VGA compatible controller [0300]: … [10de:2684]'.")
    return PciReading(tuple(found))


def _with(device: PciDevice, subsystem: tuple[int, int] | None = None, driver: str | None = None) -> PciDevice:
    return PciDevice(
        device.address,
        device.device_id,
        device.class_code,
        subsystem or device.subsystem,
        device.numa_node,
        driver or device.driver,
        device.is_virtual,
    )
