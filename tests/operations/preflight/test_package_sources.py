"""What preflight says of package sources that it finds, before anything changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.compat import Flavour
from ingot.facts.apt_sources import SourceFile
from ingot.facts.driver import DriverState, Kernel, Os
from ingot.facts.host import HostState
from ingot.facts.nvidia import GpuReport
from ingot.facts.packages import DescribedSources
from ingot.facts.pci import PciDevice, PciReading
from ingot.operations.preflight.package_sources import findings, notes, sources
from ingot.settings import Settings
from tests.settings.values import settings

pytestmark = pytest.mark.driver

KERNEL = "6.12.57+deb13-amd64"
DRIVER = DriverState(
    os=Os("debian", "13"),
    arch="x86_64",
    kernel=KERNEL,
    bus=PciReading((PciDevice("0000:01:00.0", 0x2237, 0x0302, driver="nvidia"),)),
    running="580.173.02",
    running_flavour=Flavour.OPEN,
    kernels=(Kernel(KERNEL, True, "580.173.02"),),
)
BARE = HostState(0, DRIVER, GpuReport((), ()), 1 << 36, (), 0.0, codename="trixie")
VALUES: Settings = settings()
CUDA = "/etc/apt/sources.list.d/cuda-debian13-x86_64.list"
NVIDIA = "https://developer.download.nvidia.com/compute/cuda/repos/debian13/x86_64/"
DOCKER = "https://download.docker.com/linux/debian"
CONFLICT = "Conflicting values set for option Signed-By regarding source {} {}: /a.gpg != /b.gpg"


def look(**files: str) -> HostState:
    found = tuple(SourceFile(f"/etc/apt/sources.list.d/{name}.list", text) for name, text in files.items())
    return replace(BARE, described=DescribedSources(found, {}, "amd64"))


def test_the_sources_of_every_role_are_known_beforehand() -> None:
    assert [source.name for source in sources(look(), VALUES, fronts=False)] == ["nvidia", "docker", "nvidia-toolkit"]
    jammy = replace(look(), driver=replace(DRIVER, os=Os("ubuntu", "22.04")), codename="jammy")
    assert [source.name for source in sources(jammy, VALUES, fronts=False)][-1] == "nginx"
    assert sources(look(), VALUES, fronts=True) == ()
    assert [one.name for one in sources(look(), settings(docker_source="distribution"), fronts=False)] == [
        "nvidia",
        "nvidia-toolkit",
    ]


def test_what_will_be_switched_off_is_said_before() -> None:
    found = list(notes(look(docker=f"deb {DOCKER} trixie stable", cuda=f"deb {NVIDIA} /"), VALUES, fronts=False))
    assert found == [
        f"/etc/apt/sources.list.d/{file}.list describes package source {name} ({uri}) without trusting exactly the key "
        "that `sources` expects; the deploy switches that off in the step in which it adds "
        f"/etc/apt/sources.list.d/ingot-{name}.sources, and keeps a copy that `ingot decommission` puts back"
        for file, name, uri in (("cuda", "nvidia", NVIDIA), ("docker", "docker", DOCKER))
    ]
    assert list(notes(look(other="deb https://other.example/ stable main"), VALUES, fronts=False)) == []


def test_what_will_be_used_is_said_too() -> None:
    host = look(docker=f"deb [signed-by=/k.asc] {DOCKER} trixie stable")
    assert VALUES.sources.docker
    host = replace(host, described=replace(host.described, keyrings={"/k.asc": VALUES.sources.docker.key_fingerprint}))
    assert list(notes(host, VALUES, fronts=False)) == [
        "/etc/apt/sources.list.d/docker.list describes package source docker as it should be, and is used"
    ]


def test_sources_that_apt_cannot_read_are_refused_where_a_deploy_does_not_mend_them() -> None:
    fault = CONFLICT.format("https://other.example/debian/", "stable")
    (said,) = findings(replace(look(), apt_fault=fault), VALUES, fronts=False)
    assert said.startswith(f"apt cannot read its package sources ({fault}), expected sources that it reads; correct ")
    assert list(findings(replace(look(), apt_fault="Malformed entry 1 in list file x"), VALUES, fronts=False))
    for uri, suite in ((f"{DOCKER}/", "trixie"), (NVIDIA, "/")):
        mended = replace(look(), apt_fault=CONFLICT.format(uri, suite))
        assert list(findings(mended, VALUES, fronts=False)) == []
    assert list(findings(look(), VALUES, fronts=False)) == []
