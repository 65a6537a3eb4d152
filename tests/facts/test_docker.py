"""What is read of a host's container engines."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from ingot.facts.docker import (
    QUESTIONS,
    Container,
    Daemon,
    Docker,
    DockerState,
    Program,
    _containers,
    parse_config,
    parse_containers,
    parse_daemons,
    parse_docker,
    parse_live_restore,
    parse_programs,
    parse_version,
)
from ingot.facts.sections import Section

pytestmark = pytest.mark.found

#: What of its `config.v2.json` Docker 26.1.5 wrote tells a container (the rest is left out), and of `hostconfig.json`.
CONFIG = (
    '{{"StreamConfig":{{}},"State":{{"Running":{running},"Paused":false}},"ID":"ab","Config":{{"Labels":{labels}}},'
    '"LogPath":"/x","Name":"/{name}","Driver":"overlay2","MountPoints":{{"/v":{{"Name":"data"}}}}}}'
)
HOST_CONFIG = '{{"RestartPolicy":{{"Name":"no","MaximumRetryCount":0}},"AutoRemove":{auto}}}'


def test_versions_of_dockerd_are_read() -> None:
    assert parse_version("Docker version 26.1.5+dfsg1, build a72d7cd") == (26, 1, 5)
    assert parse_version("Docker version 29.1.0, build 360952c") == (29, 1, 0)
    assert parse_version("sh: 1: dockerd: not found") is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_daemon_json_is_read_with_the_marks_that_dockerd_accepts(encoding: str) -> None:
    raw = '{"icc": false}'.encode(encoding)
    assert parse_config(b"\xfe\xff" + raw if encoding == "utf-16-be" else raw) == '{"icc": false}'


def test_containers_are_read_from_their_files(tmp_path: Path) -> None:
    for name, running, labels, auto in (
        ("web", "true", "{}", "false"),
        ("once", "true", "{}", "true"),
        ("ours", "false", '{"com.docker.compose.project":"ingot-engine"}', "false"),
    ):
        directory = tmp_path / "containers" / name
        directory.mkdir(parents=True)
        (directory / "config.v2.json").write_text(CONFIG.format(name=name, running=running, labels=labels))
        (directory / "hostconfig.json").write_text(HOST_CONFIG.format(auto=auto))
    (tmp_path / "containers" / "half").mkdir()
    done = subprocess.run(["sh", "-c", _containers(str(tmp_path))], capture_output=True, text=True, check=True)
    assert parse_containers(done.stdout.splitlines()) == (
        Container("once", running=True, vanishes=True),
        Container("ours", ours=True),
        Container("web", running=True),
    )


def test_programs_and_daemons_are_told_apart() -> None:
    assert parse_programs(
        ["docker\t/usr/bin/docker\tpodman-docker\t#!", "dockerd\t/usr/local/bin/dockerd\t\t\x7fE"]
    ) == {
        "docker": Program("/usr/bin/docker", "podman-docker", is_script=True),
        "dockerd": Program("/usr/local/bin/dockerd"),
    }
    lines = [
        "0\t/usr/sbin/dockerd\t/usr/sbin/dockerd\t-H\tfd://\t--containerd=/run/containerd/containerd.sock\t",
        "0\t/snap/docker/2932/bin/dockerd\tdockerd\t--data-root=/var/snap/docker/common/var-lib-docker\t",
        "1000\t/usr/bin/dockerd\tdockerd\t--rootless\t",
    ]
    system, snap, user = parse_daemons(lines)
    assert (system.flags, snap.is_snap, user.uid) == ((), True, 1000)
    assert Daemon(0, "/usr/bin/dockerd", ("--data-root", "/data", "-H", "fd://", "--icc=false")).flags == (
        "data-root",
        "icc",
    )


def test_a_process_that_ends_while_it_is_looked_at_is_no_daemon() -> None:
    gone = "bash: line 7: /proc/4711/cmdline: No such file or directory"
    assert parse_daemons([gone, "\t\t", "0\t\t", "0", "0\t/usr/sbin/dockerd"]) == (Daemon(0, "/usr/sbin/dockerd"),)


def test_this_machine_can_be_read() -> None:
    done = subprocess.run(["sh", "-c", Docker().command()], capture_output=True, text=True, check=True)
    state = Docker().process(done.stdout.splitlines())
    assert state.arch and state.os


def test_the_look_tells_a_missing_file_from_an_empty_one() -> None:
    def answered(config: str, status: int) -> DockerState:
        lines = dict.fromkeys(QUESTIONS, ("", 1)) | {
            "docker_release": ('ID=ubuntu\nVERSION_ID="24.04"\nVERSION_CODENAME=noble', 0),
            "docker_arch": ("amd64", 0),
            "docker_version": ("sh: 1: dockerd: not found", 127),
            "docker_config": (config, status),
        }
        text = "".join(f"@@ingot-begin {k}\n{v}\n\n@@ingot-end {k} {s}\n" for k, (v, s) in lines.items())
        return Docker().process(text.splitlines())

    assert answered("", 1) == DockerState("ubuntu", "24.04", "noble", "amd64")
    assert answered("", 0).config == ""
    assert answered(base64.b64encode(b"{}").decode(), 0).config == "{}"


@pytest.mark.parametrize(("mode", "kept"), [("0600", "0600"), ("0644", "0644"), ("0666", "0644"), ("", "0644")])
def test_a_daemon_json_that_others_may_not_read_stays_one(mode: str, kept: str) -> None:
    answers = dict.fromkeys(QUESTIONS, Section("", 1)) | {"docker_config_mode": Section(mode)}
    assert parse_docker(answers).config_mode == kept


@pytest.mark.parametrize(
    ("info", "found"),
    [
        ('{"LiveRestoreEnabled": true}', True),
        ('{"LiveRestoreEnabled": false}', False),
        ("", None),
        ("{}", None),
        ("[]", None),
        ("Cannot connect to the Docker daemon", None),
    ],
)
def test_live_restore_is_what_dockerd_says_itself(info: str, found: bool | None) -> None:
    assert parse_live_restore(info) is found
