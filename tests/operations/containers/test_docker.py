"""docker: which packages a host gets, and a daemon.json that keeps what a site wrote into it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from ingot.errors import IngotError
from ingot.facts.docker import Docker, DockerState, parse_version
from ingot.operations.containers.docker import daemon_json, refusal, wanted
from tests.settings.values import DEFAULTS, settings

TRIXIE = DockerState("debian", "13", "trixie", "amd64")


def test_the_vendors_repository_is_for_the_hosts_own_release():
    names, (source,) = wanted(settings(), TRIXIE)
    assert names == ("docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin", "docker-compose-plugin")
    assert (source.uris, source.suites, source.architectures) == (
        "https://download.docker.com/linux/debian",
        "trixie",
        "amd64",
    )
    assert source.key_url == "https://download.docker.com/linux/debian/gpg"


def test_a_version_is_that_of_the_engine_and_its_client():
    names, _ = wanted(settings(docker_version="5:29.*"), TRIXIE)
    assert names[:3] == ("docker-ce=5:29.*", "docker-ce-cli=5:29.*", "containerd.io")


def test_the_distribution_needs_no_repository():
    without = {name: value for name, value in DEFAULTS["sources"].items() if name != "docker"}
    assert wanted(settings(docker_source="distribution", sources=without), TRIXIE) == (
        ("docker.io", "docker-cli", "docker-compose"),
        (),
    )


@pytest.mark.parametrize(
    ("changed", "state", "said"),
    [
        ({"docker_source": "distribution"}, DockerState("debian", "12", "bookworm", "amd64"), 'set docker_source = "d'),
    ],
)
def test_values_that_give_no_usable_docker_are_refused(changed, state, said):
    with pytest.raises(IngotError, match=said):
        wanted(settings(**changed), state)


def test_a_bare_host_gets_the_whole_configuration():
    assert json.loads(daemon_json(None, settings())) == {
        "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 1048576, "Soft": 1048576}},
        "features": {"cdi": True},
        "icc": False,
        "live-restore": True,
        "log-driver": "json-file",
        "log-opts": {"max-file": "5", "max-size": "50m"},
        "no-new-privileges": True,
        "userland-proxy": False,
    }


def test_what_a_site_wrote_stays_and_a_second_merge_changes_no_byte():
    theirs = '{"data-root": "/data/docker", "features": {"containerd-snapshotter": false}, "icc": true}'
    merged = json.loads(first := daemon_json(theirs, settings()))
    assert merged["data-root"] == "/data/docker"
    assert merged["features"] == {"containerd-snapshotter": False, "cdi": True}
    assert merged["icc"] is False
    by_hand = json.dumps(merged)
    assert daemon_json(first, settings()) == first and daemon_json(by_hand, settings()) == by_hand


def test_a_site_that_ships_its_logs_another_way_keeps_doing_so():
    merged = json.loads(daemon_json('{"log-driver": "journald", "log-opts": {"tag": "x"}}', settings()))
    assert merged["log-driver"] == "journald" and merged["log-opts"] == {"tag": "x"}


def test_a_sites_values_come_last():
    assert json.loads(daemon_json(None, settings(docker_daemon={"live-restore": False})))["live-restore"] is False


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_a_file_that_is_no_json_object_is_not_overwritten(text):
    with pytest.raises(IngotError, match="is not a JSON object"):
        daemon_json(text, settings())


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (replace(TRIXIE, version=(20, 10, 24)), "dockerd 20.10.24 was found, expected 25 or newer"),
        (replace(TRIXIE, version=(29, 1, 0), swarm=True), "part of a swarm"),
    ],
)
def test_an_engine_that_cannot_serve_is_refused(state, said):
    assert said in (refusal(state) or "")


def test_an_engine_with_cdi_is_taken():
    assert refusal(replace(TRIXIE, version=(25, 0, 0))) is None


def test_versions_of_dockerd_are_read():
    assert parse_version("Docker version 26.1.5+dfsg1, build a72d7cd") == (26, 1, 5)
    assert parse_version("Docker version 29.1.0, build 360952c") == (29, 1, 0)
    assert parse_version("sh: 1: dockerd: not found") is None


def test_the_look_tells_a_missing_file_from_an_empty_one():
    def answered(config: str, status: int) -> DockerState:
        lines = {
            "release": ('ID=ubuntu\nVERSION_ID="24.04"\nVERSION_CODENAME=noble', 0),
            "arch": ("amd64", 0), "version": ("sh: 1: dockerd: not found", 127),
            "config": (config, status), "swarm": ("", 1),
        }  # fmt: skip
        text = "".join(f"@@ingot-begin {k}\n{v}\n\n@@ingot-end {k} {s}\n" for k, (v, s) in lines.items())
        return Docker().process(text.splitlines())

    assert answered("", 1) == DockerState("ubuntu", "24.04", "noble", "amd64")
    assert answered("", 0).config == ""
    assert answered(base64.b64encode(b"{}").decode(), 0).config == "{}"
