"""The table of machines: what each gets, or the rule that refuses it."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ingot.compat import (
    Activation,
    Architecture,
    Card,
    DriverRequest,
    Fabric,
    Flavour,
    Image,
    Machine,
    Refused,
    Source,
    decide,
    lookup,
    objections,
    rules,
    version_key,
)
from ingot.compat import decision as decision_module
from ingot.operations.driver.answer import answer

pytestmark = pytest.mark.driver

OPEN, PROPRIETARY = Flavour.OPEN, Flavour.PROPRIETARY
NVIDIA, UBUNTU, DEBIAN = Source.NVIDIA, Source.UBUNTU, Source.DEBIAN

# Device ids by the names people use; the decision never sees a name.
M40, P40, V100, T4, RTX2080 = 0x17FD, 0x1B38, 0x1DB5, 0x1EB8, 0x1E81
A100, A10, A10G, RTX3060, RTX3090 = 0x20B2, 0x2236, 0x2237, 0x2504, 0x2204
L4, L40S, RTX4090, H100, H200, GH200 = 0x27B8, 0x26B9, 0x2684, 0x2330, 0x2335, 0x2342
B200, RTX5090, RTXPRO6000, GB10, B300, GB200 = 0x2901, 0x2B85, 0x2BB5, 0x2E12, 0x3182, 0x2941
K80, GTX480 = 0x102D, 0x06C0
V100_SWITCH, A100_SWITCH, H100_SWITCH = 0x1AC2, 0x1AF1, 0x22A3

CUDA13 = Image("vllm/vllm-openai:v0.32.0", (13, 0))
CUDA13_COMPAT = Image("vllm/vllm-openai:v0.32.0", (13, 0), compat_libraries=True)
CUDA129 = Image("vllm/vllm-openai:v0.32.0-cu129", (12, 9))


def cards(*device_ids: int, driver: str | None = None) -> tuple[Card, ...]:
    return tuple(Card(device_id, driver) for device_id in device_ids)


def debian(*device_ids: int, version: str = "13", **rest: object) -> Machine:
    values = {"kernel": "6.12.57+deb13-amd64", "kernel_metas": ("linux-image-amd64",)} | rest
    return Machine(cards(*device_ids), os_id="debian", os_version=version, **values)  # type: ignore[arg-type]


def ubuntu(*device_ids: int, version: str = "24.04", **rest: object) -> Machine:
    values = {"kernel": "6.8.0-90-generic", "kernel_metas": ("linux-image-generic",)} | rest
    return Machine(cards(*device_ids), os_id="ubuntu", os_version=version, **values)  # type: ignore[arg-type]


def switches(count: int, device_id: int) -> tuple[Card, ...]:
    return cards(*[device_id] * count)


@dataclass(frozen=True)
class Gets:
    """What a decision must say; what is not named is not judged."""

    flavour: Flavour = OPEN
    branch: int = 580
    source: Source = NVIDIA
    fabric: Fabric = Fabric.NONE
    activation: Activation = Activation.LOAD
    packages: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()
    warns: str = ""


@dataclass(frozen=True)
class Row:
    name: str
    machine: Machine
    gets: Gets | str
    request: DriverRequest = field(default_factory=DriverRequest)


DEBIAN_OPEN = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-persistenced")
DEBIAN_PROPRIETARY = ("nvidia-driver-cuda", "nvidia-kernel-dkms", "nvidia-persistenced")
UBUNTU_OPEN = ("libnvidia-compute-580", "nvidia-dkms-580-open", "nvidia-utils-580", "nvidia-compute-utils-580")
UBUNTU_PROPRIETARY = ("libnvidia-compute-580", "nvidia-dkms-580", "nvidia-utils-580", "nvidia-compute-utils-580")
SIGNED = (
    "linux-modules-nvidia-580-server-open-generic",
    "nvidia-headless-no-dkms-580-server-open",
    "nvidia-utils-580-server",
    "nvidia-compute-utils-580-server",
)
FM = ("nvidia-fabricmanager", "libnvidia-nscq")

TABLE = [
    # Every architecture on Debian 13, NVIDIA's repository.
    Row("debian13 maxwell", debian(M40), Gets(PROPRIETARY, packages=DEBIAN_PROPRIETARY)),
    Row("debian13 pascal", debian(P40), Gets(PROPRIETARY, packages=DEBIAN_PROPRIETARY)),
    Row("debian13 volta", debian(V100), Gets(PROPRIETARY, packages=DEBIAN_PROPRIETARY)),
    Row("debian13 turing", debian(T4), Gets(packages=DEBIAN_OPEN)),
    Row("debian13 ampere", debian(A10G, A10G, A10G, A10G), Gets(packages=DEBIAN_OPEN)),
    Row("debian13 ada", debian(RTX4090), Gets(packages=DEBIAN_OPEN)),
    Row("debian13 hopper pcie", debian(0x2331), Gets(packages=DEBIAN_OPEN)),
    Row("debian13 blackwell", debian(RTX5090), Gets(packages=DEBIAN_OPEN)),
    Row("debian12 ada", debian(L40S, version="12"), Gets(packages=DEBIAN_OPEN)),
    # Ubuntu.
    Row("ubuntu2204 ampere", ubuntu(A10, version="22.04"), Gets(packages=UBUNTU_OPEN)),
    Row("ubuntu2404 volta", ubuntu(V100), Gets(PROPRIETARY, packages=UBUNTU_PROPRIETARY)),
    Row("ubuntu2404 ada", ubuntu(RTX4090, RTX4090), Gets(packages=UBUNTU_OPEN)),
    Row("ubuntu2604 blackwell", ubuntu(RTXPRO6000, version="26.04"), Gets(packages=UBUNTU_OPEN)),
    Row(
        "ubuntu2404 branch 595 has no branch in its names",
        ubuntu(L4),
        Gets(branch=595, packages=("libnvidia-compute", "nvidia-dkms-open", "nvidia-persistenced")),
        DriverRequest(branch=595),
    ),
    Row("arm64 server", ubuntu(GH200, arch="aarch64"), Gets(packages=UBUNTU_OPEN)),
    Row("gb10", ubuntu(GB10, arch="aarch64"), Gets(packages=UBUNTU_OPEN)),
    # Switches.
    Row(
        "hgx h100",
        debian(*[H100] * 8, nvswitches=switches(4, H100_SWITCH)),
        Gets(fabric=Fabric.FABRIC_MANAGER, companions=FM),
    ),
    Row(
        "hgx a100",
        ubuntu(*[A100] * 8, nvswitches=switches(6, A100_SWITCH)),
        Gets(fabric=Fabric.FABRIC_MANAGER, companions=FM),
    ),
    Row(
        "hgx-2 v100",
        debian(*[V100] * 16, nvswitches=switches(12, V100_SWITCH)),
        Gets(PROPRIETARY, fabric=Fabric.FABRIC_MANAGER, companions=FM),
    ),
    Row(
        "hgx b200: switches are not on the bus",
        ubuntu(*[B200] * 8),
        Gets(fabric=Fabric.FABRIC_MANAGER_NVLINK5, companions=FM),
    ),
    Row("hgx b300", ubuntu(*[B300] * 8), Gets(fabric=Fabric.FABRIC_MANAGER_NVLINK5, companions=FM)),
    Row(
        "b200s passed through without their switches",
        ubuntu(*[B200] * 8, nvlink5_bridge=False),
        Gets(fabric=Fabric.NONE),
    ),
    Row(
        "one b200 with the bridge of its board",
        ubuntu(B200, nvlink5_bridge=True),
        Gets(fabric=Fabric.FABRIC_MANAGER_NVLINK5, companions=FM),
    ),
    Row(
        "a value overrides the choice",
        ubuntu(*[B200] * 8, nvlink5_bridge=True),
        Gets(fabric=Fabric.NONE),
        DriverRequest(fabric=Fabric.NONE),
    ),
    Row("one b200 passed through", ubuntu(B200), Gets(fabric=Fabric.NONE)),
    Row(
        "gb200 tray",
        ubuntu(*[GB200] * 4, arch="aarch64"),
        Gets(fabric=Fabric.IMEX, companions=("nvidia-imex",)),
    ),
    Row("h200 nvl: bridges need no manager", debian(0x233B, 0x233B), Gets(fabric=Fabric.NONE)),
    # Mixed boxes.
    Row("3090 and 3060", debian(RTX3090, RTX3060), Gets(packages=DEBIAN_OPEN)),
    Row("p40 and a10: one proprietary driver", debian(P40, A10), Gets(PROPRIETARY, packages=DEBIAN_PROPRIETARY)),
    Row("v100 and b200", debian(V100, B200), "no driver serves both"),
    Row("p40 and 5090", ubuntu(P40, RTX5090), "no driver serves both"),
    Row("v100 and gh200", ubuntu(V100, GH200, arch="aarch64"), "no driver serves both"),
    # Flavour wishes.
    Row("proprietary as asked", debian(A100), Gets(PROPRIETARY), DriverRequest(flavour=PROPRIETARY)),
    Row("open on volta", debian(V100), "open modules need a GSP (Turing and newer)", DriverRequest(flavour=OPEN)),
    Row(
        "proprietary on blackwell",
        debian(B200),
        "only the open modules drive this GPU",
        DriverRequest(flavour=PROPRIETARY),
    ),
    Row(
        "proprietary on grace hopper",
        ubuntu(GH200),
        "only the open modules drive this GPU",
        DriverRequest(flavour=PROPRIETARY),
    ),
    Row(
        "proprietary 615",
        debian(A100),
        "no proprietary modules from 615",
        DriverRequest(branch=615, flavour=PROPRIETARY),
    ),
    # Branches and versions.
    Row("595 drops pascal", debian(P40), "last branch of the architecture", DriverRequest(branch=595)),
    Row("blackwell on 535", debian(RTX5090), "first branch of the GPU", DriverRequest(branch=535)),
    Row(
        "a driver that does not build",
        debian(A10, kernel="7.0.9-1-amd64"),
        "a driver older than the kernel does not build against it",
        DriverRequest(version="580.119.02"),
    ),
    Row("b300 on 570", debian(B300), "first branch of the GPU", DriverRequest(branch=570)),
    Row("version older than the GPU", debian(0x2C3A), "first branch of the GPU", DriverRequest(version="580.126.20")),
    Row("a branch nobody knows", debian(A10), "branch unknown", DriverRequest(branch=581)),
    Row("version of another branch", debian(A10), "branch unknown", DriverRequest(version="595.71.05")),
    Row("exact version", debian(A10), Gets(packages=DEBIAN_OPEN), DriverRequest(version="580.173.02")),
    Row("version below the floor", debian(A10), "driver below the security floor", DriverRequest(version="580.126.20")),
    Row(
        "an ended branch warns",
        debian(A10),
        Gets(branch=570, warns="ended in February 2026"),
        DriverRequest(branch=570),
    ),
    # Secure Boot.
    Row("ubuntu signs its modules", ubuntu(A10, secure_boot=True), Gets(source=UBUNTU, packages=SIGNED)),
    Row(
        "secure boot, debian, no console",
        debian(A10, secure_boot=True),
        "Secure Boot accepts signed modules only",
    ),
    Row(
        "secure boot, debian, console",
        debian(A10, secure_boot=True, console=True),
        Gets(activation=Activation.REBOOT, packages=DEBIAN_OPEN),
    ),
    Row(
        "secure boot, debian, a driver that the firmware accepts runs",
        debian(A10, secure_boot=True, running_driver="580.173.02"),
        Gets(activation=Activation.NOTHING, packages=DEBIAN_OPEN),
    ),
    Row(
        "secure boot, ubuntu, nvidia's source as asked",
        ubuntu(A10, secure_boot=True),
        "Secure Boot accepts signed modules only",
        DriverRequest(source=NVIDIA),
    ),
    Row(
        "secure boot, hgx h100 on ubuntu",
        ubuntu(*[H100] * 8, secure_boot=True, nvswitches=switches(4, H100_SWITCH)),
        Gets(
            source=UBUNTU,
            fabric=Fabric.FABRIC_MANAGER,
            companions=("nvidia-fabricmanager-580", "libnvidia-nscq-580"),
        ),
    ),
    Row(
        "secure boot, volta on ubuntu",
        ubuntu(V100, secure_boot=True),
        Gets(
            PROPRIETARY,
            source=UBUNTU,
            packages=(
                "linux-modules-nvidia-580-server-generic",
                "nvidia-headless-no-dkms-580-server",
                "nvidia-utils-580-server",
                "nvidia-compute-utils-580-server",
            ),
        ),
    ),
    Row(
        "secure boot, gh200 on ubuntu for arm64",
        ubuntu(GH200, secure_boot=True, arch="aarch64", kernel_metas=("linux-image-nvidia",)),
        Gets(source=UBUNTU, packages=("linux-modules-nvidia-580-server-open-nvidia", *SIGNED[1:])),
    ),
    Row(
        "secure boot, ubuntu 22.04 with a newer kernel series",
        ubuntu(A10, version="22.04", secure_boot=True, kernel_metas=("linux-image-generic-hwe-22.04",)),
        Gets(source=UBUNTU, packages=("linux-modules-nvidia-580-server-open-generic-hwe-22.04", *SIGNED[1:])),
    ),
    Row(
        "secure boot, a virtual machine's kernel on ubuntu 26.04",
        ubuntu(
            A10,
            version="26.04",
            secure_boot=True,
            kernel_metas=("linux-image-extra-virtual", "linux-image-virtual"),
        ),
        Gets(source=UBUNTU, packages=SIGNED),
    ),
    Row(
        "secure boot, an ubuntu whose kernel nobody follows",
        ubuntu(A10, secure_boot=True, kernel_metas=(), newer_kernel="6.8.0-95-generic"),
        Gets(
            source=UBUNTU,
            packages=(
                "linux-modules-nvidia-580-server-open-6.8.0-90-generic",
                "linux-modules-nvidia-580-server-open-6.8.0-95-generic",
                *SIGNED[1:],
            ),
        ),
    ),
    Row(
        "secure boot, console, hgx h100 on ubuntu by nvidia's source",
        ubuntu(*[H100] * 8, secure_boot=True, console=True, nvswitches=switches(4, H100_SWITCH)),
        Gets(fabric=Fabric.FABRIC_MANAGER, companions=FM, activation=Activation.REBOOT),
        DriverRequest(source=NVIDIA),
    ),
    # Sources.
    Row("ubuntu's source as asked", ubuntu(A10), Gets(source=UBUNTU, packages=SIGNED), DriverRequest(source=UBUNTU)),
    Row("ubuntu's source on debian", debian(A10), "driver sources", DriverRequest(source=UBUNTU)),
    Row("debian's source on ubuntu", ubuntu(A10), "driver sources", DriverRequest(source=DEBIAN)),
    Row(
        "debian 12's own driver is 535",
        debian(A10, version="12"),
        Gets(branch=535, flavour=PROPRIETARY, source=DEBIAN, warns="ended in June 2026"),
        DriverRequest(branch=535, source=DEBIAN),
    ),
    Row(
        "debian 12's open modules are of another version than its libraries",
        debian(A10, version="12"),
        "Debian 12's open modules are older than its libraries",
        DriverRequest(branch=535, source=DEBIAN, flavour=OPEN),
    ),
    Row(
        "debian 13 has no 580 of its own",
        debian(A10),
        "Debian's own driver is of an ended branch",
        DriverRequest(source=DEBIAN),
    ),
    Row(
        "debian 13's own driver is 550",
        debian(A10),
        Gets(
            branch=550,
            source=DEBIAN,
            packages=("nvidia-open-kernel-dkms", "nvidia-smi", "libcuda1", "nvidia-persistenced"),
            warns="ended in 2025",
        ),
        DriverRequest(branch=550, source=DEBIAN),
    ),
    Row(
        "ubuntu's source as asked, branch 595",
        ubuntu(L4),
        Gets(branch=595, source=UBUNTU, packages=tuple(name.replace("580", "595") for name in SIGNED)),
        DriverRequest(branch=595, source=UBUNTU),
    ),
    Row("a card newer than every table", debian(0x3FFF), Gets(warns="newer than Ingot's device table")),
    # Images.
    Row("cuda 13 image on 580", debian(A10), Gets(), DriverRequest(image=CUDA13)),
    Row("cuda 12.9 image on 580", debian(A10), Gets(), DriverRequest(image=CUDA129)),
    Row(
        "cuda 13 image on a 535 geforce",
        debian(RTX4090, version="12"),
        "CUDA major of image and driver",
        DriverRequest(branch=535, image=CUDA13_COMPAT),
    ),
    Row(
        "cuda 13 image with compatibility libraries on a 535 data center card",
        debian(A100, version="12"),
        Gets(branch=535),
        DriverRequest(branch=535, image=CUDA13_COMPAT),
    ),
    Row(
        "cuda 13 image without them",
        debian(A100, version="12"),
        "CUDA major of image and driver",
        DriverRequest(branch=535, image=CUDA13),
    ),
    Row("cuda 13 image on volta", debian(V100), "architectures of the image", DriverRequest(image=CUDA13)),
    # What is already there.
    Row("nouveau holds the cards", debian(RTX4090, nouveau_loaded=True), Gets(activation=Activation.REBOOT)),
    Row("the right driver runs", debian(A10, running_driver="580.173.02"), Gets(activation=Activation.NOTHING)),
    Row("an older branch runs", debian(A10, running_driver="570.86.15"), Gets(activation=Activation.RELOAD)),
    Row(
        "another version is asked for",
        debian(A10, running_driver="580.159.03"),
        Gets(activation=Activation.RELOAD),
        DriverRequest(version="580.173.02"),
    ),
    Row("a newer kernel waits", debian(A10, newer_kernel="6.12.60+deb13-amd64"), Gets(activation=Activation.LOAD)),
    # Refusals of the machine itself.
    Row("kepler", debian(K80), "architecture without a supported driver"),
    Row("fermi beside ada", debian(RTX4090, GTX480), "architecture without a supported driver"),
    Row("no gpu", debian(), "an inference host has a GPU"),
    Row(
        "vfio",
        Machine(cards(B200, driver="vfio-pci")),
        "a GPU bound to vfio-pci belongs to a virtual machine",
    ),
    Row(
        "vfio beside free cards, nobody says which are Ingot's",
        Machine((*cards(A10, A10), *cards(V100, driver="vfio-pci"))),
        "a GPU bound to vfio-pci belongs to a virtual machine",
    ),
    Row(
        "vfio beside free cards that gpus_use names: the other is none of the driver's",
        Machine((*cards(A10, A10), *cards(V100, driver="vfio-pci")), partial=True),
        Gets(packages=DEBIAN_OPEN),
    ),
    Row(
        "all vfio, whatever gpus_use names",
        Machine(cards(A10, A10, driver="vfio-pci"), partial=True),
        "a GPU bound to vfio-pci belongs to a virtual machine",
    ),
    Row("vgpu", Machine((Card(A10, virtual=True),)), "a virtual GPU needs NVIDIA's licensed guest driver"),
    Row("jetson", debian(jetson=True, arch="aarch64"), "Jetson has its own driver"),
    Row("debian 11", debian(A10, version="11"), "supported platforms"),
    Row("rocky 9", Machine(cards(A10), os_id="rocky", os_version="9.6"), "supported platforms"),
    Row("riscv", debian(A10, arch="riscv64"), "supported processors"),
]
GIVEN = [row for row in TABLE if isinstance(row.gets, Gets)]
REFUSED = [row for row in TABLE if isinstance(row.gets, str)]
#: What decides each answer, by the name of its rule.
FABRIC_RULES = {
    Fabric.FABRIC_MANAGER: rules.FABRIC,
    Fabric.FABRIC_MANAGER_NVLINK5: rules.NVLINK5,
    Fabric.IMEX: rules.IMEX,
}


def test_the_table_has_every_kind_of_machine() -> None:
    assert len(TABLE) >= 40
    assert len({row.name for row in TABLE}) == len(TABLE)
    seen = {lookup(card.device_id).architecture for row in GIVEN for card in row.machine.gpus}
    assert seen == {one for one in Architecture if one >= Architecture.MAXWELL}
    got = [row.gets for row in GIVEN if isinstance(row.gets, Gets)]
    assert {one.source for one in got} == set(Source)
    assert {one.flavour for one in got} == set(Flavour)
    assert {one.fabric for one in got} == set(Fabric)
    assert {one.activation for one in got} == set(Activation)
    assert {(row.machine.os_id, row.machine.os_version) for row in GIVEN} == set(rules.PLATFORMS)
    assert {row.machine.arch for row in GIVEN} == set(rules.MACHINES)
    for secure_boot in (True, False):
        assert {row.machine.os_id for row in GIVEN if row.machine.secure_boot is secure_boot} == {"debian", "ubuntu"}


def test_the_table_has_every_refusal() -> None:
    calls = Path(decision_module.__file__).read_text(encoding="utf-8").split("raise Refused(")[1:]
    raised = {match.group(1) for call in calls if (match := re.search(r"rules\.([A-Z_]+),?\n? *\)", call))}
    assert len(raised) > 15
    assert {getattr(rules, name).name for name in raised} == {row.gets for row in REFUSED}


@pytest.mark.parametrize("row", GIVEN, ids=lambda row: row.name)
def test_a_machine_gets(row: Row) -> None:
    gets = row.gets
    assert isinstance(gets, Gets)
    decision = decide(row.machine, row.request)
    assert (decision.flavour, decision.branch, decision.source) == (gets.flavour, gets.branch, gets.source)
    assert decision.fabric is gets.fabric
    assert decision.activation is gets.activation
    assert decision.packages.companions == gets.companions
    if gets.packages:
        assert decision.packages.driver == gets.packages
    assert gets.warns in " ".join(reason.text for reason in decision.warnings)
    assert decision.minimum_toolkit == "1.19.1"
    # Nothing is decided without a reason and its source.
    assert all(reason.text and reason.rule.source for reason in decision.reasons)
    because = {reason.rule for reason in decision.reasons}
    assert because & {rules.OPEN_NEEDS_GSP, rules.OPEN_ONLY, rules.SOURCE, rules.DEBIAN_OPEN}
    assert because & set(FABRIC_RULES.values()) == {FABRIC_RULES[one] for one in [gets.fabric] if one in FABRIC_RULES}
    assert (rules.SECURE_BOOT in because) == row.machine.secure_boot


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_ingot_plan_says_the_decision_and_why(row: Row) -> None:
    first, *reasons = answer("gpu-01", row.machine, row.request).lines()
    if isinstance(row.gets, str):
        assert first.startswith("driver: none: ") and reasons == []
        return
    assert first.startswith("driver: ") and f"{row.gets.flavour} modules, from {row.gets.source}" in first
    assert all(reason.endswith(")") for reason in reasons) and len(reasons) >= 4


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_a_machine_is_refused(row: Row) -> None:
    with pytest.raises(Refused) as refusal:
        decide(row.machine, row.request)
    assert refusal.value.rule.name == row.gets
    assert refusal.value.rule.source
    # Found, expected, and what to do.
    assert ", expected " in refusal.value.found
    assert refusal.value.remedy
    assert str(refusal.value) in [str(one) for one in objections(row.machine, row.request)]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_preflight_objects_exactly_where_a_decision_is_refused(row: Row) -> None:
    assert bool(objections(row.machine, row.request)) == isinstance(row.gets, str)


def test_a_preflight_reports_the_platform_and_the_cards_at_once() -> None:
    found = objections(debian(K80, version="11"))
    assert [one.rule.name for one in found] == ["supported platforms", "architecture without a supported driver"]


def test_headers_are_those_of_the_running_kernel_and_of_the_meta_that_follows_it() -> None:
    headers = decide(debian(A10)).packages.headers
    assert headers == ("linux-headers-6.12.57+deb13-amd64", "linux-headers-amd64")


def test_a_kernel_that_the_next_boot_takes_gets_headers_too() -> None:
    headers = decide(debian(A10, newer_kernel="6.12.60+deb13-amd64")).packages.headers
    assert "linux-headers-6.12.60+deb13-amd64" in headers


def test_sources_are_never_mixed() -> None:
    assert decide(ubuntu(A10)).packages.rival_origin == "Ubuntu"
    assert decide(ubuntu(A10, secure_boot=True)).packages.rival_origin == "NVIDIA"
    assert decide(debian(A10)).packages.rival_origin is None


def test_a_kernel_with_prebuilt_modules_changes_with_the_driver_only() -> None:
    signed = decide(ubuntu(A10, secure_boot=True)).packages
    assert (signed.kernels, signed.headers) == (("linux-image-generic",), ())
    assert decide(ubuntu(A10)).packages.kernels == ()


def test_the_pin_is_of_the_branch_or_of_the_exact_version() -> None:
    assert decide(debian(A10)).packages.pin == "nvidia-driver-pinning-580"
    assert decide(debian(A10), DriverRequest(version="580.173.02")).packages.pin == "nvidia-driver-pinning-580.173.02"


def test_the_repository_is_named_as_nvidia_names_it() -> None:
    assert decide(debian(A10)).packages.repository == "debian13/x86_64"
    assert decide(ubuntu(GH200, arch="aarch64")).packages.repository == "ubuntu2404/sbsa"


def test_nvlink5_boards_get_the_subnet_manager_too() -> None:
    assert decide(ubuntu(*[B200] * 8)).packages.tools == ("nvlsm", "infiniband-diags", "libibumad3", "rdma-core")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("580.95.05", (580, 95, 5)),
        ("580.95.05-0ubuntu1", (580, 95, 5)),
        ("1:1.20.0-1", (1, 20, 0)),
        ("610.57", (610, 57)),
    ],
)
def test_versions_compare_as_numbers(text: str, key: tuple[int, ...]) -> None:
    assert version_key(text) == key
