"""Drivers of other branches and archives, kernels without headers, and boards whose switches sit elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.compat import Fabric, Source
from ingot.compat.machine import DriverRequest
from ingot.facts.driver import Headers, Kernel, Os, parse_headers
from ingot.operations.driver.files import settings
from ingot.operations.driver.kernel_upgrade import newest_kernel
from ingot.operations.driver.state import as_decided, headers_missing, may_go, rivals
from ingot.operations.tree import Absent, File
from tests.operations.driver.test_driver import GOOD, decision, packages

pytestmark = [pytest.mark.driver, pytest.mark.found]

#: What `apt install nvidia-driver-535` leaves on Ubuntu.
UBUNTU_535 = (
    "libnvidia-compute-535",
    "libnvidia-gl-535",
    "libnvidia-common-535",
    "nvidia-compute-utils-535",
    "nvidia-dkms-535",
    "nvidia-driver-535",
    "nvidia-firmware-535-535.309.01",
    "nvidia-kernel-common-535",
    "nvidia-kernel-source-535",
    "nvidia-utils-535",
    "xserver-xorg-video-nvidia-535",
)
#: Nobody's driver, although their names say so.
NOT_OF_A_DRIVER = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container1",
    "libnvidia-container-tools",
    "nvidia-docker2",
    "datacenter-gpu-manager",
    "cuda-toolkit-12-8",
    "linux-image-amd64",
)
UBUNTU = replace(GOOD, os=Os("ubuntu", "24.04"))


def test_every_package_of_another_branch_gives_way_and_the_toolkit_stays() -> None:
    state = replace(UBUNTU, packages=packages("535.309.01", *UBUNTU_535, *NOT_OF_A_DRIVER))
    wanted = decision(state)
    assert rivals(wanted, state) == tuple(sorted(UBUNTU_535))
    assert may_go(wanted, state) == ()
    assert not as_decided(wanted, state)


def test_ubuntu_s_server_series_and_the_other_one_exclude_each_other() -> None:
    server = ("nvidia-utils-580-server", "linux-modules-nvidia-580-server-open-6.8.0-90-generic")
    state = replace(UBUNTU, packages=packages("580.178.04", *server, "nvidia-utils-580", "nvidia-fabricmanager-580"))
    assert rivals(decision(state), state) == ("nvidia-utils-580-server",)
    signed = decision(state, DriverRequest(source=Source.UBUNTU))
    assert rivals(signed, state) == ("nvidia-utils-580",)


def test_packages_without_a_branch_may_be_exchanged_by_apt() -> None:
    state = replace(UBUNTU, packages=packages("595.71.05", "libnvidia-compute", "nvidia-dkms-open", "libcuda1"))
    wanted = decision(state)
    assert rivals(wanted, state) == ("nvidia-dkms-open",)
    assert may_go(wanted, state) == ("libcuda1", "libnvidia-compute")


def test_what_a_branch_left_and_hurts_nobody_is_no_reason_for_a_change() -> None:
    left = packages("535.309.01", "libnvidia-common-535", "nvidia-firmware-535-535.309.01")
    state = replace(GOOD, packages={**(GOOD.packages or {}), **left})
    assert as_decided(decision(), state)
    assert rivals(decision(), state) == ("libnvidia-common-535", "nvidia-firmware-535-535.309.01")


def test_meta_packages_are_told_from_kernels_and_debug_symbols() -> None:
    kernels = ("linux-image-6.12.57+deb13-amd64", "proxmox-kernel-6.8.12-4-pve")
    metas = ("linux-image-amd64", "linux-image-extra-virtual", "proxmox-default-kernel", "proxmox-kernel-6.8")
    names = (*kernels, *metas, "linux-image-amd64-dbg", "proxmox-kernel-helper")
    state = replace(GOOD, packages=packages("1", *names))
    assert state.kernel_metas == metas
    assert not any("dbg" in name or "extra" in name for name in decision(state).packages.headers)


POLICY = """linux-headers-6.8.0-40-generic:
  Installed: (none)
  Candidate: {}
  Version table:
brings linux-headers-6.8.0-151
brings linux-headers-6.8.0-151-generic
"""
PROXMOX = """proxmox-headers-6.8.4-2-pve:
  Installed: (none)
  Candidate: (none)
brings proxmox-headers-6.8.12-4-pve
"""


@pytest.mark.parametrize(
    ("text", "kernel", "headers"),
    [
        (POLICY.format("(none)"), "6.8.0-40-generic", Headers(False, "6.8.0-151-generic")),
        (POLICY.format("6.8.0-40.40"), "6.8.0-40-generic", Headers(True, "6.8.0-151-generic")),
        (PROXMOX, "6.8.4-2-pve", Headers(False, "6.8.12-4-pve")),
        ("", "6.8.0-40-generic", None),
        ("brings linux-headers-6.8.0-151-generic\n", "6.8.0-40-generic", Headers(False, "6.8.0-151-generic")),
    ],
)
def test_what_apt_knows_of_headers_is_read(text: str, kernel: str, headers: Headers | None) -> None:
    assert parse_headers(text, kernel) == headers


OLD = replace(
    GOOD,
    running=None,
    on_disk=None,
    kernels=(Kernel(GOOD.kernel, False),),
    headers=Headers(False, "6.12.60+deb13-amd64"),
    packages=packages("1", "linux-image-amd64"),
)


def test_a_kernel_without_headers_is_said_with_the_one_that_has_them() -> None:
    said = headers_missing(decision(OLD), OLD) or ""
    for words in (GOOD.kernel, "6.12.60+deb13-amd64", "set driver_kernel_upgrade to true"):
        assert words in said
    assert [line.split("\t")[-1] for line in newest_kernel(OLD).lines] == ["-", "linux-image-amd64 linux-headers-amd64"]


@pytest.mark.parametrize(
    "state",
    [
        replace(OLD, kernels=(Kernel(GOOD.kernel, True),)),
        replace(OLD, headers=Headers(True, "6.12.60+deb13-amd64")),
        replace(OLD, headers=Headers(False, None)),
        replace(OLD, headers=None),
        replace(
            GOOD, kernels=(Kernel(GOOD.kernel, False, "580.173.02"),), headers=Headers(False, "6.12.60+deb13-amd64")
        ),
    ],
    ids=["they are here", "apt has them", "apt knows no other kernel", "apt knows nothing", "the module is built"],
)
def test_a_kernel_is_left_alone_where_its_module_can_be_built_or_nothing_is_known(state: object) -> None:
    assert headers_missing(decision(state), state) is None  # type: ignore[arg-type]


def test_ubuntu_s_prebuilt_modules_need_no_headers() -> None:
    state = replace(OLD, os=Os("ubuntu", "24.04"), headers=Headers(False, "6.8.0-151-generic"))
    assert headers_missing(decision(state, DriverRequest(source=Source.UBUNTU)), state) is None


def test_the_way_to_an_nvlink_5_board_s_switches_is_there_at_every_boot() -> None:
    board = decision(replace(GOOD, nvlink5_bridge=True), DriverRequest(fabric=Fabric.FABRIC_MANAGER_NVLINK5))
    assert any(isinstance(one, File) and b"\nib_umad\n" in one.bytes for one in settings(board))
    assert any(isinstance(one, Absent) and "nvlink5" in one.path for one in settings(decision()))
