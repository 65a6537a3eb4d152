"""The disk for models: an empty one is formatted and mounted where that was asked for, any other never."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from importlib.resources import files

from pyinfra.context import host

from ingot.errors import IngotError
from ingot.facts.disk import BEGUN, FSTAB, LABEL, OCCUPIED, Disk, DiskState
from ingot.operations import changes, detached
from ingot.operations.operation import operation
from ingot.operations.weights.models import Commands
from ingot.settings import of_host
from ingot.settings.cache import Cache

SCRIPT = (files(__package__) / "disk.sh").read_text()
UNIT = "ingot-disk"
#: How long a run waits for a disk to be formatted, seconds: ext4 writes most of its tables later.
LIMIT_S = 1800
#: What a disk looks like of which the formatting was cut off.
HALF_MADE = ("", "holds data", "has a signature (ext4)")


@dataclass(frozen=True, slots=True)
class Steps:
    """What is to be done with a disk, in this order."""

    formats: bool = False
    notes: bool = False
    mounts: bool = False

    def __bool__(self) -> bool:
        return self.formats or self.notes or self.mounts


def decide(disk: str, mount: str, found: DiskState) -> Steps:
    """What is to be done so that the disk is mounted there now and at each boot.

    Raises: IngotError, one sentence without the host's name, for a disk that is not there, is not empty or not the one
    that is mounted, and for a mount point that is taken.
    """
    at = mount.rstrip("/")
    if not found.device:
        raise IngotError(
            f"cache_disk {disk} is not there, expected a disk; name one of `ls /dev/disk/by-id` on the host."
        )
    if found.mounted and found.mounted != found.device:
        raise IngotError(
            f"{found.mounted} is mounted at {at}, expected {disk} ({found.device}) or nothing; unmount it, or correct "
            "cache_disk or cache_mount."
        )
    is_ours = found.label == LABEL and not found.begun
    if found.fstab and not (is_ours and found.fstab == f"UUID={found.uuid}"):
        raise IngotError(
            f"{FSTAB} mounts {found.fstab} at {at}, expected nothing there, since cache_disk is; take its line out, or "
            "leave cache_disk out."
        )
    if found.hides:
        raise IngotError(f"{at} holds files, which {disk} would hide when mounted there; move them away.")
    if is_ours:
        return Steps(notes=not found.fstab, mounts=not found.mounted)
    # What a run began and did not end was empty when it began: what lies there now must be what it wrote.
    half_made = bool(found.begun) and (found.uuid in ("", found.begun)) and found.occupied in HALF_MADE
    if found.occupied and not half_made:
        raise IngotError(
            f"cache_disk {disk} ({found.device}) {found.occupied}, expected an empty one, since Ingot formats no "
            f"other; name another, or where nothing on it is needed empty it (`wipefs -a`, `blkdiscard -f`)."
        )
    return Steps(formats=True, notes=True, mounts=True)


@operation()
def mounted() -> Commands:
    """
    Have `cache_disk` mounted at `cache_mount`, now and at each boot; an empty disk gets a file system first.

    The disk is looked at again in the moment before it is formatted. A run that is cut off is made good by the next.
    """
    values = of_host(host)
    if values.cache_disk is None or values.cache_mount is None:
        host.noop("no disk is to be mounted")
        return
    found: DiskState = host.get_fact(Disk, disk=values.cache_disk, mount=values.cache_mount)
    steps = decide(values.cache_disk, values.cache_mount, found)
    if not steps:
        host.noop(f"{values.cache_disk} is mounted at {values.cache_mount}")
        return
    if steps.formats:
        changes.announce([f"format {values.cache_disk} ({found.device}, {found.bytes / 1e9:.0f} GB, empty) with ext4"])
    if steps.notes:
        changes.announce([f"have {FSTAB} mount it at {values.cache_mount}"])
    if steps.mounts:
        changes.announce([f"mount it at {values.cache_mount}"])
    yield from detached.commands(UNIT, SCRIPT, members(host.name, values, found, steps), LIMIT_S)


def members(host_name: str, values: Cache, found: DiskState, steps: Steps) -> dict[str, str]:
    """What disk.sh reads."""
    identity = str(uuid.uuid4()) if steps.formats else found.uuid
    lines = {
        "host": host_name,
        "disk": values.cache_disk or "",
        "mount": (values.cache_mount or "").rstrip("/"),
        "uuid": identity,
        "label": LABEL,
        "begun": BEGUN,
        "fstab": FSTAB,
        "formats": "yes" if steps.formats else "no",
    }
    return {
        "plan": "".join(f"{name}\t{value}\n" for name, value in lines.items()),
        "occupied.sh": OCCUPIED,
        "half_made": "".join(f"{one}\n" for one in HALF_MADE),
        "progress": 'tail -n 1 "$1/step"',
    }
