"""The engines run, see their GPUs and nothing else, serve verified weights, and are out of reach."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest

from tests.hosts.look import Look
from tests.hosts.target import Target


@pytest.fixture
def containers(target: Target, look: Look) -> list[dict[str, Any]]:
    target.expect(look.containers, "there is no engine container; deploy")
    return look.containers


def test_every_engine_container_runs(target: Target, containers: list[dict[str, Any]]) -> None:
    down = {one["Name"]: one["State"]["Status"] for one in containers if one["State"]["Status"] != "running"}
    target.expect(not down, f"not running: {down}; see docker logs there")


def test_every_container_sees_its_own_gpus(target: Target, look: Look, containers: list[dict[str, Any]]) -> None:
    for one in containers:
        requests = one["HostConfig"]["DeviceRequests"] or []
        wanted = sorted(device.partition("=")[2] for request in requests for device in request["DeviceIDs"])
        target.expect(wanted, f"{one['Name']} was given no GPU")
        said = look.inside.get(one["Name"].removeprefix("/"), "nothing: it is not running")
        # With MIG the instance's GPU is listed too; what counts is what was given.
        kinds = {uuid.partition("-")[0] for uuid in wanted}
        seen = sorted(uuid for kind in kinds for uuid in re.findall(rf"UUID: ({kind}-[0-9a-f-]+)", said))
        target.expect(seen == wanted, f"{one['Name']} was given {wanted} and sees {seen}: {said.strip()}")


def test_containers_are_confined(target: Target, containers: list[dict[str, Any]]) -> None:
    for one in containers:
        settings = one["HostConfig"]
        found = {
            "privileged": settings["Privileged"],
            "added capabilities": settings["CapAdd"],
            "published ports": settings["PortBindings"],
            "docker socket": any("docker.sock" in mount["Source"] for mount in one["Mounts"]),
            "network of the host": settings["NetworkMode"] == "host",
            "writable root": not settings["ReadonlyRootfs"],
            "capabilities kept": settings["CapDrop"] != ["ALL"],
            "new privileges": not any("no-new-privileges" in option for option in settings["SecurityOpt"] or ()),
        }
        loose = [name for name, value in found.items() if value]
        target.expect(not loose, f"{one['Name']} has {', '.join(loose)}")


@pytest.mark.usefixtures("containers")
def test_the_weights_are_the_verified_ones(target: Target, look: Look) -> None:
    target.expect(not look.lines("models"), f"{'; '.join(look.lines('models'))}; deploy again")


def test_every_replica_is_healthy(target: Target, look: Look) -> None:
    replicas = [address for upstream in look.upstreams for address in upstream["replicas"]]
    target.expect(replicas, "the gateway knows of no replica; deploy")
    target.expect(
        look.lines("health") == [f"{address} 200" for address in replicas],
        f"replicas and their /health: {look.lines('health')}",
    )


def test_the_engines_port_is_out_of_reach(target: Target, look: Look) -> None:
    replicas = [address for upstream in look.upstreams for address in upstream["replicas"]]
    target.expect(replicas, "the gateway knows of no replica; deploy")
    for port in sorted({address.rpartition(":")[2] for address in replicas}):
        try:
            socket.create_connection((target.address, int(port)), timeout=3).close()
        except OSError:
            continue
        target.expect(False, f"port {port} of the engine can be reached from here")
