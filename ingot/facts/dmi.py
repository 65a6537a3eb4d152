"""What a server's firmware says of it, as the kernel shows it: dmidecode need not be installed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

CHASSIS = (
    "for f in sys_vendor product_name product_serial bios_version; do "
    'echo "$f=$(cat /sys/class/dmi/id/$f 2>/dev/null)"; done'
)
MEMORY_MODULES = (
    'for f in /sys/firmware/dmi/entries/17-*/raw; do [ -r "$f" ] || continue; '
    "od -An -v -tx1 \"$f\" | tr -d ' \\n'; echo; done; true"
)
#: A management controller: its device, or what the firmware says of one whose driver is not loaded.
BMC = "ls -d /dev/ipmi0 /dev/ipmi/0 /dev/ipmidev/0 /sys/firmware/dmi/entries/38-0 2>/dev/null | head -n 1"

# Offsets of a memory device (type 17). Source: DMTF DSP0134, System Management BIOS, 7.18.
_SIZE, _EXTENDED_SIZE, _IN_KIB, _SEE_EXTENDED = 0x0C, 0x1C, 0x8000, 0x7FFF
#: The speed that it runs at, in megatransfers per second, and where one of 65,535 or more is told.
_CONFIGURED_SPEED, _EXTENDED_SPEED = 0x20, 0x58


@dataclass(frozen=True, slots=True)
class Chassis:
    """What the maker wrote into the firmware; empty where there is none."""

    vendor: str = ""
    product: str = ""
    serial: str = ""
    bios: str = ""


def parse_memory_modules(text: str) -> tuple[int, ...]:
    """Bytes of each module that is plugged in, from SMBIOS memory devices in hex, one per line."""
    return tuple(size for size in map(_size, _devices(text)) if size)


def parse_memory_speeds(text: str) -> tuple[int, ...]:
    """Megatransfers per second of each module that is plugged in and tells, from the same lines."""
    return tuple(speed for device in _devices(text) if _size(device) and (speed := _speed(device)))


def _devices(text: str) -> Iterator[bytes]:
    for line in text.splitlines():
        try:
            yield bytes.fromhex(line.strip())
        except ValueError:
            continue


def _size(device: bytes) -> int:
    """Bytes of a module; 0 for an empty slot or a module of unknown size."""
    size = int.from_bytes(device[_SIZE : _SIZE + 2], "little")
    if size == _SEE_EXTENDED:
        return (int.from_bytes(device[_EXTENDED_SIZE : _EXTENDED_SIZE + 4], "little") & 0x7FFFFFFF) << 20
    # All ones is a module of unknown size.
    return 0 if size == 0xFFFF else (size & ~_IN_KIB) << (10 if size & _IN_KIB else 20)


def _speed(device: bytes) -> int:
    """Megatransfers per second; 0 where it is not told."""
    speed = int.from_bytes(device[_CONFIGURED_SPEED : _CONFIGURED_SPEED + 2], "little")
    return int.from_bytes(device[_EXTENDED_SPEED : _EXTENDED_SPEED + 4], "little") if speed == 0xFFFF else speed


def parse_chassis(text: str) -> Chassis:
    """Lines of `name=value` from /sys/class/dmi/id."""
    values = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    names = ("sys_vendor", "product_name", "product_serial", "bios_version")
    return Chassis(*(str(values.get(name, "")).strip() for name in names))
