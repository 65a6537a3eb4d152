"""PCI devices from sysfs and lspci: by id and class."""

import pytest

from ingot.facts.errors import ParseError
from ingot.facts.pci import is_vgpu, parse_lspci, parse_sysfs
from tests.facts.captures import capture

pytestmark = pytest.mark.driver

# As /sys of an RTX 4090 box, a vfio host and an HGX H100 shows them; one line per function.
RTX4090 = """0000:01:00.0 0x10de 0x2684 0x030000 0x1043 0x889a 0 nouveau -
0000:01:00.1 0x10de 0x22ba 0x040300 0x1043 0x889a 0 snd_hda_intel -
"""
HGX = """0000:05:00.0 0x10de 0x22a3 0x068000 0x10de 0x1796 0 - -
0000:19:00.0 0x10de 0x2330 0x030200 0x10de 0x16c1 0 - -
0000:3b:00.0 0x10de 0x2330 0x030200 0x10de 0x16c1 -1 - -
"""


def test_only_display_functions_are_gpus() -> None:
    bus = parse_sysfs(RTX4090)
    assert [device.address for device in bus.gpus] == ["0000:01:00.0"]
    assert {gpu.driver for gpu in bus.gpus} == {"nouveau"}
    assert bus.gpus[0].subsystem == (0x1043, 0x889A)


def test_switches_are_told_from_gpus_by_id() -> None:
    bus = parse_sysfs(HGX)
    assert (len(bus.gpus), len(bus.nvswitches)) == (2, 1)
    assert [gpu.numa_node for gpu in bus.gpus] == [0, None]
    assert bus.gpus[0].driver is None


def test_a_switch_may_be_printed_as_another_bridge() -> None:
    assert len(parse_sysfs("0000:05:00.0 0x10de 0x22a3 0x060400 - - - - -\n").nvswitches) == 1


def config(*capabilities: tuple[int, bytes]) -> str:
    """A configuration space with these capabilities chained from 0x60 on."""
    space = bytearray(256)
    space[0x06] = 0x10
    space[0x34] = 0x60
    for number, (kind, body) in enumerate(capabilities):
        place = 0x60 + 16 * number
        following = place + 16 if number + 1 < len(capabilities) else 0
        space[place : place + 2 + len(body)] = bytes((kind, following)) + body
    return space.hex()


@pytest.mark.parametrize(
    ("space", "virtual"),
    [
        (config((0x10, b""), (0x09, b"\x14VF")), True),
        (config((0x10, b""), (0x09, b"\x14XX")), False),
        (config(), False),
        ("00" * 64, False),
        ("-", False),
    ],
)
def test_a_virtual_gpu_says_so_in_its_configuration_space(space: str, virtual: bool) -> None:
    (gpu,) = parse_sysfs(f"0000:00:05.0 0x10de 0x2236 0x030000 0x10de 0x1450 0 - {space}\n").gpus
    assert gpu.is_virtual == virtual


def test_capabilities_in_a_circle_end() -> None:
    space = bytearray(256)
    space[0x06], space[0x34], space[0x41] = 0x10, 0x40, 0x40
    assert not is_vgpu(bytes(space))


def test_no_nvidia_device_is_an_empty_bus() -> None:
    assert parse_sysfs("").functions == ()


@pytest.mark.parametrize(
    "text", ["nonsense", "0000:01:00.0 0x8086 0x1 0x1 - - - - -", "0000:01:00.0 0x10de - - - - - - -"]
)
def test_a_line_that_is_no_device_is_one_sentence(text: str) -> None:
    with pytest.raises(ParseError):
        parse_sysfs(text)


@pytest.mark.parametrize(
    ("name", "gpus", "switches"),
    [
        ("gpud__lspci.nn.a10.txt", 1, 0),
        ("gpud__lspci.nn.a100.txt", 8, 6),
        ("lspci__b200-nnk.txt", 1, 0),
        ("lspci__h100-hgx-x8-iommu.txt", 3, 1),
        ("lspci__h100-link-downgraded.txt", 1, 0),
        ("lspci__h100-sxm-x4-vm.txt", 4, 0),
        ("lspci__rtx3060-with-audio.txt", 1, 0),
    ],
)
def test_lspci_is_read_by_its_numbers(name: str, gpus: int, switches: int) -> None:
    bus = parse_lspci(capture(name))
    assert (len(bus.gpus), len(bus.nvswitches)) == (gpus, switches)


def test_lspci_tells_who_holds_a_card() -> None:
    (gpu,) = parse_lspci(capture("lspci__b200-nnk.txt")).gpus
    assert (gpu.device_id, gpu.driver, gpu.subsystem) == (0x2901, "vfio-pci", (0x10DE, 0x1999))


def test_names_that_an_old_database_lacks_do_not_matter() -> None:
    (gpu,) = parse_lspci(
        "01:00.0 VGA compatible controller [0300]: NVIDIA Corporation Device [10de:2b85] (rev a1)"
    ).gpus
    assert gpu.device.label == "GB202 [GeForce RTX 5090] [10de:2b85]"
