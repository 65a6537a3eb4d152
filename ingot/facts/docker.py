"""The container engine of a host: its version, its configuration file, and the distribution it runs on."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from ingot.facts.sections import compose, split


@dataclass(frozen=True, slots=True)
class DockerState:
    """One look. `version` is dockerd's, None where there is none; `config` the text of daemon.json, None likewise."""

    os: str
    os_version: str
    codename: str
    arch: str
    version: tuple[int, ...] | None = None
    config: str | None = None
    swarm: bool = False


def parse_version(text: str) -> tuple[int, ...] | None:
    """The numbers in `Docker version 26.1.5+dfsg1, build a72d7cd`: (26, 1, 5); None where there are none."""
    found = re.search(r"version (\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in found.group(1).split(".")) if found else None


def parse_docker_state(output: list[str]) -> DockerState:
    """The answers to `Docker.command` as one value."""
    answers = split(output)
    release = dict(line.split("=", 1) for line in answers["release"].output.splitlines() if "=" in line)
    config = answers["config"]
    return DockerState(
        os=release.get("ID", "").strip('"'),
        os_version=release.get("VERSION_ID", "").strip('"'),
        codename=release.get("VERSION_CODENAME", "").strip('"'),
        arch=answers["arch"].line,
        version=parse_version(answers["version"].output),
        config=base64.b64decode(config.output).decode(errors="replace") if config.status == 0 else None,
        swarm=answers["swarm"].status == 0,
    )


class Docker(FactBase[DockerState]):
    """What the docker role decides on, without asking dockerd, which may not run.

    Returns: DockerState("debian", "13", "trixie", "amd64", (26, 1, 5), '{"live-restore": true}')
    """

    def command(self) -> str:
        return compose(
            {
                "release": "cat /etc/os-release",
                "arch": "dpkg --print-architecture",
                "version": "dockerd --version",
                "config": "base64 /etc/docker/daemon.json 2>/dev/null",
                "swarm": "test -s /var/lib/docker/swarm/docker-state.json",
            }
        )

    def process(self, output: list[str]) -> DockerState:
        return parse_docker_state(output)
