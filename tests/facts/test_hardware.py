"""Hardware without a driver: disks, network, firmware and PCIe links from formats as the tools print them."""

import json
import subprocess
from typing import Any

import pytest

from ingot.facts.disks import Disk, parse_lsblk
from ingot.facts.dmi import parse_chassis, parse_memory_modules
from ingot.facts.errors import ParseError, Unread
from ingot.facts.hardware import HardwareLook, HardwareSeen, parse_cpu
from ingot.facts.nics import parse_infiniband, parse_nics
from ingot.facts.pci_link import PciLink, parse_links

pytestmark = pytest.mark.onboarding

TB = 10**12


def device(name: str, kind: str, *children: dict[str, Any], **columns: Any) -> dict[str, Any]:
    """One block device as `lsblk --json` writes it: null where a column is empty, children only where there are any."""
    empty = dict.fromkeys(("model", "serial", "tran", "fstype", "pttype"))
    shown = {"name": name, "type": kind, "size": 3_840_755_982_336, "rota": False, "rm": False, "mountpoints": [None]}
    return {**shown, **empty, **columns, **({"children": list(children)} if children else {})}


def disks(*devices: dict[str, Any]) -> tuple[Disk, ...]:
    return parse_lsblk(json.dumps({"blockdevices": list(devices)}))


def test_this_machine_can_be_read() -> None:
    done = subprocess.run(["sh", "-c", HardwareLook().command()], capture_output=True, text=True, check=True)
    seen = HardwareLook().process(done.stdout.splitlines())
    assert isinstance(seen, HardwareSeen), seen
    assert seen.memory_bytes > 1 << 28
    assert seen.cpu.threads >= seen.cpu.cores >= seen.cpu.sockets >= 1
    assert seen.disks


def test_a_look_that_was_cut_off_is_data() -> None:
    assert isinstance(HardwareLook().process(["@@ingot-begin cpu", "model name : X"]), Unread)
    assert isinstance(HardwareLook().process([]), Unread)


def test_an_empty_nvme_disk_has_nothing_on_it() -> None:
    (disk,) = disks(device("nvme1n1", "disk", model="SAMSUNG MZQL23T8HCLS-00A07  ", serial="S64HNE0", tran="nvme"))
    assert (disk.model, disk.kind, disk.contents, disk.size_bytes) == (
        "SAMSUNG MZQL23T8HCLS-00A07",
        "NVMe",
        (),
        3_840_755_982_336,
    )


def test_a_system_disk_shows_its_file_systems() -> None:
    # As Ubuntu's installer leaves a disk: EFI, /boot, and LVM with the root.
    root = device("ubuntu--vg-ubuntu--lv", "lvm", fstype="ext4", mountpoints=["/"])
    (disk,) = disks(
        device(
            "nvme0n1",
            "disk",
            device("nvme0n1p1", "part", fstype="vfat", mountpoints=["/boot/efi"]),
            device("nvme0n1p2", "part", fstype="ext4", mountpoints=["/boot"]),
            device("nvme0n1p3", "part", root, fstype="LVM2_member"),
            pttype="gpt",
            tran="nvme",
        )
    )
    assert disk.contents == ("vfat on /boot/efi", "ext4 on /boot", "LVM", "ext4 on /")


def test_raid_members_and_what_they_carry_are_named() -> None:
    array = device("md0", "raid0", fstype="xfs", mountpoints=["/srv/models"])
    found = disks(
        *(device(f"nvme{n}n1", "disk", array, fstype="linux_raid_member", tran="nvme") for n in (1, 2)),
        device("sda", "disk", rota=True, tran="sas", fstype="zfs_member"),
    )
    assert found[0].contents == ("member of a Linux RAID", "raid0 md0 (xfs on /srv/models)")
    assert found[0].mounts == ("/srv/models",)
    assert (found[2].kind, found[2].contents) == ("HDD", ("ZFS",))


@pytest.mark.parametrize(
    ("shown", "contents"),
    [
        (device("sda", "disk", pttype="gpt"), ("an empty gpt partition table",)),
        (device("sda", "disk", device("sda1", "part"), pttype="dos"), ("a partition without a file system",)),
        (device("sda", "disk", fstype="ext4"), ("ext4, not mounted",)),
        (device("sda", "disk", fstype="swap", mountpoints=["[SWAP]"]), ("swap on [SWAP]",)),
    ],
)
def test_what_is_on_a_disk_is_never_taken_for_empty(shown: dict[str, Any], contents: tuple[str, ...]) -> None:
    assert disks(shown)[0].contents == contents


def test_what_is_no_disk_is_left_out() -> None:
    others = [("zram0", {}), ("loop3", {}), ("nbd0", {"size": 1}), ("sdb", {"rm": True}), ("sdc", {"size": 0})]
    assert disks(*(device(name, "disk", **columns) for name, columns in others), device("sr0", "rom")) == ()


def test_older_lsblk_writes_digits_and_one_mount() -> None:
    old = {
        "name": "sda",
        "type": "disk",
        "size": "960197124096",
        "rota": "1",
        "rm": "0",
        "mountpoint": "/",
        "fstype": "ext4",
    }
    (disk,) = disks(old)
    assert (disk.size_bytes, disk.rotational, disk.mounts) == (960197124096, True, ("/",))


@pytest.mark.parametrize("text", ["", "lsblk: unknown column", "{}", '{"blockdevices": [{}]}'])
def test_what_lsblk_does_not_print_is_one_sentence(text: str) -> None:
    with pytest.raises(ParseError, match="lsblk printed"):
        parse_lsblk(text)


def test_a_link_that_is_down_has_no_speed() -> None:
    up, down, bond = parse_nics(
        "enp65s0f0np0 yes no mlx5_core 0x15b3:0x1021 400000 up b8:3f:d2:00:00:01\n"
        "eno1 yes no igb 0x8086:0x1521 -1 down 3c:ec:ef:00:00:02\n"
        "bond0 no yes - - 800000 up b8:3f:d2:00:00:01\n"
    )
    assert (up.speed_bits, up.driver, up.pci_id) == (400 * 10**9, "mlx5_core", "15b3:1021")
    assert (down.speed_bits, down.state) == (None, "down")
    assert (bond.is_physical, bond.is_default_route, bond.speed_bits) == (False, True, 800 * 10**9)
    assert parse_nics("ens5 yes yes ena 0x1d0f:0xec20 4294967295 up 0a:00:00:00:00:03\n")[0].speed_bits is None
    with pytest.raises(ParseError, match="network interface"):
        parse_nics("eno1 yes")


def test_infiniband_rates_are_read_with_their_state() -> None:
    ports = parse_infiniband(
        "mlx5_0\t1\t400 Gb/sec (4X NDR)\t4: ACTIVE\tInfiniBand\nmlx5_1\t1\t2.5 Gb/sec (1X SDR)\t1: DOWN\tEthernet\n"
    )
    assert [(port.rate_bits, port.is_active, port.link_layer) for port in ports] == [
        (400 * 10**9, True, "InfiniBand"),
        (25 * 10**8, False, "Ethernet"),
    ]
    with pytest.raises(ParseError, match="InfiniBand"):
        parse_infiniband("mlx5_0\t1\tfast\t4: ACTIVE\tInfiniBand")


def module(size: int, extended: int = 0) -> str:
    """An SMBIOS memory device (type 17, version 3.2) of a size word and its extension."""
    raw = bytearray(0x54)
    raw[0], raw[1] = 17, 0x54
    raw[0x0C:0x0E] = size.to_bytes(2, "little")
    raw[0x1C:0x20] = extended.to_bytes(4, "little")
    return raw.hex()


def test_memory_modules_are_counted_by_size() -> None:
    lines = [module(0x7FFF, 65536), module(16384), module(0), module(0xFFFF), module(0x8000 | 512), "not hex"]
    assert parse_memory_modules("\n".join(lines)) == (64 << 30, 16 << 30, 512 << 10)


def test_pcie_links_show_lanes_and_speed() -> None:
    links = parse_links(
        "0000:1B:00.0\t16\t16\t2.5 GT/s PCIe\t32.0 GT/s PCIe\n"
        "0000:43:00.0\t8\t16\t32.0 GT/s PCIe\t32.0 GT/s PCIe\n"
        "0000:52:00.0\t255\t255\tUnknown\tUnknown\n"
    )
    assert links["0000:1b:00.0"] == PciLink(16, 16, 2.5, 32.0)
    assert [link.is_narrow for link in links.values()] == [False, True, False]
    assert links["0000:52:00.0"] == PciLink(None, None, None, None)


def test_cores_are_counted_over_sockets() -> None:
    layout = "# CPU,Core,Socket,Node\n" + "\n".join(f"{n},{n % 4},{n % 4 // 2},{n % 4 // 2}" for n in range(8))
    cpu = parse_cpu("model name\t: INTEL(R) XEON(R)  PLATINUM 8592+\nModel name: other", layout)
    assert (cpu.model, cpu.sockets, cpu.cores, cpu.threads, cpu.numa_nodes) == (
        "INTEL(R) XEON(R) PLATINUM 8592+",
        2,
        4,
        8,
        2,
    )
    with pytest.raises(ParseError, match="lscpu"):
        parse_cpu("", "lscpu: not found")


def test_the_maker_is_named_and_may_be_silent() -> None:
    chassis = parse_chassis("sys_vendor=Supermicro\nproduct_name=SYS-821GE-TNHR\nproduct_serial=\nbios_version=2.1\n")
    assert (chassis.vendor, chassis.product, chassis.serial) == ("Supermicro", "SYS-821GE-TNHR", "")
