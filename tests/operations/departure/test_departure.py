"""What is taken away, what stays, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.facts.footprint import Footprint, parse_footprint, repository
from ingot.facts.sections import Section
from ingot.operations.departure.departure import Departure, Occupied, Wish, plan

pytestmark = pytest.mark.onboarding

ROOT = "/srv/models"
SERVED = Footprint(
    docker=True,
    containers=("ingot-engine-a-0",),
    networks=("ingot-engine",),
    images=("sha256:aa",),
    units=("ingot-engine.service",),
    paths=(
        "/etc/ingot",
        "/var/lib/ingot",
        "/etc/modprobe.d/ingot-nvidia.conf",
        "/etc/systemd/system/nvidia-persistenced.service.d/ingot.conf",
    ),
    apt_paths=(
        "/etc/apt/sources.list.d/ingot-docker.sources",
        "/etc/apt/sources.list.d/ingot-nvidia.sources",
        "/etc/apt/sources.list.d/ingot-nvidia-toolkit.sources",
    ),
    secrets=("/etc/ingot/gateway/tls/key.pem",),
    models=("/srv/models/a/bf16/1",),
    packages=(
        "docker-ce",
        "libnvidia-container1",
        "libnvidia-ml1",
        "nginx",
        "nginx-common",
        "nvidia-driver-cuda",
        "openssh-server",
    ),
    nginx_is_ours=True,
)


def verbs(departure: Departure) -> list[str]:
    return [line.partition("\t")[0] for line in departure.lines]


def words(departure: Departure, verb: str) -> set[str]:
    return {word for line in departure.lines for word in line.split("\t")[1:] if line.startswith(f"{verb}\t")}


def test_what_serves_goes_first_and_the_trace_of_ingot_last() -> None:
    departure = plan(SERVED, Wish(), ROOT)
    assert verbs(departure) == [
        "containers", "networks", "unit", "purge", "purge", "docker", "driver", "absent", "absent",
    ]  # fmt: skip
    assert departure.lines[-1].endswith("\t/var/lib/ingot")
    assert departure.stays == ("1 models below /srv/models (--wipe-models deletes them)",)
    assert len(departure.sentences) == len(departure.lines)


def test_nobody_elses_package_is_named() -> None:
    removed = words(plan(SERVED, Wish(), ROOT), "purge") | words(plan(SERVED, Wish(), ROOT), "driver")
    assert removed == {"nginx", "nginx-common", "libnvidia-container1", "libnvidia-ml1", "nvidia-driver-cuda"}


def test_a_driver_that_stays_keeps_what_guards_it() -> None:
    departure = plan(SERVED, Wish(keep_driver=True), ROOT)
    assert "driver" not in verbs(departure)
    assert words(departure, "absent") >= {"/etc/ingot", "/etc/apt/sources.list.d/ingot-nvidia-toolkit.sources"}
    assert not {path for path in words(departure, "absent") if "ingot-nvidia." in path or "persistenced" in path}


def test_docker_stays_with_the_toolkit_where_asked() -> None:
    departure = plan(SERVED, Wish(keep_docker=True), ROOT)
    assert "docker" not in verbs(departure) and words(departure, "images") == {"sha256:aa"}
    assert words(departure, "purge") == {"nginx", "nginx-common"}
    assert not {path for path in words(departure, "absent") if "docker" in path or "toolkit" in path}


def test_docker_with_somebody_elses_container_is_left_and_said() -> None:
    departure = plan(replace(SERVED, others=("container theirs", "volume data")), Wish(), ROOT)
    assert "docker" not in verbs(departure)
    assert "container theirs, volume data in it is not Ingot's" in departure.stays[0]


def test_a_docker_that_does_not_answer_is_not_emptied() -> None:
    with pytest.raises(Occupied, match="dockerd does not answer"):
        plan(replace(SERVED, docker=False, containers=()), Wish(), ROOT)


def test_a_removal_of_docker_that_was_cut_off_is_finished() -> None:
    left = replace(SERVED, docker=False, containers=(), packages=("openssh-server",), docker_goes=True)
    assert words(plan(left, Wish(), ROOT), "docker") >= {"/var/lib/docker,/var/lib/containerd,/etc/docker"}


def test_somebody_elses_site_keeps_nginx_with_its_packages_own_configuration() -> None:
    departure = plan(replace(SERVED, sites=("/etc/nginx/conf.d/theirs.conf",)), Wish(), ROOT)
    assert "nginx" in verbs(departure) and "nginx" not in words(departure, "purge")
    assert "nginx (/etc/nginx/conf.d/theirs.conf is not Ingot's)" in departure.stays


def test_no_step_names_no_package() -> None:
    bare = replace(SERVED, packages=("openssh-server",))
    assert {"purge", "docker", "driver"}.isdisjoint(verbs(plan(bare, Wish(), ROOT)))


def test_keys_are_overwritten_and_models_deleted_on_request_alone() -> None:
    assert {"shred", "models"}.isdisjoint(verbs(plan(SERVED, Wish(), ROOT)))
    departure = plan(SERVED, Wish(wipe_keys=True, wipe_models=True), ROOT)
    assert words(departure, "shred") == set(SERVED.secrets)
    assert words(departure, "models") == {ROOT, *SERVED.models}
    assert verbs(departure).index("shred") < verbs(departure).index("absent")


def test_a_host_that_ingot_never_was_on_loses_nothing() -> None:
    departure = plan(Footprint(docker=True, packages=("docker-ce", "nvidia-driver-cuda", "nginx")), Wish(), ROOT)
    assert departure.lines == ()
    assert "no /var/lib/ingot to tell" in departure.stays[0]


def test_a_look_tells_ours_from_others() -> None:
    said = {
        "docker": "29.0.0",
        "containers": "ingot-engine-a-0\tsha256:aa\tingot-engine\ntheirs\tsha256:bb\t",
        "networks": "ingot-engine",
        "volumes": "data",
        "images": "sha256:aa\tvllm/vllm-openai:v1\nsha256:bb\tredis:7\nsha256:cc\tvllm/vllm-openai:v0",
        "known_images": "sha256:cc",
    }
    names = ("units", "paths", "apt_paths", "secrets", "models", "packages", "docker_goes", "nginx", "logs", "sites")
    found = parse_footprint({**{name: Section("", 1) for name in names}, **{k: Section(v) for k, v in said.items()}})
    assert found.containers == ("ingot-engine-a-0",) and found.images == ("sha256:aa", "sha256:cc")
    assert found.others == ("container theirs", "volume data", "image redis:7")
    assert found.docker and not found.docker_goes


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("vllm/vllm-openai:v0.33.0", "vllm/vllm-openai"),
        ("registry:5000/vllm", "registry:5000/vllm"),
        ("registry:5000/vllm:1@sha256:aa", "registry:5000/vllm"),
    ],
)
def test_an_image_is_known_by_its_repository(image: str, name: str) -> None:
    assert repository(image) == name
