"""Container engines that are there before Ingot: kept, exchanged, stopped, or refused with the containers named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ingot.facts.docker import Container, Daemon, DockerState, Program
from ingot.facts.packages import PackageState
from ingot.operations.containers.takeover import Takeover, takeover
from tests.settings.values import settings

pytestmark = pytest.mark.found

BARE = DockerState("debian", "13", "trixie", "amd64")
WEB, DB = Container("web", running=True), Container("db")
OWN_FLAGS = ("-H", "fd://", "--containerd=/run/containerd/containerd.sock")


def having(*names: str) -> dict[str, PackageState]:
    return {name: PackageState("1") for name in names}


DEBIAN = replace(
    BARE,
    version=(26, 1, 5),
    packages=having("docker.io", "docker-cli", "containerd", "runc"),
    dockerd=Program("/usr/sbin/dockerd", "docker.io"),
    docker=Program("/usr/bin/docker", "docker-cli"),
    says="Docker version 26.1.5+dfsg1, build a72d7cd",
    daemons=(Daemon(0, "/usr/sbin/dockerd", OWN_FLAGS),),
    containers=(WEB, DB),
    drivers=("overlay2",),
)
VENDOR = replace(
    DEBIAN,
    version=(29, 1, 0),
    packages=having("docker-ce", "docker-ce-cli", "containerd.io"),
    dockerd=Program("/usr/bin/dockerd", "docker-ce"),
    docker=Program("/usr/bin/docker", "docker-ce-cli"),
)
SNAP = replace(BARE, daemons=(Daemon(0, "/snap/docker/2932/bin/dockerd"),), snap=(WEB, DB))
FROM_DISTRIBUTION = {"docker_source": "distribution"}


def decided(found: DockerState, **values: Any) -> Takeover:
    return takeover(found, settings(**values))


@pytest.mark.parametrize("found", [BARE, VENDOR, replace(VENDOR, containers=())], ids=["bare", "shared", "own"])
def test_a_host_with_nothing_or_with_dockers_own_packages_keeps_what_it_has(found: DockerState) -> None:
    assert replace(decided(found), notes=()) == Takeover()


def test_the_distributions_docker_is_exchanged_with_its_containers() -> None:
    found = decided(DEBIAN)
    assert found.exchanges and not found.stops
    assert found.removes == ("docker.io", "docker-cli", "containerd", "runc")
    (note,) = found.notes
    assert "container web" in note and "stopped and started again" in note and "db" not in note


def test_the_distributions_docker_stays_where_that_is_asked_for() -> None:
    assert replace(decided(DEBIAN, **FROM_DISTRIBUTION), notes=()) == Takeover()


def test_an_older_engine_of_dockers_is_brought_to_the_newest_version() -> None:
    found = decided(replace(VENDOR, version=(24, 0, 9)))
    assert found.exchanges and found.newest and found.removes == ()


def test_podmans_wrapper_gives_way_and_podman_stays() -> None:
    found = decided(
        replace(
            BARE,
            packages=having("podman-docker"),
            docker=Program("/usr/bin/docker", "podman-docker", is_script=True),
            says="podman version 5.4.2",
            podman=("cache",),
        )
    )
    assert (found.stops, found.removes, found.exchanges) == ((), ("podman-docker",), False)
    assert "podman stays and keeps cache" in found.notes[0]


def test_a_snap_without_containers_is_switched_off() -> None:
    found = decided(replace(SNAP, snap=()))
    assert found.stops == () and found.stops_snap and "snap start --enable docker" in found.notes[0]
    assert decided(replace(SNAP, daemons=())) == Takeover()


def test_containers_of_others_keep_their_ways() -> None:
    (note,) = decided(VENDOR).notes
    assert "containers web, db in this Docker stay" in note and "icc" in note


def test_rootless_docker_and_a_default_runtime_are_named_and_left_alone() -> None:
    user = Daemon(1000, "/usr/bin/dockerd")
    found = decided(replace(VENDOR, daemons=(*VENDOR.daemons, user), config='{"default-runtime": "nvidia"}'))
    assert found.stops == ()
    assert any("rootless Docker of uid 1000" in note for note in found.notes)
    assert any("default runtime nvidia" in note for note in found.notes)


@pytest.mark.parametrize(
    ("found", "values", "says"),
    [
        (SNAP, {}, ("Docker of the snap runs with containers web, db", "snap stop --disable docker")),
        (VENDOR, FROM_DISTRIBUTION, ("docker-ce 1", "containers web, db", 'set docker_source = "docker"')),
        (
            replace(DEBIAN, containers=(replace(WEB, vanishes=True),)),
            {},
            ("container web would be lost", "docker run --rm", 'docker_source = "distribution"'),
        ),
        (replace(DEBIAN, drivers=("aufs",)), {}, ("containers web, db would be lost", "aufs", "docker rm")),
        (replace(DEBIAN, namespaces=("moby", "k8s.io")), {}, ("containerd has tasks of k8s.io",)),
        (replace(DEBIAN, takes_along=("kubelet",)), {}, ("kubelet would go with docker.io",)),
        (
            replace(DEBIAN, packages={**DEBIAN.packages, "docker.io": PackageState("1", held=True)}),
            {},
            ("docker.io is held", "apt-mark unhold docker.io"),
        ),
        (
            replace(DEBIAN, daemons=(Daemon(0, "/usr/sbin/dockerd", (*OWN_FLAGS, "--data-root=/data")),)),
            {},
            ("dockerd runs with --data-root", "/etc/docker/daemon.json"),
        ),
        (DEBIAN, {"docker_version": "5:25.0.*"}, ("docker_version is 5:25.0.* and dockerd 26.1.5", "web, db")),
        (
            replace(VENDOR, dockerd=Program("/usr/local/bin/dockerd")),
            {},
            ("/usr/local/bin/dockerd belongs to no package", "web, db", "systemctl disable --now docker"),
        ),
        (
            replace(VENDOR, dockerd=Program("/usr/bin/dockerd", "moby-engine"), packages={}),
            {},
            ("belongs to the package moby-engine", "apt-get remove moby-engine", "keeps containers web, db"),
        ),
        (replace(DEBIAN, version=(20, 10, 24)), FROM_DISTRIBUTION, ("dockerd 20.10.24 was found", "expected 25")),
        (replace(BARE, os_version="12"), FROM_DISTRIBUTION, ("debian 12 brings no Docker", "docker_source")),
        (replace(VENDOR, swarm=True), {}, ("part of a swarm", "docker swarm leave")),
        (replace(VENDOR, config="{"), {}, ("is not a JSON object", "move it away")),
        (replace(VENDOR, masked=("docker.service",)), {}, ("docker.service is masked", "systemctl unmask")),
        (
            replace(VENDOR, daemons=(Daemon(0, "/usr/bin/dockerd", (*OWN_FLAGS, "--log-opt", "max-size=1m")),)),
            {},
            ("started with --log-opt", "does not start with both"),
        ),
        (replace(VENDOR, config='{"cdi-spec-dirs": []}'), {}, ("cdi-spec-dirs []",)),
        (replace(VENDOR, config='{"cdi-spec-dirs": ["/opt/cdi"]}'), {}, ("cdi-spec-dirs ['/opt/cdi']",)),
        (replace(VENDOR, elsewhere="DOCKER_HOST=tcp://10.0.0.1"), {}, ("another daemon (DOCKER_HOST=tcp",)),
        (
            replace(VENDOR, docker=Program("/usr/local/bin/docker", is_script=True), says="* company docker *"),
            {},
            ("'* company docker *' first", "/usr/local/bin/docker is a script"),
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_with_the_containers_and_the_next_command(
    found: DockerState, values: dict[str, Any], says: tuple[str, ...]
) -> None:
    decision = decided(found, **values)
    assert len(decision.stops) == 1 and all(word in decision.stops[0] for word in says), decision.stops
    assert not decision.removes and not decision.stops_snap


@pytest.mark.parametrize("count", [7, 1])
def test_many_containers_are_counted(count: int) -> None:
    found = replace(SNAP, snap=tuple(Container(f"c{n}", running=True) for n in range(count)))
    (said,) = decided(found).stops
    assert ("and 1 more" in said) == (count == 7)


def test_a_wrapper_that_answers_as_docker_does_is_no_fault() -> None:
    quiet = replace(VENDOR, docker=Program("/usr/local/bin/docker", is_script=True))
    assert decided(quiet).stops == ()
