"""disk: an empty disk is formatted and mounted, any other never; loop devices of this machine stand for disks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ingot.errors import IngotError
from ingot.facts.disk import LABEL, DiskState
from ingot.facts.host import Mount, Space
from ingot.operations.preflight import disk_space
from ingot.operations.weights import disk
from ingot.operations.weights.disk import Steps, decide
from tests.operations.preflight.test_preflight import NEW
from tests.settings.values import settings

pytestmark = pytest.mark.cache

BY_ID = "/dev/disk/by-id/nvme-A"
EMPTY = DiskState("/dev/nvme1n1", 10**12)
OURS = replace(EMPTY, occupied="has a signature (ext4)", label=LABEL, uuid="u")


@pytest.mark.parametrize(
    ("found", "steps"),
    [
        (EMPTY, Steps(formats=True, notes=True, mounts=True)),
        (OURS, Steps(notes=True, mounts=True)),
        (replace(OURS, fstab="UUID=u"), Steps(mounts=True)),
        (replace(OURS, mounted="/dev/nvme1n1", occupied="is mounted at /data"), Steps(notes=True)),
        (replace(OURS, mounted="/dev/nvme1n1", fstab="UUID=u"), Steps()),
        # Cut off in the middle: begun, half written, and whole but not proven.
        (replace(EMPTY, begun="u"), Steps(formats=True, notes=True, mounts=True)),
        (replace(EMPTY, begun="u", occupied="holds data"), Steps(formats=True, notes=True, mounts=True)),
        (replace(OURS, begun="u"), Steps(formats=True, notes=True, mounts=True)),
    ],
)
def test_what_is_done_follows_from_what_is_there(found: DiskState, steps: Steps):
    assert decide(BY_ID, "/data/", found) == steps


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (DiskState(), "cache_disk /dev/disk/by-id/nvme-A is not there, expected a disk"),
        (replace(EMPTY, occupied="has a signature (xfs)"), "has a signature (xfs), expected an empty one"),
        (replace(EMPTY, occupied="holds data"), "holds data, expected an empty one"),
        (replace(EMPTY, occupied="has a signature (ext4)", uuid="v", begun="u"), "expected an empty one"),
        (replace(EMPTY, occupied="is divided or held (nvme1n1p1)", begun="u"), "expected an empty one"),
        (replace(EMPTY, mounted="/dev/sda1"), "/dev/sda1 is mounted at /data, expected"),
        (replace(OURS, fstab="UUID=other"), "/etc/fstab mounts UUID=other at /data, expected nothing there"),
        (replace(EMPTY, hides=True), "/data holds files, which /dev/disk/by-id/nvme-A would hide"),
    ],
)
def test_any_other_disk_is_refused_in_one_sentence(found: DiskState, words: str):
    with pytest.raises(IngotError) as refused:
        decide(BY_ID, "/data", found)
    assert words in str(refused.value)


def test_preflight_counts_the_disk_that_will_be_there():
    spaces = (Space("/", 9, 9, "/"), Space("/data/models", 9, 9, "/"))
    look = replace(NEW, spaces=spaces, mounts=(Mount("/data/models", "/", frozenset()),), unmounted=("/data",))
    then = disk_space.ahead(look, "/data", EMPTY, Steps(formats=True, notes=True, mounts=True))
    values = settings(cache_root="/data/models", cache_mount="/data", cache_disk=BY_ID)
    assert list(disk_space.right_disk(then, values)) == []
    assert then.spaces == (spaces[0], Space("/data/models", 950_000_000_000, 950_000_000_000 >> 14, "/data"))
    assert disk_space.ahead(look, "/data", EMPTY, Steps()) is look


def test_a_disk_without_a_mount_point_is_refused():
    with pytest.raises(Exception, match="a mount point such as '/data' for cache_disk"):
        settings(cache_disk=BY_ID)
    with pytest.raises(Exception, match="a disk by its lasting name"):
        settings(cache_disk="/dev/sdb", cache_mount="/data", cache_root="/data/models")


# --- real disks


@dataclass
class Drive:
    """A loop device under a lasting name, where it is to be mounted, and the fstab that is written."""

    name: str
    device: str
    mount: Path
    fstab: Path
    run: Callable[..., Any]

    def shell(self, line: str) -> str:
        given = {**os.environ, "D": self.device, "M": str(self.mount)}
        done = subprocess.run(["sh", "-euc", line], capture_output=True, text=True, check=True, timeout=60, env=given)
        return done.stdout.strip()


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_operation: Any) -> Iterator[Drive]:
    image, name = tmp_path / "image", Path(f"/dev/disk/by-id/ingot-test-{os.getpid()}")
    image.touch()
    os.truncate(image, 128 << 20)
    one = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(one, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    mount, fstab = tmp_path / "data", tmp_path / "fstab"
    fstab.write_text("# theirs\nUUID=1 / ext4 defaults 0 1")
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        name.symlink_to(device)
        for module in (disk, "ingot.facts.disk"):
            at = module if isinstance(module, str) else module.__name__
            monkeypatch.setattr(f"{at}.BEGUN", str(tmp_path / "state/disk-begun"))
            monkeypatch.setattr(f"{at}.FSTAB", str(fstab))
        data = {"cache_disk": str(name), "cache_mount": str(mount), "cache_root": f"{mount}/models"}
        yield Drive(str(name), device, mount, fstab, lambda **more: run_operation(disk.mounted, data=data, **more))
    finally:
        subprocess.run(["umount", str(mount)], capture_output=True, check=False, timeout=60)
        # A device that is read-only stays so for whoever gets it next.
        subprocess.run(["blockdev", "--setrw", device], capture_output=True, check=False, timeout=60)
        subprocess.run(["losetup", "--detach", device], capture_output=True, check=False, timeout=60)
        name.unlink(missing_ok=True)


on_disks = pytest.mark.e2e


@on_disks
def test_an_empty_disk_is_formatted_and_mounted_once(drive: Drive):
    dry = drive.run(dry=True)
    assert f"format {drive.name} ({drive.device}, 0 GB, empty) with ext4" in dry.said
    assert drive.shell('blkid -p "$D" || true') == ""
    first = drive.run()
    assert first.succeeded and first.changed, first.said
    uuid = drive.shell('blkid -p -o value -s UUID "$D"')
    assert drive.shell('findmnt -nro SOURCE,FSTYPE --mountpoint "$M"') == f"{drive.device} ext4"
    line = f"UUID={uuid} {drive.mount} ext4 noatime,nofail,x-systemd.device-timeout=30s 0 2"
    assert drive.fstab.read_text().splitlines() == [
        "# theirs", "UUID=1 / ext4 defaults 0 1", "# Written by Ingot: the disk for models.", line
    ]  # fmt: skip
    assert not drive.run().changed
    drive.shell('echo weights >"$M/file"; umount "$M"')
    again = drive.run()
    assert again.succeeded and "ext4" not in again.said and (drive.mount / "file").read_text() == "weights\n"


@on_disks
@pytest.mark.parametrize(
    ("made", "why"),
    [
        ('mkfs.ext4 -q "$D"', "has a signature (ext4)"),
        ("printf 'LUKS\\272\\276\\000\\001' | dd of=$D conv=notrunc status=none", "has a signature (crypto_LUKS)"),
        ('mkswap -q "$D" 2>/dev/null || mkswap "$D"', "has a signature (swap)"),
        ('printf x | dd of="$D" bs=1 seek=67108900 status=none', "holds data"),
        ('blockdev --setro "$D"', "is read-only"),
    ],
)
def test_a_disk_that_is_not_empty_stays_as_it_is(drive: Drive, made: str, why: str):
    drive.shell(made)
    before = drive.shell('sha256sum <"$D"')
    refused = drive.run()
    assert not refused.succeeded and f"{drive.device}) {why}" in refused.said, refused.said
    assert drive.shell('sha256sum <"$D"') == before
    assert not drive.mount.exists() and "Ingot" not in drive.fstab.read_text()


@on_disks
def test_a_disk_that_is_taken_after_it_was_seen_is_not_formatted(drive: Drive, monkeypatch: pytest.MonkeyPatch):
    other = 'echo "== $(date'
    monkeypatch.setattr(disk, "SCRIPT", disk.SCRIPT.replace(other, f'mkfs.ext2 -q -L theirs "$device"\n{other}', 1))
    refused = drive.run()
    assert not refused.succeeded and "has a signature (ext2) by now, expected an empty disk" in refused.said
    assert drive.shell('blkid -p -o value -s LABEL "$D"') == "theirs"


#: Lines of the script before which it is killed.
MOMENTS = (
    'step "formatting $disk"',
    '  [ "$(blkid -p -o value -s UUID',
    '  rm -f -- "$begun"',
    'mkdir -p -- "$mount"',
    'step "writing $fstab"',
    "  [ ! -d /run/systemd/system ] ||",
    'step "mounting $disk"',
)


@on_disks
@pytest.mark.parametrize("moment", range(len(MOMENTS) + 1))
def test_a_run_that_is_killed_is_made_good_by_the_next(drive: Drive, moment: int, monkeypatch: pytest.MonkeyPatch):
    # Its last line too: half a file system, without what says that it is one.
    half = 'dd if=/dev/urandom of="$device" bs=1M count=1 seek=3 status=none; kill -9 $$\n'
    before, kill = (MOMENTS[moment], "kill -9 $$\n") if moment < len(MOMENTS) else ("  mkfs.ext4 -q -F", half)
    assert before in disk.SCRIPT
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(disk, "SCRIPT", disk.SCRIPT.replace(before, f"{kill}{before}", 1))
        assert not drive.run().succeeded
    healed = drive.run()
    assert healed.succeeded, healed.said
    assert drive.shell('findmnt -nro SOURCE --mountpoint "$M"') == drive.device
    assert drive.fstab.read_text().count("# Written by Ingot") == 1
    assert not drive.run().changed
