"""The driver's state: versions, flavours, kernels, packages and who uses the GPUs."""

import subprocess
from pathlib import Path

import pytest

from ingot.compat import Flavour
from ingot.facts import driver, nvidia, pci
from ingot.facts.driver import (
    Driver,
    DriverLook,
    Headers,
    license_flavour,
    parse_dkms_failed,
    parse_driver,
    parse_kernels,
    parse_library,
    parse_os_release,
    parse_packages,
    parse_running,
    parse_users,
    running_flavour,
)
from ingot.facts.errors import Unread
from ingot.facts.sections import Section

pytestmark = pytest.mark.driver

# Lines of /proc/driver/nvidia/version; sources: NVIDIA/open-gpu-kernel-modules issues and README (the two flavours).
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.03  Release Build\nGCC version: 14"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  590.48.01  Mon Dec  1 22:11:32 UTC 2025\n"

PACKAGES = """ii \tlinux-image-amd64\t6.12.57-1
ii \tlinux-image-6.12.57+deb13-amd64\t6.12.57-1
hi \tnvidia-driver-cuda\t580.159.03-1
rc \tnvidia-kernel-dkms\t570.86.15-1
iF \tnvidia-persistenced\t580.159.03-1
un \tnvidia-smi\t
"""


def sections(**changed: str) -> dict[str, Section]:
    """A Debian 13 host with the open driver running, as the fact's command answers."""
    answers = {
        "driver_running": OPEN,
        "driver_on_disk": "580.159.03\nDual MIT/GPL",
        "driver_library": "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.159.03",
        "driver_kernels": "6.12.57+deb13-amd64 yes 580.159.03",
        "driver_packages": PACKAGES,
        "driver_dkms": "nvidia/580.159.03, 6.12.57+deb13-amd64, x86_64: installed",
        "driver_users": "",
        "driver_headers": (
            "linux-headers-6.12.57+deb13-amd64:\n  Installed: (none)\n  Candidate: (none)\n"
            "brings linux-headers-6.12.60+deb13-amd64\nbrings linux-headers-6.12.60+deb13-common"
        ),
        "driver_stopped": "unit nvidia-dcgm.service",
        "driver_nvlink5_bridge": "0000:05:00.0",
        "driver_ib_umad": "there",
        "driver_xids": "[ 12.5] NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.",
        "os_release": 'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"',
        "machine": "x86_64\n6.12.57+deb13-amd64",
        "pending_kernel": "",
        "secure_boot": "",
        "pci": "0000:01:00.0 0x10de 0x2684 0x030000 0x1043 0x889a 0 nvidia -",
    }
    return {name: Section(text) for name, text in (answers | changed).items()} | {
        name: Section("", 1) for name in ("jetson", "driver_runfile")
    }


def test_a_host_is_read_whole() -> None:
    state = parse_driver(sections())
    assert (state.os.id, state.os.version, state.arch) == ("debian", "13", "x86_64")
    assert (state.running, state.on_disk, state.library) == ("580.159.03",) * 3
    assert (state.running_flavour, state.on_disk_flavour) == (Flavour.OPEN, Flavour.OPEN)
    assert (state.nouveau, state.secure_boot, state.jetson, state.newer_kernel) == (False, False, False, None)
    assert [xid.number for xid in state.xids] == [79]
    assert (state.stopped, state.nvlink5_bridge) == (("unit nvidia-dcgm.service",), True)
    assert (state.ib_umad, state.ib_umad_loaded) == (True, False)
    assert state.headers == Headers(False, "6.12.60+deb13-amd64")
    assert not state.lacks_headers, "they are there, whatever apt knows"
    assert parse_driver(sections(driver_kernels="6.12.57+deb13-amd64 no")).lacks_headers


def test_a_recording_from_before_xids_were_asked_for_is_read() -> None:
    later = ("driver_xids", "driver_stopped", "driver_nvlink5_bridge", "driver_ib_umad", "driver_headers")
    older = parse_driver({name: section for name, section in sections().items() if name not in later})
    assert (older.xids, older.stopped, older.nvlink5_bridge) == ((), (), None)


def test_the_questions_answered_are_the_questions_asked() -> None:
    assert set(sections()) == {*driver.QUESTIONS, "pci"}
    assert {"smi_query", "memory"} <= set(nvidia.QUESTIONS)
    assert "10de" in pci.QUESTION


@pytest.mark.parametrize(
    ("text", "version", "flavour"),
    [
        (OPEN, "580.159.03", Flavour.OPEN),
        (CLOSED, "590.48.01", Flavour.PROPRIETARY),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  515.57  Release", "515.57", Flavour.OPEN),
        ("", None, None),
    ],
)
def test_the_running_module_says_version_and_flavour(text: str, version: str | None, flavour: Flavour | None) -> None:
    assert (parse_running(text), running_flavour(text)) == (version, flavour)


@pytest.mark.parametrize(
    ("text", "flavour"), [("Dual MIT/GPL", Flavour.OPEN), ("NVIDIA", Flavour.PROPRIETARY), ("", None)]
)
def test_a_module_file_says_its_flavour_by_licence(text: str, flavour: Flavour | None) -> None:
    assert license_flavour(text) is flavour


def test_user_space_is_read_from_where_its_library_leads() -> None:
    assert parse_library("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.610.57.04\n") == "610.57.04"
    assert parse_library("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1\n") is None


def test_packages_keep_their_hold_and_their_state() -> None:
    packages = parse_packages(PACKAGES)
    assert (packages["nvidia-driver-cuda"].held, packages["nvidia-driver-cuda"].is_installed) == (True, True)
    assert not packages["nvidia-persistenced"].is_installed
    assert not packages["nvidia-kernel-dkms"].is_installed
    assert packages["nvidia-driver-cuda"].upstream == "580.159.03"


def test_headers_follow_the_kernel_meta_package_and_not_a_versioned_image() -> None:
    assert parse_driver(sections()).kernel_metas == ("linux-image-amd64",)


def test_a_newer_kernel_is_the_one_that_the_next_boot_takes() -> None:
    state = parse_driver(
        sections(driver_kernels="6.12.57+deb13-amd64 yes 580.159.03\n6.12.9+deb13-amd64 yes\n6.12.60+deb13-amd64 no")
    )
    assert state.newer_kernel == "6.12.60+deb13-amd64"


def test_a_kernel_without_module_has_none() -> None:
    first, second = parse_kernels("6.8.0-90-generic yes 580.159.03\n6.8.0-84-generic no \n")
    assert (first.module, first.headers) == ("580.159.03", True)
    assert (second.module, second.headers) == (None, False)


def test_dkms_says_what_is_not_installed() -> None:
    said = (
        "nvidia/580.159.03, 6.12.57+deb13-amd64, x86_64: installed\n"
        "nvidia/580.159.03, 6.12.60+deb13-amd64, x86_64: added\n"
    )
    assert parse_dkms_failed(said) == ("nvidia 580.159.03 for kernel 6.12.60+deb13-amd64 is only added",)


def test_users_are_named() -> None:
    users = ("python3 (pid 4711)", "VLLM::EngineCore (pid 4712)")
    assert parse_users("4711 python3\n4712 VLLM::EngineCore\n") == (users, ())


@pytest.mark.parametrize(
    "name", ["nv-hostengine", "dcgm-exporter", "nvidia_gpu_expo", "nvtop", "nvitop", "node_exporter", "btop"]
)
def test_a_program_that_reads_counters_uses_no_gpu(name: str) -> None:
    assert parse_users(f"12 {name}\n13 dcgmproftester1\n") == (("dcgmproftester1 (pid 13)",), (f"{name} (pid 12)",))


def test_secure_boot_is_on_only_where_the_firmware_says_so() -> None:
    assert parse_driver(sections(secure_boot="SecureBoot enabled")).secure_boot
    assert not parse_driver(sections(secure_boot="SecureBoot disabled")).secure_boot
    assert not parse_driver(sections(secure_boot="EFI variables are not supported on this system")).secure_boot


def test_os_release_may_be_quoted_or_not() -> None:
    os = parse_os_release('NAME="Ubuntu"\nID=ubuntu\nVERSION_ID="24.04"\n')
    assert (os.id, os.version) == ("ubuntu", "24.04")


def test_nouveau_is_seen_on_the_bus() -> None:
    assert parse_driver(sections(pci="0000:01:00.0 0x10de 0x2684 0x030000 - - 0 nouveau -")).nouveau


def test_a_look_that_was_cut_off_is_data() -> None:
    assert isinstance(Driver().process(["@@ingot-begin machine", "x86_64"]), Unread)
    assert isinstance(Driver().default(), Unread)


def test_this_machine_can_be_read() -> None:
    """The command runs in a plain shell and its answers parse, on whatever machine the tests run."""
    import subprocess

    done = subprocess.run(["sh", "-c", Driver().command()], capture_output=True, text=True, check=True)
    assert isinstance(Driver().process(done.stdout.splitlines()), DriverLook)


@pytest.mark.found
@pytest.mark.parametrize(
    ("gpu", "data", "found"),
    [
        ("0x2901", b"xx\0V\0SW_MNG\0", "0000:05:00.0"),
        ("0x3182", b"xx\0V\0SW_MNG\0", "0000:05:00.0"),
        ("0x2901", b"xx\0another card\0", ""),
        ("0x2330", b"xx\0V\0SW_MNG\0", ""),
    ],
    ids=["a B200 and its bridge", "a B300 and its bridge", "a B200 without it", "older than NVLink 5"],
)
def test_the_bridge_of_nvlink_5_switches_is_found_by_its_vital_product_data(
    tmp_path: Path, gpu: str, data: bytes, found: str
) -> None:
    for address, vendor, device in (("0000:01:00.0", "0x10de", gpu), ("0000:05:00.0", "0x15b3", "0x1021")):
        (tmp_path / address).mkdir()
        (tmp_path / address / "vendor").write_text(f"{vendor}\n")
        (tmp_path / address / "device").write_text(f"{device}\n")
    (tmp_path / "0000:05:00.0/vpd").write_bytes(data)
    question = driver.QUESTIONS["driver_nvlink5_bridge"].replace("/sys/bus/pci/devices", str(tmp_path))
    done = subprocess.run(["sh", "-c", f"({question})"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found
