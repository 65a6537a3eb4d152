"""docker: which packages a host gets, and a daemon.json that keeps what a site wrote into it."""

from __future__ import annotations

import json

import pytest

from ingot.errors import IngotError
from ingot.facts.docker import DockerState
from ingot.operations.containers.docker import daemon_json, wanted
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


@pytest.mark.parametrize("text", [None, "", "null", "\n"])
def test_what_dockerd_takes_for_nothing_says_nothing(text):
    assert daemon_json(text, settings()) == daemon_json(None, settings())


def test_a_docker_with_containers_of_others_keeps_their_ways():
    shared = json.loads(daemon_json('{"icc": true}', settings(), shared=True))
    assert shared["icc"] is True and shared["features"] == {"cdi": True} and shared["live-restore"] is True
    assert not {"no-new-privileges", "userland-proxy"} & set(shared)


def test_what_ingot_set_stays_when_others_come():
    own = daemon_json(None, settings())
    assert daemon_json(own, settings(), shared=True) == own
