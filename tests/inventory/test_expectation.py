"""What was ordered, as people write it, and what a host has instead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ingot.facts.disks import Disk
from ingot.facts.driver import Os
from ingot.facts.hardware import Cpu, GpuSeen, HardwareSeen
from ingot.facts.host import HostLook
from ingot.facts.nics import InfinibandPort, Nic
from ingot.facts.pci import PciDevice, PciReading
from ingot.inventory.expectation import Expectation, parse, parse_disks, parse_gpus, parse_memory, parse_network
from ingot.inventory.host_files import ERROR_KEY, load
from ingot.operations.preflight.ordered_hardware import differences
from ingot.operations.preflight.preflight import findings
from tests.operations.preflight.test_preflight import GOOD, WANTED

pytestmark = pytest.mark.onboarding

GIB = 1 << 30
H100, H200, H100_NVL, A10G, A10 = 0x2330, 0x2335, 0x2321, 0x2237, 0x2236
NVME = 3_840_755_982_336
ORDERED = parse({"gpus": "8 x H100 80GB", "memory": "2 TB", "disks": "8 x 3.84 TB NVMe", "network": "400 Gb/s"})


def gpus(*ids: int) -> tuple[GpuSeen, ...]:
    return tuple(GpuSeen(PciDevice(f"0000:{number:02x}:00.0", one, 0x0302)) for number, one in enumerate(ids))


def nvmes(count: int, size: int = NVME) -> tuple[Disk, ...]:
    return tuple(Disk(f"nvme{number}n1", size, transport="nvme") for number in range(count))


SEEN = HardwareSeen(
    os=Os("ubuntu", "24.04"),
    arch="x86_64",
    kernel="6.8.0",
    bus=PciReading(),
    gpus=gpus(*[H100] * 8),
    cpu=Cpu("Xeon", 2, 112, 224),
    memory_bytes=2014 * GIB,
    disks=(Disk("sda", 960_197_124_096), *nvmes(8)),
    nics=(Nic("eth0", "up", 100_000_000_000),),
    infiniband=(InfinibandPort("mlx5_0", 1, 400_000_000_000, "ACTIVE"),),
)


def test_nothing_is_said_of_what_came_as_ordered() -> None:
    assert differences(ORDERED, SEEN) == ()


def test_nothing_is_said_where_nothing_was_stated() -> None:
    assert differences(Expectation(), replace(SEEN, gpus=())) == ()
    assert not parse({})


@pytest.mark.parametrize(
    ("text", "fits", "does_not"),
    [
        ("H100 80GB", H100, H100_NVL),
        ("NVIDIA H100 SXM 80 GB", H100, H100_NVL),
        ("h100-80gb", H100, H200),
        ("A10", A10, A10G),
        ("RTX4090", 0x2684, 0x2204),
        ("GeForce RTX 4090", 0x2684, 0x2704),
        ("L40", 0x26B5, 0x26B9),
        ("A100 40GB", 0x20B0, 0x20B2),
        ("H200 141GB", H200, H100),
    ],
)
def test_a_gpu_is_known_by_the_names_people_give_it(text: str, fits: int, does_not: int) -> None:
    ordered = Expectation(gpus=parse_gpus(text))
    assert differences(ordered, replace(SEEN, gpus=gpus(fits))) == ()
    assert len(differences(ordered, replace(SEEN, gpus=gpus(does_not)))) >= 1


def test_a_missing_gpu_is_named_with_what_is_there() -> None:
    (sentence,) = differences(Expectation(gpus=ORDERED.gpus), replace(SEEN, gpus=gpus(*[H100] * 7)))
    assert sentence.startswith("ordered 8 x H100 80GB, found 7 x H100 80GB HBM3; check seating")


def test_gpus_beside_the_ordered_ones_are_named() -> None:
    (sentence,) = differences(Expectation(gpus=ORDERED.gpus), replace(SEEN, gpus=gpus(*[H100] * 8, A10)))
    assert "found 1 x A10 besides" in sentence


def test_a_gpu_that_no_table_names_counts_as_ordered() -> None:
    assert differences(Expectation(gpus=parse_gpus("2 x R300")), replace(SEEN, gpus=gpus(0x3FF0, 0x3FF0))) == ()


def test_what_the_kernel_keeps_of_the_memory_is_no_difference_and_a_missing_module_is_one() -> None:
    memory = Expectation(memory=parse_memory("2 TB"))
    assert differences(memory, replace(SEEN, memory_bytes=2014 * GIB)) == ()
    (sentence,) = differences(memory, replace(SEEN, memory_bytes=1951 * GIB))
    assert sentence == "ordered 2 TB of memory, found 1951 GiB; look for a missing module"
    (sentence,) = differences(memory, replace(SEEN, memory_modules=(64 * GIB,) * 31))
    assert "found 1984 GiB in 31 modules" in sentence


def test_disks_are_counted_by_kind_and_size() -> None:
    ordered = Expectation(disks=parse_disks("2 x 960 GB SSD + 8 x 3.84TB NVMe"))
    assert differences(ordered, SEEN) == (
        "ordered 2 x 960 GB SSD, found 1 x 960 GB SSD; check bays, backplane and BIOS",
    )
    smaller = replace(SEEN, disks=nvmes(8, 1_920_383_410_176))
    assert "found 8 x 1.92 TB NVMe" in differences(Expectation(disks=ORDERED.disks), smaller)[0]
    assert "found no NVMe disk" in differences(Expectation(disks=ORDERED.disks), replace(SEEN, disks=()))[0]


def test_a_link_is_as_fast_as_ordered_on_ethernet_or_infiniband() -> None:
    ordered = Expectation(network=parse_network("2 x 400G"))
    (sentence,) = differences(ordered, SEEN)
    assert "found 1 x 400 Gb/s + 1 x 100 Gb/s" in sentence
    down = replace(SEEN, infiniband=(), nics=(Nic("eth0", "down"),))
    assert "found no link and 1 that is down" in differences(Expectation(network=ORDERED.network), down)[0]


@pytest.mark.parametrize("text", ["2 TB", "2TB", "2 TiB", "32 x 64 GB", "2048 GB", "2,0 TB"])
def test_memory_has_many_spellings(text: str) -> None:
    assert parse_memory(text).size_bytes == 2 << 40


@pytest.mark.parametrize("text", ["400 Gb/s", "400G", "400GbE", "400 Gbit/s", "400Gbps"])
def test_a_rate_has_many_spellings(text: str) -> None:
    assert parse_network(text)[0].bits == 400_000_000_000


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("gpus", "8", "names no GPU; write it as 8 x H100 80GB"),
        ("memory", "two terabytes", "states no one size; write it as 2 TB or 512 GB"),
        ("disks", "8 x NVMe", "states no one size; write it as 8 x 3.84 TB NVMe"),
        ("network", "fast", "is no link rate; write it as 400 Gb/s or 8 x 400 Gb/s"),
        ("gpu", "8 x H100", "unknown key `expect.gpu` (did you mean `gpus`?)"),
    ],
)
def test_a_host_file_with_another_spelling_is_refused_with_the_right_one(
    tmp_path: Path, key: str, text: str, said: str
) -> None:
    (tmp_path / "gpu-01.yaml").write_text(f'address: 10.0.0.1\nexpect: {{{key}: "{text}"}}\n')
    (_, _, data), *_ = load(tmp_path).members
    assert said in data[ERROR_KEY]
    assert f"expect.{key}" in data[ERROR_KEY]


def test_a_host_file_carries_its_expectation_to_the_host(tmp_path: Path) -> None:
    (tmp_path / "gpu-01.yaml").write_text('address: 10.0.0.1\nexpect: {gpus: "8 x H100 80GB", memory: "2 TB"}\n')
    (_, _, data), *_ = load(tmp_path).members
    assert data["expect"] == {"gpus": "8 x H100 80GB", "memory": "2 TB"}


def test_preflight_refuses_what_was_not_ordered_and_looks_for_it_in_its_one_command() -> None:
    found = findings(replace(GOOD, hardware=SEEN), replace(WANTED, expect=parse({"memory": "4 TB"})))
    assert found == ("ordered 4 TB of memory, found 2014 GiB; look for a missing module",)
    assert findings(replace(GOOD, hardware=SEEN), replace(WANTED, expect=ORDERED)) == ()
    look = HostLook()
    assert "lsblk" in look.command(["/"], [443], hardware=True)
    assert "lsblk" not in look.command(["/"], [443])
