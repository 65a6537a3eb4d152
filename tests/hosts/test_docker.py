"""Docker runs, starts at boot, and can hand out every GPU."""

from __future__ import annotations

from tests.hosts.look import Look
from tests.hosts.target import Target


def test_docker_runs_and_starts_at_boot(target: Target, look: Look) -> None:
    target.expect(
        "docker active enabled" in look.lines("units"), f"docker is not active and enabled: {look.lines('units')}"
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


def test_dockerd_listens_on_no_network(target: Target, look: Look) -> None:
    exposed = [line for line in look.lines("listeners") if "dockerd" in line or "docker-proxy" in line]
    target.expect(not exposed, f"docker listens on the network: {exposed}")
