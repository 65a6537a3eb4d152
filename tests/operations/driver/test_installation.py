"""The driver's packages: their steps in their order, and what to do when its module does not build."""

from __future__ import annotations

import pytest

from ingot.compat import Card, Decision, DriverRequest, Machine, decide
from ingot.compat import Source as Origin
from ingot.facts.packages import AptLook, PackageState
from ingot.operations.driver import installation
from ingot.operations.package_source import Source
from ingot.operations.packages import compare

pytestmark = pytest.mark.driver

MIRROR = Source("nvidia", "file:/mirror", "stable", "main", "file:/key", "AA")
DRIVER = ("nvidia-driver-cuda=580.173.02-*", "nvidia-kernel-open-dkms=580.173.02-*")
NAMES = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms")
PIN = "nvidia-driver-pinning-580.173.02"


def change(look: AptLook, *rivals: str) -> list[list[str]]:
    made = installation.plan(look, PIN, DRIVER, (MIRROR,), (), NAMES, rivals)
    return [line.split("\t") for line in made.lines]


def decided(version: str | None = None, source: Origin | None = None, branch: int = 580) -> Decision:
    machine = Machine(gpus=(Card(0x2237),), os_id="debian", os_version="13", kernel="6.12.57+deb13-amd64")
    return decide(machine, DriverRequest(branch=branch, version=version, source=source))


def test_the_pin_is_installed_before_the_driver_s_dependencies_are_resolved() -> None:
    steps = change(AptLook({}))
    assert [step[0] for step in steps] == ["source", "removable", "install", "removable", "install", "hold"]
    assert (steps[2][2], steps[4][2]) == (PIN, " ".join(DRIVER))


def test_another_pin_goes_with_the_new_one_and_another_flavour_with_the_driver() -> None:
    rivals = ("nvidia-driver-pinning-580.159.03", "nvidia-kernel-dkms")
    steps = change(AptLook({name: PackageState("580.159.03-1", held=True) for name in (*NAMES, *rivals)}), *rivals)
    removed = [step[1] for step in steps if step[0] == "removable"]
    assert removed == ["nvidia-driver-pinning-580.159.03", "nvidia-kernel-dkms"]


def test_what_changes_its_version_is_held_again() -> None:
    held = {name: PackageState("580.159.03-1", held=True) for name in (*NAMES, PIN)}
    assert change(AptLook(held))[-1] == ["hold", " ".join(NAMES)]


def test_a_database_left_half_configured_is_finished_once() -> None:
    assert [step[0] for step in change(AptLook({}, broken=("nvidia-kernel-open-dkms",)))].count("configure") == 1


def test_nothing_is_done_where_everything_is_as_decided() -> None:
    look = AptLook({name: PackageState("580.173.02-1", held=True) for name in (*NAMES, PIN)})
    assert installation.plan(look, PIN, DRIVER, (), (), NAMES, ()) == compare(AptLook({}), ())


@pytest.mark.parametrize(
    ("decision", "says"),
    [
        (decided("580.173.02"), "set driver_version to another than 580.173.02"),
        (decided(), "set driver_version to one whose release notes name this kernel"),
        (decided(source=Origin.DEBIAN, branch=550), "set driver_source to nvidia"),
    ],
)
def test_a_module_that_does_not_build_has_a_remedy_that_fits_its_source(decision: Decision, says: str) -> None:
    assert installation.remedy(decision, "6.12.57+deb13-amd64").startswith(says)
