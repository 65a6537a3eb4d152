"""Disks of a host and what is on them, from lsblk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ingot.facts.errors import ParseError

# FSTYPE and PTTYPE come from udev's database, or from the disk itself for root. MOUNTPOINTS: util-linux 2.37, in
# every release that Ingot supports.
QUESTION = (
    "lsblk --json --bytes --output NAME,TYPE,SIZE,MODEL,SERIAL,ROTA,TRAN,RM,FSTYPE,MOUNTPOINTS,PTTYPE 2>/dev/null; true"
)

#: Block devices of type "disk" that are none: memory, files, network and virtual drives.
_NO_DISKS = re.compile(r"^(?:zram|ram|loop|nbd|fd|sr|pmem|mtdblock|drbd|rbd)[0-9]")

#: File system signatures that say what a device is part of.
_MEMBERS = {
    "linux_raid_member": "member of a Linux RAID",
    "LVM2_member": "LVM",
    "zfs_member": "ZFS",
    "crypto_LUKS": "LUKS",
    "ddf_raid_member": "member of a firmware RAID",
    "isw_raid_member": "member of a firmware RAID",
}


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk. `contents` says what is on it, one phrase per file system, RAID, volume group or bare partition."""

    name: str
    size_bytes: int
    model: str = ""
    serial: str = ""
    rotational: bool = False
    transport: str = ""
    contents: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()

    @property
    def is_nvme(self) -> bool:
        """Whether it is an NVMe drive."""
        return self.transport == "nvme" or self.name.startswith("nvme")

    @property
    def kind(self) -> str:
        """NVMe, HDD or SSD, as people order them."""
        return "NVMe" if self.is_nvme else "HDD" if self.rotational else "SSD"


def parse_lsblk(text: str) -> tuple[Disk, ...]:
    """The disks of `lsblk --json --bytes`: whole ones, not removable, with a size.

    Raises: ParseError when the text is not its JSON.
    """
    if not text.strip():
        raise ParseError("lsblk printed nothing, expected its block devices.")
    try:
        devices = json.loads(text)["blockdevices"]
        return tuple(_disk(device) for device in devices if _is_disk(device))
    except (ValueError, KeyError, TypeError) as error:
        raise ParseError(f"lsblk printed {text[:60]!r}, expected JSON of block devices ({error!r}).") from None


def _is_disk(device: Mapping[str, Any]) -> bool:
    return (
        device["type"] == "disk"
        and int(device["size"] or 0) > 0
        and not _truth(device.get("rm"))
        and not _NO_DISKS.match(device["name"])
    )


def _disk(device: Mapping[str, Any]) -> Disk:
    below = list(_tree(device))
    return Disk(
        name=str(device["name"]),
        size_bytes=int(device["size"]),
        model=str(device.get("model") or "").strip(),
        serial=str(device.get("serial") or "").strip(),
        rotational=_truth(device.get("rota")),
        transport=str(device.get("tran") or ""),
        contents=tuple(dict.fromkeys(phrase for one in below if (phrase := _content(one)))),
        mounts=tuple(dict.fromkeys(mount for one in below for mount in _mounts(one))),
    )


def _tree(device: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield device
    for child in device.get("children") or ():
        yield from _tree(child)


def _content(device: Mapping[str, Any]) -> str:
    """What one device of the tree holds, in words; empty for a container whose parts say it."""
    kind, system, mounts = device["type"], device.get("fstype"), _mounts(device)
    if kind.startswith(("raid", "linear", "md")) or kind == "mpath":
        array = f"{kind} {device['name']}"
        return f"{array} ({_filesystem(system, mounts)})" if system or mounts else array
    if system or mounts:
        return _filesystem(system, mounts)
    if device.get("children"):
        return ""
    if kind == "part":
        return "a partition without a file system"
    return f"an empty {device['pttype']} partition table" if device.get("pttype") else ""


def _filesystem(system: str | None, mounts: tuple[str, ...]) -> str:
    if system in _MEMBERS:
        return _MEMBERS[system]
    return f"{system or 'a file system'} on {', '.join(mounts)}" if mounts else f"{system}, not mounted"


def _mounts(device: Mapping[str, Any]) -> tuple[str, ...]:
    found = device.get("mountpoints") or [device.get("mountpoint")]
    return tuple(dict.fromkeys(str(mount) for mount in found if mount))


def _truth(value: Any) -> bool:
    # Older releases print "0" and "1".
    return value in (True, 1, "1")
