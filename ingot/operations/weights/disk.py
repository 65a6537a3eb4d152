"""The disk for models: an empty one is formatted and mounted where that was asked for, any other never.

Several are one btrfs, data striped over all and its own tables on two of them: the file system itself knows its disks,
so that nothing has to be assembled before it is mounted, and each block has a checksum. What one disk loses is fetched
again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import PurePosixPath

from pyinfra.api.host import Host
from pyinfra.context import host

from ingot.errors import IngotError
from ingot.facts.disk import BEGUN, FSTAB, HALF_MADE, LABEL, OCCUPIED, Disk, DiskState
from ingot.operations import changes, detached, packages
from ingot.operations.operation import operation
from ingot.operations.weights.models import Commands
from ingot.settings import of_host
from ingot.settings.cache import Cache

SCRIPT = (files(__package__) / "disk.sh").read_text()
UNIT = "ingot-disk"
#: What makes one file system of several disks.
STRIPES = "btrfs-progs"
#: How long a run waits for a disk to be formatted, seconds: ext4 writes most of its tables later.
LIMIT_S = 1800


@dataclass(frozen=True, slots=True)
class Steps:
    """What is to be done with a disk, in this order; `images` are directories that are to lie on it too."""

    formats: bool = False
    notes: bool = False
    mounts: bool = False
    images: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.formats or self.notes or self.mounts or bool(self.images)


def seen(on: Host, values: Cache) -> DiskState | None:
    """The disks and directories that a host's values name, as they are there; None where they name none."""
    if values.cache_mount is None or not (values.cache_disk or values.cache_images):
        return None
    asked = {"disks": values.cache_disk or (), "mount": values.cache_mount, "images": values.cache_images}
    found: DiskState = on.get_fact(Disk, **asked)
    return found


def decide(mount: str, found: DiskState) -> Steps:
    """What is to be done so that the disks are mounted there now and at each boot.

    Raises: IngotError, one sentence without the host's name, for a disk that is not there, is not empty or not the one
    that is mounted, and for a mount point that is taken.
    """
    return replace(_of_disks(mount, found) if found.drives else Steps(), images=tuple(_images(mount, found)))


def _of_disks(mount: str, found: DiskState) -> Steps:
    at, names = mount.rstrip("/"), " and ".join(one.name for one in found.drives)
    devices = [one.device for one in found.drives]
    for one in found.drives:
        if not one.device:
            raise IngotError(
                f"cache_disk {one.name} is not there, expected a disk; name one of `ls /dev/disk/by-id` on the host."
            )
        if devices.count(one.device) > 1:
            raise IngotError(
                f"cache_disk names {one.device} twice ({one.name}), expected each disk once; leave one out."
            )
    if found.mounted and found.mounted not in devices:
        raise IngotError(
            f"{found.mounted} is mounted at {at}, expected {names} ({', '.join(devices)}) or nothing; unmount it, or "
            "correct cache_disk or cache_mount."
        )
    if found.fstab and not (found.is_ours and found.fstab == f"UUID={found.uuid}"):
        raise IngotError(
            f"{FSTAB} mounts {found.fstab} at {at}, expected nothing there, since cache_disk is; take its line out, or "
            "leave cache_disk out."
        )
    if found.hides:
        raise IngotError(f"{at} holds files, which {names} would hide when mounted there; move them away.")
    if found.is_ours:
        return Steps(notes=not found.fstab, mounts=not found.mounted)
    for one in found.drives:
        # What a run began and did not end was empty when it began: what lies there now must be what it wrote.
        half_made = bool(found.begun) and one.uuid in ("", found.begun) and one.occupied in HALF_MADE
        if one.occupied and not half_made:
            raise IngotError(
                f"cache_disk {one.name} ({one.device}) {one.occupied}, expected an empty one, since Ingot formats no "
                f"other; name another, or where nothing on it is needed empty it (`wipefs -a`, `blkdiscard -f`)."
            )
    return Steps(formats=True, notes=True, mounts=True)


def _images(mount: str, found: DiskState) -> Iterator[str]:
    """Where Docker keeps images, as far as that is not on the disk yet."""
    for one in found.images:
        at = f"{mount.rstrip('/')}/{PurePosixPath(one.path).name}"
        if one.fstab not in ("", at):
            raise IngotError(
                f"{FSTAB} mounts {one.fstab} at {one.path}, expected {at} or nothing, since cache_images is set; take "
                "its line out, or set cache_images = False."
            )
        if one.mounted and not one.is_there:
            raise IngotError(
                f"{one.mounted} is mounted at {one.path}, expected {at} or nothing, since cache_images is set; unmount "
                "it, or set cache_images = False."
            )
        if one.hides:
            raise IngotError(
                f"{one.path} holds files, which {at} would hide, expected none before cache_images is set; set "
                "cache_images = False, or stop Docker (`systemctl stop docker docker.socket containerd`) and move them "
                f"to {at}."
            )
        if not (one.fstab and one.is_there):
            yield one.path


@operation()
def mounted() -> Commands:
    """
    Have `cache_disk` mounted at `cache_mount`, now and at each boot; an empty disk gets a file system first.

    Several disks become one file system that is striped over them. They are looked at again in the moment before they
    are formatted. A run that is cut off is made good by the next. With `cache_images` the directories of Docker and
    containerd lie there too, and neither starts while they do not.
    """
    values = of_host(host)
    found = seen(host, values)
    if found is None or values.cache_mount is None:
        host.noop("no disk is to be mounted")
        return
    steps, names = decide(values.cache_mount, found), " and ".join(one.name for one in found.drives)
    if not steps:
        host.noop(f"all that shall lie at {values.cache_mount} does")
        return
    if steps.formats and len(found.drives) > 1:
        yield from packages.packages._inner(names=(STRIPES,))
    if steps.formats:
        devices = ", ".join(one.device for one in found.drives)
        kind = "ext4" if len(found.drives) == 1 else "btrfs, striped over them"
        changes.announce([f"format {names} ({devices}, {found.bytes / 1e9:.0f} GB, empty) with {kind}"])
    if steps.notes:
        changes.announce([f"have {FSTAB} mount it at {values.cache_mount}"])
    if steps.mounts:
        changes.announce([f"mount it at {values.cache_mount}"])
    if steps.images:
        changes.announce([f"have {' and '.join(steps.images)} lie at {values.cache_mount}"])
    yield from detached.commands(UNIT, SCRIPT, members(host.name, values, found, steps), LIMIT_S)


def members(host_name: str, values: Cache, found: DiskState, steps: Steps) -> dict[str, str]:
    """What disk.sh reads."""
    identity = str(uuid.uuid4()) if steps.formats else found.uuid
    lines = {
        "host": host_name,
        "disks": ",".join(values.cache_disk or ()),
        "mount": (values.cache_mount or "").rstrip("/"),
        "uuid": identity,
        "label": LABEL,
        "begun": BEGUN,
        "fstab": FSTAB,
        "formats": "yes" if steps.formats else "no",
        "images": " ".join(steps.images),
    }
    return {
        "plan": "".join(f"{name}\t{value}\n" for name, value in lines.items()),
        "occupied.sh": OCCUPIED,
        "half_made": "".join(f"{one}\n" for one in HALF_MADE),
        "progress": 'tail -n 1 "$1/step"',
    }
