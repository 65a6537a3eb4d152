"""The engines run as planned, see their GPUs and nothing else, are confined, and are out of reach."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from ingot.engines import ENGINES, Engine
from ingot.engines.group.firewall import CHAIN
from ingot.facts.replica_holds import parse_holds
from ingot.operations.containers.image import image_source
from tests.hosts.look import PROJECT, Look
from tests.hosts.outside import Outside
from tests.hosts.target import Target

#: A host that only fronts others has none of this.
OF_SERVING_HOSTS = True


@pytest.fixture
def engines(target: Target, look: Look) -> list[dict[str, Any]]:
    target.expect(look.engines, "there is no engine container; deploy")
    return look.engines


def _name(container: Mapping[str, Any]) -> str:
    return str(container["Name"]).removeprefix("/")


def test_every_planned_replica_has_its_container(target: Target, look: Look) -> None:
    planned = look.json("plan", {}).get("plan", {}).get("replicas", [])
    target.expect(planned, "/var/lib/ingot/plan.json plans no replica; deploy")
    wanted = sorted(replica["model"] for replica in planned)
    found = sorted(one["Config"]["Labels"]["ingot.model"] for one in look.engines)
    target.expect(found == wanted, f"containers serve {found}, planned are {wanted}; deploy again")


def test_every_container_runs(target: Target, look: Look, engines: list[dict[str, Any]]) -> None:
    down = {_name(one): one["State"]["Status"] for one in look.ours if one["State"]["Status"] != "running"}
    target.expect(not down, f"not running: {down}; see docker logs there")


def test_every_replica_is_healthy(target: Target, look: Look) -> None:
    if not target.values.answers_at(target.name):
        pytest.skip("its replica is asked on the head of its group")
    target.expect(look.replicas, "the gateway knows of no replica; deploy")
    target.expect(
        sorted(look.lines("health")) == [f"{address} 200" for address in look.replicas],
        f"replicas and what their health routes say: {look.lines('health')}, expected 200 of {look.replicas}",
    )


def test_no_replica_is_held_out_for_its_gpu(target: Target, look: Look) -> None:
    holds = parse_holds(look.answers["replica_holds"].output)
    target.expect(not holds, "; ".join(hold.sentence for hold in holds))
    target.expect(
        look.unit("ingot-replica-watch.timer") == "active enabled",
        f"ingot-replica-watch.timer, which watches the GPUs, is {look.unit('ingot-replica-watch.timer')}; deploy again",
    )


def test_containers_come_back_after_a_boot(target: Target, look: Look) -> None:
    policies = {_name(one): one["HostConfig"]["RestartPolicy"]["Name"] for one in look.ours}
    # Parts of a group are started by its supervisor alone.
    parts = {_name(one) for one in look.parts}
    other = {
        name: policy
        for name, policy in policies.items()
        if policy not in (("no",) if name in parts else ("unless-stopped", "always"))
    }
    target.expect(not other, f"Docker does not restart {other}; deploy again")
    target.expect(
        look.unit("ingot-engine") == "active enabled",
        f"ingot-engine.service, which starts them at boot, is {look.unit('ingot-engine')}; deploy again",
    )


def _engine(look: Look, container: Mapping[str, Any]) -> Engine:
    """What a container runs, by the plan."""
    planned = look.json("plan", {}).get("plan", {}).get("replicas", [])
    model = container["Config"]["Labels"]["ingot.model"]
    return ENGINES[next((one.get("engine", "vllm") for one in planned if one["model"] == model), "vllm")]


def _on_gpus(look: Look, engines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in engines if _engine(look, one).needs_gpu]


def test_the_image_is_the_pinned_one(target: Target, look: Look, engines: list[dict[str, Any]]) -> None:
    names = {
        one["Id"]: {one["Id"], *(digest.partition("@")[2] for digest in one["RepoDigests"] or ())}
        for one in look.json("images", [])
    }
    for one in engines:
        wanted = image_source(target.values, _engine(look, one).name).reference
        known = names.get(one["Image"], {one["Image"]})
        target.expect(
            wanted in known or wanted.partition("@")[2] in known,
            f"{_name(one)} runs another image than {wanted}; deploy again",
        )


def test_every_container_sees_its_own_gpus(target: Target, look: Look, engines: list[dict[str, Any]]) -> None:
    for one in _on_gpus(look, engines):
        wanted = sorted(device.partition("=")[2] for device in _devices(one))
        target.expect(wanted, f"{_name(one)} was given no GPU")
        said = look.inside.get(_name(one), "nothing: it is not running")
        # With MIG the instance's GPU is listed too; what counts is what was given.
        kinds = {uuid.partition("-")[0] for uuid in wanted}
        seen = sorted(uuid for kind in kinds for uuid in re.findall(rf"UUID: ({kind}-[0-9a-f-]+)", said))
        target.expect(seen == wanted, f"{_name(one)} was given {wanted} and sees {seen}: {said.strip()}")


def test_gpus_are_given_in_the_way_that_outlives_a_daemon_reload(
    target: Target, look: Look, engines: list[dict[str, Any]]
) -> None:
    # What the runtime's hook injects behind systemd's back is cut off by the next `systemctl daemon-reload`.
    for one in _on_gpus(look, engines):
        drivers = {request["Driver"] for request in one["HostConfig"]["DeviceRequests"] or ()}
        target.expect(drivers == {"cdi"}, f"{_name(one)} has its GPUs by {drivers or 'nothing'}, expected CDI")
        target.expect(one["HostConfig"]["Runtime"] != "nvidia", f"{_name(one)} runs under the nvidia runtime")


def _devices(container: Mapping[str, Any]) -> list[str]:
    requests = container["HostConfig"]["DeviceRequests"] or []
    return [device for request in requests for device in request["DeviceIDs"] or ()]


def test_containers_are_confined(target: Target, look: Look, engines: list[dict[str, Any]]) -> None:
    for one in look.ours:
        settings = one["HostConfig"]
        found = {
            "privileged": settings["Privileged"],
            "added capabilities": settings["CapAdd"],
            "capabilities kept": settings["CapDrop"] != ["ALL"],
            "new privileges": not any("no-new-privileges" in option for option in settings["SecurityOpt"] or ()),
            "a security profile off": any("unconfined" in option for option in settings["SecurityOpt"] or ()),
            "root as its user": one["Config"]["User"].partition(":")[0] in ("", "0", "root"),
            "a writable root": not settings["ReadonlyRootfs"],
            "devices of the host": settings["Devices"],
            "processes of the host": settings["PidMode"] == "host",
            "memory segments of the host": settings["IpcMode"] == "host",
            "the docker socket": any("docker.sock" in mount["Source"] for mount in one["Mounts"]),
            "unbounded logs": not settings["LogConfig"]["Config"].get("max-size"),
        }
        loose = [name for name, value in found.items() if value]
        target.expect(not loose, f"{_name(one)} has {', '.join(loose)}; deploy again")


def test_containers_have_no_way_in_or_out(target: Target, look: Look, engines: list[dict[str, Any]]) -> None:
    for one in look.ours:
        target.expect(
            not one["HostConfig"]["PortBindings"], f"{_name(one)} publishes {one['HostConfig']['PortBindings']}"
        )
        networks = set(one["NetworkSettings"]["Networks"])
        allowed = {"host"} if one in look.parts else {PROJECT, "none"}
        target.expect(networks <= allowed, f"{_name(one)} is on the networks {networks}")
    if look.parts:
        rules = look.lines("group_rules")
        closed = f"-A {CHAIN} -j DROP" in rules and any(rule.startswith("-A OUTPUT ") for rule in rules)
        target.expect(closed, f"its part of a group may speak with anybody: {rules}; deploy again")
        return
    networks = look.json("networks", [])
    target.expect(
        networks and all(network["Internal"] for network in networks), "the engines' network has a way out; deploy"
    )


def test_containers_are_bounded(target: Target, look: Look, engines: list[dict[str, Any]]) -> None:
    cpu = target.values.engine_build == "cpu"
    for one in engines:
        settings = one["HostConfig"]
        wanted = {} if cpu or not _engine(look, one).needs_gpu else dict(target.values.engine_ulimits)
        limits = {limit["Name"]: limit["Hard"] for limit in settings["Ulimits"] or ()}
        other = {name: limits.get(name) for name, limit in wanted.items() if limits.get(name) != limit}
        target.expect(not other, f"{_name(one)} has the limits {other}, expected {wanted}; deploy again")
        # A host whose kernel counts no processes (a test host's) is not asked to.
        bounded = settings["PidsLimit"] == target.values.engine_pids or not look.docker.get("PidsLimit")
        target.expect(bounded, f"{_name(one)} may have {settings['PidsLimit']} processes; deploy again")
        target.expect(
            settings["ShmSize"] == target.values.engine_shm_bytes,
            f"{_name(one)} has {settings['ShmSize']} bytes of shared memory; deploy again",
        )


def test_the_model_cannot_be_written_by_its_engine(target: Target, engines: list[dict[str, Any]]) -> None:
    for one in engines:
        writable = [mount["Destination"] for mount in one["Mounts"] if mount["RW"]]
        open_to_it = any(path == "/model" or path.startswith("/model/") for path in writable)
        target.expect(not open_to_it, f"{_name(one)} may write its model; deploy again")


def test_the_engines_port_is_out_of_reach(target: Target, outside: Outside) -> None:
    port = target.values.engine_port
    target.expect(not outside.open_ports[port], f"port {port} of the engine can be reached from here")


def test_the_host_was_booted_anew(request: pytest.FixtureRequest, target: Target, look: Look) -> None:
    """Everything else that was found is then of the new boot."""
    asked = request.config.getoption("--reboot")
    target.expect(not asked or len(set(target.boots)) == 2, "told to reboot, and the same boot still answers")
    target.expect(not asked or look.text("boot") == target.boots[1], "rebooted once more while it was looked at")
