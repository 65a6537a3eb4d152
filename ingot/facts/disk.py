"""A disk that is meant for models: whether it is empty, whether Ingot has formatted it, and where it is mounted."""

from __future__ import annotations

import shlex
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


@dataclass(frozen=True, slots=True)
class DiskState:
    """A disk and the mount point that is meant for it.

    `device` is what the path leads to, "" where it is not there; `occupied` why it is not empty, "" where it is;
    `begun` the UUID under which a run began to format it; `mounted` what is mounted at the mount point, "" for nothing;
    `fstab` what /etc/fstab mounts there; `hides` whether files lie in the mount point.
    """

    device: str = ""
    bytes: int = 0
    occupied: str = ""
    label: str = ""
    uuid: str = ""
    begun: str = ""
    mounted: str = ""
    fstab: str = ""
    hides: bool = False


class Disk(FactBase[DiskState]):
    """One disk and its mount point, in one command.

    Returns: DiskState("/dev/nvme1n1", 3840755982336, occupied="has a signature (ext4)", label="ingot-models", …)
    """

    def command(self, disk: str, mount: str) -> str:
        path, at = shlex.quote(disk), shlex.quote(mount.rstrip("/"))
        return Question.of(
            {
                "device": f"[ ! -b {path} ] || readlink -f {path}",
                "bytes": f"[ ! -b {path} ] || lsblk -bdnro SIZE {path}",
                "occupied": f'[ ! -b {path} ] || occupied "$(readlink -f {path})"',
                "label": f"blkid -p -o value -s LABEL {path} 2>/dev/null; true",
                "uuid": f"blkid -p -o value -s UUID {path} 2>/dev/null; true",
                "begun": f"awk -v disk={path} '$1 == disk {{ print $2 }}' {BEGUN} 2>/dev/null; true",
                "mounted": f"! mountpoint -q {at} || findmnt -nro SOURCE --mountpoint {at} | tail -n 1",
                "fstab": f"awk -v at={at} '$1 !~ /^#/ && $2 == at {{ print $1 }}' {FSTAB} 2>/dev/null; true",
                "hides": f"mountpoint -q {at} || ls -A {at} 2>/dev/null | head -n 1",
            },
            OCCUPIED,
        )

    def process(self, output: list[str]) -> DiskState:
        answers = split(output)

        def line(name: str) -> str:
            return answers[name].output.strip()

        return DiskState(
            device=line("device"),
            bytes=int(line("bytes") or 0),
            occupied=line("occupied"),
            label=line("label"),
            uuid=line("uuid"),
            begun=line("begun"),
            mounted=line("mounted"),
            fstab=line("fstab"),
            hides=bool(line("hides")),
        )
