"""Docker runs as configured, starts at boot, and can be reached by nobody."""

from __future__ import annotations

import json

from ingot.operations.containers.docker import merged, ours
from ingot.operations.containers.takeover import MINIMUM
from tests.hosts.look import Look
from tests.hosts.target import Target

#: A host that only fronts others has none of this.
OF_SERVING_HOSTS = True


def test_docker_runs_and_starts_at_boot(target: Target, look: Look) -> None:
    state = look.unit("docker")
    target.expect(state == "active enabled", f"docker is {state}, expected active and enabled; deploy again")


def test_docker_is_new_enough_for_cdi(target: Target, look: Look) -> None:
    version = str(look.docker.get("ServerVersion", "0"))
    target.expect(int(version.split(".")[0]) >= MINIMUM, f"dockerd {version}, expected {MINIMUM} or newer")


def test_daemon_json_says_what_ingot_needs(target: Target, look: Look) -> None:
    now = look.json("daemon", {})
    wanted = merged(ours(target.values, shared=look.shares_docker), target.values.docker_daemon)
    if now.get("log-driver") not in ("json-file", "local"):
        wanted.pop("log-opts", None)
    other = [key for key, value in wanted.items() if json.dumps(now.get(key)) != json.dumps(value)]
    other = [key for key in other if merged(now, {key: wanted[key]}) != now]
    target.expect(not other, f"/etc/docker/daemon.json says something else about {', '.join(other)}; deploy again")


def test_dockerd_runs_with_it(target: Target, look: Look) -> None:
    found = {
        "live-restore": look.docker.get("LiveRestoreEnabled"),
        "CDI": look.docker.get("CDISpecDirs"),
    }
    if not look.shares_docker:
        options = look.docker.get("SecurityOptions") or ()
        found["no-new-privileges"] = any("no-new-privileges" in one for one in options)
        bridge = look.json("bridge", {})
        found["isolated containers (icc)"] = bridge.get("com.docker.network.bridge.enable_icc") == "false"
    off = [name for name, on in found.items() if not on]
    target.expect(not off, f"dockerd runs without {', '.join(off)}; deploy again, it is restarted then")


def test_docker_is_no_swarm(target: Target, look: Look) -> None:
    state = look.docker.get("Swarm", {}).get("LocalNodeState")
    target.expect(state in (None, "inactive"), f"docker is part of a swarm ({state}), which live-restore excludes")


def test_dockerd_listens_on_no_network(target: Target, look: Look) -> None:
    exposed = [line for line in look.lines("listeners") if "dockerd" in line or "docker-proxy" in line]
    target.expect(not exposed, f"docker listens on the network: {exposed}")


def test_nobody_is_given_dockers_socket(target: Target, look: Look) -> None:
    members = [line.split(":")[3] for line in look.lines("docker_group") if line.startswith("docker:")]
    target.expect(not any(members), f"users in group docker, which is root on the host: {', '.join(members)}")
    target.expect("root:docker 660" in look.lines("docker_group"), f"the socket is {look.lines('docker_group')[-1:]}")
