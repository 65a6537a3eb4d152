"""disk: an empty disk is formatted and mounted, any other never; loop devices of this machine stand for disks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ingot.errors import IngotError
from ingot.facts.disk import IMAGE_ROOTS, LABEL, DiskState, Drive, ImageRoot
from ingot.facts.host import Mount, Space
from ingot.operations.preflight import disk_space
from ingot.operations.weights import disk
from ingot.operations.weights.disk import Steps, decide
from tests.operations.preflight.test_preflight import NEW
from tests.settings.values import settings

pytestmark = pytest.mark.cache

BY_ID = "/dev/disk/by-id/nvme-A"
EMPTY = Drive(BY_ID, "/dev/nvme1n1", 10**12)
OURS = replace(EMPTY, occupied="has a signature (ext4)", label=LABEL, uuid="u")
OTHER = Drive("/dev/disk/by-id/nvme-B", "/dev/nvme2n1", 10**12)
HALF = replace(EMPTY, occupied="has a signature (btrfs)", label=LABEL, uuid="u")


def seen(*drives: Drive, **more: Any) -> DiskState:
    return DiskState(drives, **more)


@pytest.mark.parametrize(
    ("found", "steps"),
    [
        (seen(EMPTY), Steps(formats=True, notes=True, mounts=True)),
        (seen(OURS), Steps(notes=True, mounts=True)),
        (seen(OURS, fstab="UUID=u"), Steps(mounts=True)),
        (seen(replace(OURS, occupied="is mounted at /data"), mounted="/dev/nvme1n1"), Steps(notes=True)),
        (seen(OURS, mounted="/dev/nvme1n1", fstab="UUID=u"), Steps()),
        # Cut off in the middle: begun, half written, and whole but not proven.
        (seen(EMPTY, begun="u"), Steps(formats=True, notes=True, mounts=True)),
        (seen(replace(EMPTY, occupied="holds data"), begun="u"), Steps(formats=True, notes=True, mounts=True)),
        (seen(OURS, begun="u"), Steps(formats=True, notes=True, mounts=True)),
        # Several.
        (seen(EMPTY, OTHER), Steps(formats=True, notes=True, mounts=True)),
        (seen(HALF, OTHER, begun="u"), Steps(formats=True, notes=True, mounts=True)),
        (seen(OURS, replace(OURS, device="/dev/nvme2n1")), Steps(notes=True, mounts=True)),
        (seen(OURS, replace(OURS, device="/dev/nvme2n1"), mounted="/dev/nvme2n1", fstab="UUID=u"), Steps()),
    ],
)
def test_what_is_done_follows_from_what_is_there(found: DiskState, steps: Steps):
    assert decide("/data/", found) == steps


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (seen(Drive(BY_ID)), "cache_disk /dev/disk/by-id/nvme-A is not there, expected a disk"),
        (seen(replace(EMPTY, occupied="has a signature (xfs)")), "has a signature (xfs), expected an empty one"),
        (seen(replace(EMPTY, occupied="holds data")), "holds data, expected an empty one"),
        (seen(replace(OURS, label="", uuid="v"), begun="u"), "expected an empty one"),
        (seen(replace(EMPTY, occupied="is divided or held (nvme1n1p1)"), begun="u"), "expected an empty one"),
        (seen(EMPTY, mounted="/dev/sda1"), "/dev/sda1 is mounted at /data, expected"),
        (seen(OURS, fstab="UUID=other"), "/etc/fstab mounts UUID=other at /data, expected nothing there"),
        (seen(EMPTY, hides=True), "/data holds files, which /dev/disk/by-id/nvme-A would hide"),
        (seen(EMPTY, Drive(OTHER.name)), f"cache_disk {OTHER.name} is not there"),
        (seen(EMPTY, replace(OTHER, device=EMPTY.device)), "cache_disk names /dev/nvme1n1 twice"),
        (seen(EMPTY, replace(OTHER, occupied="holds data")), f"{OTHER.name} (/dev/nvme2n1) holds data, expected"),
        # One that Ingot formatted for itself is not empty, and not half of anything.
        (seen(OURS, OTHER), "(/dev/nvme1n1) has a signature (ext4), expected an empty one"),
        (seen(OURS, replace(OURS, uuid="v", device="/dev/nvme2n1")), "has a signature (ext4), expected an empty one"),
    ],
)
def test_any_other_disk_is_refused_in_one_sentence(found: DiskState, words: str):
    with pytest.raises(IngotError) as refused:
        decide("/data", found)
    assert words in str(refused.value)


def test_preflight_counts_the_disk_that_will_be_there():
    spaces = (Space("/", 9, 9, "/"), Space("/data/models", 9, 9, "/"))
    look = replace(NEW, spaces=spaces, mounts=(Mount("/data/models", "/", frozenset()),), unmounted=("/data",))
    then = disk_space.ahead(look, "/data", seen(EMPTY), Steps(formats=True, notes=True, mounts=True))
    values = settings(cache_root="/data/models", cache_mount="/data", cache_disk=BY_ID)
    assert list(disk_space.right_disk(then, values)) == []
    assert then.spaces == (spaces[0], Space("/data/models", 950_000_000_000, 950_000_000_000 >> 14, "/data"))
    assert disk_space.ahead(look, "/data", seen(EMPTY), Steps()) is look


IMAGES = tuple(ImageRoot(path) for path in IMAGE_ROOTS)


def test_where_docker_keeps_images_may_lie_there_too():
    placed = tuple(
        replace(one, is_there=True, mounted="/dev/nvme1n1[/x]", fstab=f"/data{one.path[8:]}") for one in IMAGES
    )
    assert decide("/data", seen(EMPTY, images=IMAGES)).images == IMAGE_ROOTS
    assert decide("/data/", DiskState((), images=(IMAGES[0], placed[1]))) == Steps(images=IMAGE_ROOTS[:1])
    assert not decide("/data", DiskState((), images=placed))
    # Mounted by somebody, and not at each boot.
    assert decide("/data", DiskState((), images=(replace(placed[0], fstab=""),))).images == IMAGE_ROOTS[:1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hides": True}, "/var/lib/docker holds files, which /data/docker would hide, expected none"),
        ({"mounted": "/dev/sdc1"}, "/dev/sdc1 is mounted at /var/lib/docker, expected /data/docker or nothing"),
        ({"fstab": "UUID=x"}, "/etc/fstab mounts UUID=x at /var/lib/docker, expected /data/docker or nothing"),
    ],
)
def test_images_that_are_somewhere_already_are_not_hidden(change: dict[str, Any], words: str):
    with pytest.raises(IngotError) as refused:
        decide("/data", DiskState((), images=(replace(IMAGES[0], **change),)))
    assert words in str(refused.value) and "cache_images" in str(refused.value)


def test_preflight_counts_images_where_they_will_lie():
    root = tuple(Space(path, 9, 9, "/") for path in ("/", *IMAGE_ROOTS))
    look = replace(NEW, spaces=(*root, Space("/data/models", 900, 900, "/data")))
    there = disk_space.ahead(look, "/data", DiskState(()), Steps(images=IMAGE_ROOTS))
    assert there.spaces[1:3] == tuple(Space(path, 900, 900, "/data") for path in IMAGE_ROOTS)
    both = disk_space.ahead(
        look, "/data", seen(EMPTY), Steps(formats=True, notes=True, mounts=True, images=IMAGE_ROOTS)
    )
    assert {one.mount for one in both.spaces[1:]} == {"/data"} and both.spaces[0] == root[0]


def test_a_disk_without_a_mount_point_is_refused():
    for value in ({"cache_disk": BY_ID}, {"cache_images": True}):
        with pytest.raises(Exception, match=f"a mount point such as '/data' for {next(iter(value))}"):
            settings(**value)
    for wrong in ("/dev/sdb", [BY_ID, "/dev/sdb"], []):
        with pytest.raises(Exception, match="a disk by its lasting name"):
            settings(cache_disk=wrong, cache_mount="/data", cache_root="/data/models")
    both = settings(cache_disk=[BY_ID, OTHER.name], cache_mount="/data", cache_root="/data/models")
    assert both.cache_disk == (BY_ID, OTHER.name)


# --- real disks


@dataclass
class Machine:
    """Loop devices under lasting names, where they are to be mounted, and the fstab that is written."""

    names: tuple[str, ...]
    devices: tuple[str, ...]
    mount: Path
    fstab: Path
    run: Callable[..., Any]

    @property
    def name(self) -> str:
        return " and ".join(self.names)

    @property
    def device(self) -> str:
        return self.devices[0]

    def shell(self, line: str) -> str:
        given = {**os.environ, "D": self.device, "E": self.devices[-1], "M": str(self.mount)}
        done = subprocess.run(["sh", "-euc", line], capture_output=True, text=True, check=True, timeout=600, env=given)
        return done.stdout.strip()


@contextmanager
def machine(count: int, home: Path, monkeypatch: pytest.MonkeyPatch, run_operation: Any) -> Iterator[Machine]:
    names = tuple(f"/dev/disk/by-id/ingot-test-{os.getpid()}-{index}" for index in range(count))
    mount, fstab, devices = home / "data", home / "fstab", list[str]()
    fstab.write_text("# theirs\nUUID=1 / ext4 defaults 0 1")
    try:
        for index, name in enumerate(names):
            image = home / f"image-{index}"
            image.touch()
            os.truncate(image, 128 << 20)
            one = ["losetup", "--find", "--show", str(image)]
            devices.append(subprocess.run(one, capture_output=True, text=True, check=True, timeout=600).stdout.strip())
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).symlink_to(devices[-1])
        for module in (disk, "ingot.facts.disk"):
            at = module if isinstance(module, str) else module.__name__
            monkeypatch.setattr(f"{at}.BEGUN", str(home / "state/disk-begun"))
            monkeypatch.setattr(f"{at}.FSTAB", str(fstab))
        data = {"cache_disk": list(names), "cache_mount": str(mount), "cache_root": f"{mount}/models"}

        def run(*, dry: bool = False, **values: Any) -> Any:
            return run_operation(disk.mounted, data={**data, **values}, dry=dry)

        yield Machine(names, tuple(devices), mount, fstab, run)
    finally:
        subprocess.run(["umount", str(mount)], capture_output=True, check=False, timeout=600)
        for device in devices:
            # A device that is read-only stays so for whoever gets it next.
            subprocess.run(["blockdev", "--setrw", device], capture_output=True, check=False, timeout=600)
            subprocess.run(["losetup", "--detach", device], capture_output=True, check=False, timeout=600)
        for name in names:
            Path(name).unlink(missing_ok=True)


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_operation: Any) -> Iterator[Machine]:
    with machine(1, tmp_path, monkeypatch, run_operation) as one:
        yield one


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_operation: Any) -> Iterator[Machine]:
    with machine(2, tmp_path, monkeypatch, run_operation) as both:
        yield both


on_disks = pytest.mark.e2e


@on_disks
def test_an_empty_disk_is_formatted_and_mounted_once(drive: Machine):
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
def test_a_disk_that_is_not_empty_stays_as_it_is(drive: Machine, made: str, why: str):
    drive.shell(made)
    before = drive.shell('sha256sum <"$D"')
    refused = drive.run()
    assert not refused.succeeded and f"{drive.device}) {why}" in refused.said, refused.said
    assert drive.shell('sha256sum <"$D"') == before
    assert not drive.mount.exists() and "Ingot" not in drive.fstab.read_text()


@on_disks
def test_a_disk_that_is_taken_after_it_was_seen_is_not_formatted(drive: Machine, monkeypatch: pytest.MonkeyPatch):
    other = 'echo "== $(date'
    monkeypatch.setattr(disk, "SCRIPT", disk.SCRIPT.replace(other, f'mkfs.ext2 -q -L theirs "$device"\n{other}', 1))
    refused = drive.run()
    assert not refused.succeeded and "has a signature (ext2) by now, expected an empty disk" in refused.said
    assert drive.shell('blkid -p -o value -s LABEL "$D"') == "theirs"


#: Lines of the script before which it is killed.
MOMENTS = (
    'step "formatting $disks"',
    '    [ "$(blkid -p -o value -s UUID',
    '  rm -f -- "$begun"',
    'mkdir -p -- "$mount"',
    'step "writing $fstab"',
    "  [ ! -d /run/systemd/system ] ||",
    'step "mounting $disks"',
)


@on_disks
@pytest.mark.parametrize("moment", range(len(MOMENTS) + 1))
def test_a_run_that_is_killed_is_made_good_by_the_next(drive: Machine, moment: int, monkeypatch: pytest.MonkeyPatch):
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


@on_disks
def test_several_empty_disks_become_one_file_system_over_all_of_them(two: Machine):
    dry = two.run(dry=True)
    assert f"format {two.name} ({', '.join(two.devices)}, 0 GB, empty) with btrfs, striped over them" in dry.said
    first = two.run()
    assert first.succeeded and first.changed, first.said
    uuid = two.shell('blkid -p -o value -s UUID "$D"')
    assert two.shell('blkid -p -o value -s UUID "$E"') == uuid
    kinds = two.shell('btrfs filesystem df "$M"')
    assert "Data, RAID0" in kinds and "Metadata, RAID1" in kinds
    options = ",".join(["noatime", *(f"device={name}" for name in two.names), "nofail", "x-systemd.device-timeout=30s"])
    assert two.fstab.read_text().splitlines()[-1] == f"UUID={uuid} {two.mount} btrfs {options} 0 0"
    assert not two.run().changed
    # As after a reboot: what is mounted is what the file says, whoever saw which of the disks before.
    two.shell(
        'dd if=/dev/urandom of="$M/shard" bs=1M count=64 status=none; sha256sum <"$M/shard" >"$M/sum"; umount "$M"'
    )
    # A test host that begins to boot has this machine's mounts, too, until it lets go of them.
    two.shell('until btrfs device scan --forget "$D" "$E" 2>/dev/null; do sleep 0.2; done')
    two.shell(f'mount --fstab {two.fstab} "$M"; sha256sum --quiet -c "$M/sum" <"$M/shard"')
    used = two.shell('btrfs device usage -b "$M" | sed -n "s/.*Data,RAID0[^:]*: *//p"').split()
    assert len(used) == 2 and used[0] == used[1] != "0"
    assert not two.run().changed


@on_disks
def test_images_lie_on_the_disk_for_models_and_neither_is_formatted_or_hidden(
    drive: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    roots = (tmp_path / "var/docker", tmp_path / "var/containerd")
    monkeypatch.setattr("ingot.facts.disk.IMAGE_ROOTS", tuple(map(str, roots)))
    roots[0].mkdir(parents=True)
    (roots[0] / "image").touch()
    try:
        refused = drive.run(cache_images=True)
        assert (
            not refused.succeeded and f"{roots[0]} holds files, which {drive.mount}/docker would hide" in refused.said
        )
        assert drive.shell('blkid -p "$D" || true') == ""
        (roots[0] / "image").unlink()
        first = drive.run(cache_images=True)
        assert first.succeeded, first.said
        (roots[1] / "blob").write_text("of an image\n")
        assert (drive.mount / "containerd/blob").read_text() == "of an image\n"
        assert drive.fstab.read_text().splitlines()[-1] == (
            f"{drive.mount}/containerd {roots[1]} none bind,nofail,x-systemd.required-by=containerd.service,"
            "x-systemd.before=containerd.service 0 0"
        )
        assert not drive.run(cache_images=True).changed
        drive.shell(f"umount {roots[0]}")
        again = drive.run(cache_images=True)
        assert again.succeeded and again.changed and os.path.ismount(roots[0]), again.said
        assert drive.fstab.read_text().count(str(roots[0])) == 1 and not drive.run(cache_images=True).changed
    finally:
        subprocess.run(["umount", *map(str, roots)], capture_output=True, check=False, timeout=600)


@on_disks
def test_one_of_several_that_is_not_empty_keeps_all_of_them_as_they_are(two: Machine):
    two.shell('printf x | dd of="$E" bs=1 seek=67108900 status=none')
    refused = two.run()
    assert not refused.succeeded and f"cache_disk {two.names[1]} ({two.devices[1]}) holds data" in refused.said
    assert two.shell('blkid -p "$D" "$E" || true') == "" and not two.mount.exists()


@on_disks
@pytest.mark.parametrize("moment", [1, len(MOMENTS)])
def test_a_run_over_several_disks_that_is_killed_is_made_good_by_the_next(
    two: Machine, moment: int, monkeypatch: pytest.MonkeyPatch
):
    # Its last line too: one of the disks has the file system's signature, the other half of its data.
    half = (
        'mkfs.btrfs -q -f -d raid0 -m raid1 -L "$label" -U "$uuid" -- $devices; wipefs -q -a -- "$device"; '
        'dd if=/dev/urandom of="$device" bs=1M count=1 seek=3 status=none; kill -9 $$\n'
    )
    before, kill = (MOMENTS[moment], "kill -9 $$\n") if moment < len(MOMENTS) else ("    # Half of an earlier", half)
    assert before in disk.SCRIPT
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(disk, "SCRIPT", disk.SCRIPT.replace(before, f"{kill}{before}", 1))
        assert not two.run().succeeded
    healed = two.run()
    assert healed.succeeded, healed.said
    assert two.shell('btrfs filesystem show "$M" | grep -c devid') == "2"
    assert two.fstab.read_text().count("# Written by Ingot") == 1
    assert not two.run().changed
