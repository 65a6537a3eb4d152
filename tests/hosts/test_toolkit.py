"""Containers get GPUs by CDI, under their UUIDs, from the toolkit at one version."""

from __future__ import annotations

from ingot.facts.packages import parse_installed
from ingot.operations.containers.cdi import PACKAGES
from tests.hosts.look import Look
from tests.hosts.target import Target

#: A host that only fronts others has none of this, nor has one that serves on its processor.
OF_GPU_HOSTS = True


def test_the_toolkit_is_of_the_version_that_is_wanted_and_held(target: Target, look: Look) -> None:
    wanted, now = target.values.toolkit_version, parse_installed(look.text("toolkit"))
    other = {name: now[name].version if name in now else None for name in PACKAGES}
    other = {name: version for name, version in other.items() if not version or version.split("-")[0] != wanted}
    target.expect(not other, f"expected toolkit {wanted}, found {other}; deploy again")
    free = [name for name in PACKAGES if not now[name].held]
    target.expect(not free, f"not held back from upgrades: {', '.join(free)}; deploy again")


def test_one_specification_names_every_gpu_by_its_uuid(target: Target, look: Look) -> None:
    target.expect(len(look.specifications) == 1, f"expected one CDI specification, found {list(look.specifications)}")
    wanted = {f"nvidia.com/gpu={uuid}" for uuid in look.gpu_uuids}
    missing = sorted(wanted - look.cdi_devices)
    target.expect(wanted and not missing, f"no CDI device for {', '.join(missing) or 'any GPU'}; deploy again")


def test_the_specification_is_of_the_driver_that_runs(target: Target, look: Look) -> None:
    mounted = {
        mount["hostPath"].rpartition("libcuda.so.")[2]
        for one in look.specifications.values()
        for mount in one.get("containerEdits", {}).get("mounts", ())
        if "/libcuda.so." in mount["hostPath"]
    }
    target.expect(
        mounted <= {"1", look.driver.running}, f"containers get libcuda {mounted}, driver {look.driver.running} runs"
    )


def test_dockerd_knows_every_gpu_as_a_cdi_device(target: Target, look: Look) -> None:
    # Docker lists the devices themselves from 28.2 on; before, the directories that it reads them from.
    if "DiscoveredDevices" in look.docker:
        known = {device["ID"] for device in look.docker["DiscoveredDevices"] or ()}
    else:
        known = look.cdi_devices if look.docker.get("CDISpecDirs") else set()
    wanted = {f"nvidia.com/gpu={uuid}" for uuid in look.gpu_uuids}
    target.expect(wanted, "no GPU answers, so there is none to hand out")
    target.expect(wanted <= known, f"dockerd does not know {', '.join(sorted(wanted - known))}; deploy again")
