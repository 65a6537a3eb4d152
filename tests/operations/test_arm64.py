"""Servers with an arm64 processor (GH200, GB10): what the roles decide for recorded machines; none was booted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.compat import Fabric, Flavour, Refused, decide
from ingot.compat.machine import DriverRequest
from ingot.facts.docker import DockerState
from ingot.facts.driver import DriverState, Kernel, Os, parse_library, parse_running, running_flavour
from ingot.facts.pci import parse_lspci, parse_sysfs
from ingot.facts.smi_fault import Fault
from ingot.operations.containers import cdi, docker
from ingot.operations.package_source import upstream
from ingot.operations.preflight.findings import findings
from tests.facts.captures import SECOND
from tests.operations.preflight.test_preflight import NEW, faulty, wanted
from tests.settings.values import DEFAULTS, settings

pytestmark = [pytest.mark.driver, pytest.mark.found]

#: A GH200 (id and class as lspci shows them) and the kernels that NVIDIA and Canonical make for such hosts.
GH200 = DriverState(
    os=Os("ubuntu", "24.04"),
    arch="aarch64",
    kernel="6.8.0-1021-nvidia-64k",
    bus=parse_sysfs("0009:01:00.0 0x10de 0x2342 0x030200 0x10de 0x16eb 0 - -"),
    kernels=(Kernel("6.8.0-1021-nvidia-64k", False),),
)
#: A GB10 by its own bus: bridges of NVIDIA's beside the one GPU.
GB10 = replace(
    GH200,
    kernel="6.11.0-1016-nvidia",
    bus=parse_lspci((SECOND / "lspci__gb10-bridges.txt").read_text(encoding="utf-8")),
    kernels=(Kernel("6.11.0-1016-nvidia", False),),
)
MACHINES = pytest.mark.parametrize("state", [GH200, GB10], ids=["gh200", "gb10"])


@MACHINES
def test_the_driver_is_the_open_one_from_the_server_repository(state: DriverState) -> None:
    decision = decide(state.machine())
    assert (decision.flavour, decision.branch, decision.fabric) == (Flavour.OPEN, 580, Fabric.NONE)
    assert decision.packages.repository == "ubuntu2404/sbsa"
    assert decision.packages.headers == (f"linux-headers-{state.kernel}",)
    with pytest.raises(Refused, match="expected 'open'"):
        decide(state.machine(), DriverRequest(flavour=Flavour.PROPRIETARY))


def test_gb10_needs_branch_580() -> None:
    with pytest.raises(Refused, match="expected branch 580 or newer"):
        decide(GB10.machine(), DriverRequest(branch=570))


@MACHINES
def test_preflight_has_nothing_against_it(state: DriverState) -> None:
    new = replace(NEW, driver=state, gpus=faulty(Fault.NOT_INSTALLED))
    assert findings(new, wanted(serve=[])) == ()


def test_the_running_driver_is_read() -> None:
    banner = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.95.05  Release Build  (dvs-builder@x)"
    assert (parse_running(banner), running_flavour(banner)) == ("580.95.05", Flavour.OPEN)
    assert parse_library("/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.580.95.05\n") == "580.95.05"


def test_sources_of_docker_and_of_the_toolkit_are_for_its_processor() -> None:
    state = DockerState("ubuntu", "24.04", "noble", "arm64", None, "")  # type: ignore[call-arg]
    value = {"suite": "/", "component": "", "key_url": "file:/key", "key_fingerprint": "A" * 40}
    chosen = settings(
        sources={
            **DEFAULTS["sources"],
            "docker": {**value, "uri": "https://mirror.example/{os}"},
            "nvidia_driver": {**value, "uri": "https://mirror.example/{repository}/"},
            "nvidia_toolkit": {**value, "uri": "https://mirror.example/deb/$(ARCH)"},
        }
    )
    _, (made,) = docker.wanted(chosen, state)
    assert (made.architectures, made.uris) == ("arm64", "https://mirror.example/ubuntu")
    driver = upstream("nvidia", chosen.sources.nvidia_driver, "ubuntu2404/sbsa")
    assert driver.uris == "https://mirror.example/ubuntu2404/sbsa/"
    assert cdi.source(chosen.sources).uris == "https://mirror.example/deb/$(ARCH)"
