"""Disks that are meant for models: whether they are empty, whether Ingot has formatted them, where they are mounted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from pyinfra.api.facts import FactBase

from ingot.facts.sections import Question, split

#: Shell function: what keeps a disk from being formatted. What formats it asks again.
OCCUPIED = (files(__package__) / "disk.sh").read_text()
#: The label of a file system that Ingot has made.
LABEL = "ingot-models"
#: There while a disk is formatted, with its path and the UUID that it gets: what was empty then and is half made now.
BEGUN = "/var/lib/ingot/disk-begun"
FSTAB = "/etc/fstab"
#: Where Docker and containerd keep images and containers, whichever of them it is by Docker's version.
IMAGE_ROOTS = ("/var/lib/docker", "/var/lib/containerd")


#: What a disk looks like of which the formatting was cut off.
HALF_MADE = ("", "holds data", "has a signature (ext4)", "has a signature (btrfs)")


@dataclass(frozen=True, slots=True)
class Drive:
    """One disk.

    `device` is what its name leads to, "" where it is not there; `occupied` why it is not empty, "" where it is.
    """

    name: str
    device: str = ""
    bytes: int = 0
    occupied: str = ""
    label: str = ""
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class ImageRoot:
    """One of IMAGE_ROOTS, which may lie on the disk for models as a directory of the same name.

    `is_there` says whether it does; `mounted` what is mounted there, `fstab` what /etc/fstab mounts there, "" for
    nothing; `hides` whether files lie in it that no mount has brought.
    """

    path: str
    is_there: bool = False
    mounted: str = ""
    fstab: str = ""
    hides: bool = False


@dataclass(frozen=True, slots=True)
class DiskState:
    """The disks that are to be one file system, the mount point that is meant for it, and what shall lie there too.

    `begun` is the UUID under which a run began to format them; `mounted` what is mounted at the mount point, "" for
    nothing; `fstab` what /etc/fstab mounts there; `hides` whether files lie in the mount point.
    """

    drives: tuple[Drive, ...]
    begun: str = ""
    mounted: str = ""
    fstab: str = ""
    hides: bool = False
    images: tuple[ImageRoot, ...] = ()

    @property
    def bytes(self) -> int:
        """All of them together."""
        return sum(one.bytes for one in self.drives)

    @property
    def uuid(self) -> str:
        """Of the file system that lies on all of them; "" where there is none."""
        found = {one.uuid for one in self.drives}
        return found.pop() if len(found) == 1 else ""

    @property
    def is_ours(self) -> bool:
        """Whether a file system that Ingot has made lies on all of them, whole."""
        return bool(self.uuid) and not self.begun and all(one.label == LABEL for one in self.drives)


class Disk(FactBase[DiskState]):
    """Disks and their mount point, in one command.

    Returns: DiskState((Drive("/dev/disk/by-id/…", "/dev/nvme1n1", 3840755982336, label="ingot-models", …),), …)
    """

    def command(self, disks: Sequence[str], mount: str, images: bool = False) -> str:
        at, key = shlex.quote(mount.rstrip("/")), shlex.quote(",".join(disks))
        roots = " ".join(IMAGE_ROOTS) if images else ""
        beside = (
            f"for p in {roots}; do at={at}/${{p##*/}}; "
            'there=no; ! mountpoint -q "$p" || [ ! "$p" -ef "$at" ] || there=yes; '
            'printf \'%s\\t%s\\t%s\\t%s\\t%s\\n\' "$p" "$there" '
            '"$(! mountpoint -q "$p" || findmnt -nro SOURCE --mountpoint "$p" | tail -n 1)" '
            f'"$(awk -v at="$p" \'$1 !~ /^#/ && $2 == at {{ print $1 }}\' {FSTAB} 2>/dev/null)" '
            '"$(mountpoint -q "$p" || ls -A "$p" 2>/dev/null | head -n 1)"; done'
        )
        each = (
            f"for path in {' '.join(map(shlex.quote, disks))}; do "
            'device=; [ ! -b "$path" ] || device=$(readlink -f -- "$path"); '
            '[ -n "$device" ] || { echo "$path"; continue; }; '
            'printf \'%s\\t%s\\t%s\\t%s\\t%s\\t%s\\n\' "$path" "$device" "$(lsblk -bdnro SIZE -- "$device")" '
            '"$(occupied "$device")" "$(blkid -p -o value -s LABEL -- "$device" 2>/dev/null)" '
            '"$(blkid -p -o value -s UUID -- "$device" 2>/dev/null)"; done'
        )
        return Question.of(
            {
                "drives": each,
                "begun": f"awk -v disk={key} '$1 == disk {{ print $2 }}' {BEGUN} 2>/dev/null; true",
                # Of several disks it is called by any name that one of them has.
                "mounted": (
                    f"! mountpoint -q {at} || {{ found=$(findmnt -nro SOURCE --mountpoint {at} | tail -n 1); "
                    'case $found in /dev/*) readlink -f -- "$found" ;; *) echo "$found" ;; esac; }'
                ),
                "fstab": f"awk -v at={at} '$1 !~ /^#/ && $2 == at {{ print $1 }}' {FSTAB} 2>/dev/null; true",
                "images": beside,
                "hides": f"mountpoint -q {at} || ls -A {at} 2>/dev/null | head -n 1",
            },
            OCCUPIED,
        )

    def process(self, output: list[str]) -> DiskState:
        answers = split(output)

        def line(name: str) -> str:
            return answers[name].output.strip()

        return DiskState(
            drives=tuple(map(_drive, answers["drives"].output.splitlines())),
            begun=line("begun"),
            mounted=line("mounted"),
            fstab=line("fstab"),
            hides=bool(line("hides")),
            images=tuple(map(_image_root, answers["images"].output.splitlines())),
        )


def _drive(line: str) -> Drive:
    name, device, size, occupied, label, uuid = (*line.split("\t"), "", "", "", "", "")[:6]
    return Drive(name, device, int(size or 0), occupied, label, uuid)


def _image_root(line: str) -> ImageRoot:
    path, there, mounted, fstab, hides = (*line.split("\t"), "", "", "", "")[:5]
    return ImageRoot(path, there == "yes", mounted, fstab, bool(hides))
