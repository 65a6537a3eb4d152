"""What the driver role does is decided from state: what is installed, what runs, who uses it."""

from dataclasses import replace

import pytest

from ingot.compat import Decision, DriverRequest, Flavour, Machine, Refused, Source, decide
from ingot.facts.driver import DriverLook, DriverState, Kernel, Os, Package
from ingot.facts.nvidia import GpuReport
from ingot.facts.pci import PciDevice, PciReading
from ingot.facts.smi_fault import Fault, GpuFault
from ingot.facts.smi_query import QueryRow
from ingot.operations.containers import cdi
from ingot.operations.driver.files import guards
from ingot.operations.driver.installation import versioned
from ingot.operations.driver.state import (
    as_decided,
    is_running_as_installed,
    needs_reboot,
    next_kernel,
    older_modules,
    problem,
    rivals,
    unbuilt,
)
from ingot.operations.package_source import upstream
from ingot.operations.tree import Absent, File
from ingot.settings.sources import DistributionRepository
from ingot.sizing import GPU
from tests.settings.values import DEFAULTS, settings

pytestmark = pytest.mark.driver

KERNEL = "6.12.57+deb13-amd64"


def packages(version: str = "580.173.02", *names: str) -> dict[str, Package]:
    names = names or ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-persistenced")
    return {name: Package(name, f"{version}-1", "ii", held=True) for name in names}


def h100(count: int) -> tuple[PciDevice, ...]:
    return tuple(PciDevice(f"0000:{1 + index:02x}:00.0", 0x2330, 0x0302, driver="nvidia") for index in range(count))


GOOD = DriverState(
    os=Os("debian", "13"),
    arch="x86_64",
    kernel=KERNEL,
    bus=PciReading((*h100(8), PciDevice("0000:05:00.0", 0x22A3, 0x0680))),
    running="580.173.02",
    running_flavour=Flavour.OPEN,
    on_disk="580.173.02",
    on_disk_flavour=Flavour.OPEN,
    library="580.173.02",
    kernels=(Kernel(KERNEL, True, "580.173.02"),),
    packages=packages() | packages("580.173.02", "nvidia-driver-pinning-580"),
)


def decision(state: DriverState = GOOD, request: DriverRequest | None = None) -> Decision:
    return decide(state.machine(), request)


def rows(count: int, fabric: str | None = "Completed") -> GpuReport:
    return GpuReport((), tuple(QueryRow(index=i, uuid=f"GPU-{i}", fabric_state=fabric) for i in range(count)))


def test_a_host_as_decided_needs_nothing() -> None:
    assert as_decided(decision(), GOOD)
    assert is_running_as_installed(GOOD)
    assert needs_reboot(GOOD) is None
    assert unbuilt(GOOD) == ()
    assert problem(DriverLook(GOOD, rows(8)), decision()) is None


def test_any_version_of_the_branch_is_as_decided_until_one_is_named() -> None:
    assert as_decided(decision(), replace(GOOD, packages=packages("580.159.03")))
    request = DriverRequest(version="580.173.02")
    assert not as_decided(decision(request=request), replace(GOOD, packages=packages("580.159.03")))
    assert versioned(decision(), ("nvidia-driver-cuda",)) == ("nvidia-driver-cuda=580.*",)
    assert versioned(decision(request=request), ("nvidia-driver-cuda",)) == ("nvidia-driver-cuda=580.173.02-*",)


def test_another_branch_or_flavour_gives_way() -> None:
    other = packages("570.86.15", "nvidia-driver-pinning-570", "nvidia-kernel-dkms", "nvidia-driver-cuda")
    state = replace(GOOD, packages=other)
    assert rivals(decision(), state) == ("nvidia-driver-pinning-570", "nvidia-kernel-dkms")
    assert not as_decided(decision(), state)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (replace(GOOD, bus=PciReading((replace(h100(1)[0], driver="nouveau"),))), "nouveau holds the GPUs"),
        (replace(GOOD, running="570.86.15"), "driver 570.86.15 (open) runs, 580.173.02 (open) is installed"),
        (replace(GOOD, running_flavour=Flavour.PROPRIETARY), "driver 580.173.02 (proprietary) runs, 580.173.02 (open)"),
        (replace(GOOD, running=None), None),
        (replace(GOOD, running=None, on_disk=None), None),
    ],
)
def test_a_reboot_follows_from_state_alone(state: DriverState, why: str | None) -> None:
    found = needs_reboot(state)
    assert (found is None) == (why is None)
    assert (why or "") in (found or "")


def test_a_library_of_another_version_does_not_run_as_installed() -> None:
    assert not is_running_as_installed(replace(GOOD, library="580.159.03"))


def test_modules_for_the_next_kernel_only_make_it_boot() -> None:
    """As Ubuntu's archive has them: prebuilt for its newest kernel, which came along with them."""
    kernels = (Kernel("6.8.0-90-generic", True, None), Kernel("6.8.0-151-generic", False, "580.178.04"))
    state = replace(GOOD, kernel="6.8.0-90-generic", kernels=kernels, running=None, on_disk=None)
    assert (
        needs_reboot(state) == "driver 580.178.04 is installed for kernel 6.8.0-151-generic, and 6.8.0-90-generic runs"
    )
    assert needs_reboot(replace(state, kernels=kernels[:1])) is None
    assert next_kernel(replace(state, on_disk="580.178.04")) is None


def test_prebuilt_modules_have_their_kernel_s_version() -> None:
    machine = replace(GOOD.machine(), os_id="ubuntu", os_version="24.04", kernel_metas=("linux-image-generic",))
    signed = decide(machine, DriverRequest(source=Source.UBUNTU))
    assert versioned(signed, signed.packages.driver[:2]) == (
        "linux-modules-nvidia-580-server-open-generic",
        "nvidia-headless-no-dkms-580-server-open=580.*",
    )
    older = "linux-modules-nvidia-580-server-open-6.8.0-90-generic"
    there = packages("6.8.0", older, *signed.packages.driver)
    assert older_modules(signed, replace(GOOD, packages=there)) == (older,)
    blacklist = next(one for one in guards(signed.packages) if isinstance(one, File) and "51ingot" in one.path)
    assert b'"linux-image-"' in blacklist.bytes
    assert not any(b"linux-image-" in one.bytes for one in guards(decision().packages) if isinstance(one, File))


def test_every_kernel_with_headers_must_have_the_module() -> None:
    kernels = (*GOOD.kernels, Kernel("6.12.60+deb13-amd64", True, None), Kernel("6.12.9+deb13-amd64", False, None))
    assert unbuilt(replace(GOOD, kernels=kernels)) == ("6.12.60+deb13-amd64",)


@pytest.mark.parametrize(
    ("report", "says"),
    [
        (rows(7), "7 GPUs answer of 8"),
        (rows(8, "In Progress"), "the NVLink fabric of GPU 0 is In Progress"),
        (GpuReport((), (), GpuFault(Fault.LOST, "GPU 2")), "a GPU is lost"),
    ],
)
def test_gpus_that_do_not_all_answer_are_said(report: GpuReport, says: str) -> None:
    assert says in (problem(DriverLook(GOOD, report), decision()) or "")


def test_a_lost_gpu_that_is_left_alone_stops_nobody() -> None:
    healthy = tuple(GPU(index, f"GPU-{index}", "NVIDIA H100", 80 << 30) for index in range(7))
    look = DriverLook(GOOD, GpuReport((), (), GpuFault(Fault.LOST, "GPU 7", healthy)))
    assert problem(look, decision(), [0, 1]) is None
    assert "a GPU is lost" in (problem(look, decision(), [0, 7]) or "")
    assert "a GPU is lost" in (problem(look, decision()) or "")


def test_a_source_is_that_of_the_distribution() -> None:
    said = {
        "uri": "https://mirror.example/{repository}/",
        "suite": "/",
        "component": "",
        "key_url": {
            "debian13": "https://mirror.example/{repository}/new.pub",
            "default": "https://mirror.example/old.pub",
        },
        "key_fingerprint": {"debian13": "A" * 40, "default": "B" * 40},
    }
    value = DistributionRepository.model_validate(said)
    new, old = upstream("nvidia", value, "debian13/x86_64"), upstream("nvidia", value, "ubuntu2404/sbsa")
    assert (new.uris, new.key_url) == (
        "https://mirror.example/debian13/x86_64/",
        "https://mirror.example/debian13/x86_64/new.pub",
    )
    assert (new.fingerprints, old.fingerprints) == (("A" * 40,), ("B" * 40,))


def test_no_file_of_others_is_deleted() -> None:
    gone = [entry.path for entry in guards(decision().packages) if isinstance(entry, Absent)]
    assert gone == ["/etc/apt/sources.list.d/ingot-debian.sources"]


def test_one_mirror_for_driver_and_toolkit_is_described_once() -> None:
    entry = {
        "uri": "file:/mirror",
        "suite": "stable",
        "component": "main",
        "key_url": "file:/key",
        "key_fingerprint": "A" * 40,
    }

    def name(**changed: str) -> str:
        given = {**DEFAULTS["sources"], "nvidia_driver": {**entry, **changed}, "nvidia_toolkit": entry}
        return cdi.source(settings(sources=given).sources).name

    assert name() == "nvidia"
    assert name(uri="file:/x") == "nvidia-toolkit"


def test_a_machine_is_what_the_look_found() -> None:
    machine = GOOD.machine(console=True)
    assert isinstance(machine, Machine)
    assert (len(machine.gpus), len(machine.nvswitches), machine.console) == (8, 1, True)
    with pytest.raises(Refused):
        decide(replace(GOOD, bus=PciReading()).machine())
