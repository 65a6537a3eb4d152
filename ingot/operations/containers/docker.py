"""Docker Engine: from its vendor or the distribution, with a hardened daemon.json merged into what a site has."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any

from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host

from ingot.errors import IngotError
from ingot.facts.docker import Docker as DockerLook
from ingot.facts.docker import DockerState
from ingot.operations import packages, tree
from ingot.operations.operation import operation
from ingot.operations.package_source import Source, vendor
from ingot.settings import Settings, of_host
from ingot.settings.docker import Docker

CONFIG = "/etc/docker/daemon.json"
#: The first with CDI, by which containers get their GPUs.
MINIMUM = 25
#: What fetches models, and asks engines for their health.
TOOLS = ("ca-certificates", "curl")
VENDOR_PACKAGES = (
    "docker-ce",
    "docker-ce-cli",
    "containerd.io",
    "docker-buildx-plugin",
    "docker-compose-plugin",
)
#: Packages by distribution; where a release is named, its engine is older than MINIMUM.
DISTRIBUTION_PACKAGES = {
    "debian": ("docker.io", "docker-cli", "docker-compose"),
    "ubuntu": ("docker.io", "docker-compose-v2"),
}
TOO_OLD = {"debian12"}

Commands = Generator[PyinfraCommand, None, None]


def wanted(values: Settings, state: DockerState) -> tuple[tuple[str, ...], tuple[Source, ...]]:
    """The packages of this host and where they come from.

    Raises: IngotError, one sentence, when the values and the host do not go together.
    """
    if values.docker_source == "distribution":
        if f"{state.os}{state.os_version}" in TOO_OLD or state.os not in DISTRIBUTION_PACKAGES:
            raise IngotError(
                f"{state.os} {state.os_version} brings no Docker of at least version {MINIMUM}, which GPUs by CDI "
                'need; set docker_source = "docker".'
            )
        return DISTRIBUTION_PACKAGES[state.os], ()
    repository = values.sources.docker
    assert repository is not None, "settings are right only where docker_source has its repository"
    version = f"={values.docker_version}" if values.docker_version else ""
    names = tuple(f"{name}{version if name.startswith('docker-ce') else ''}" for name in VENDOR_PACKAGES)
    return names, (vendor("docker", repository, state.os, state.codename, state.arch),)


def ours(values: Docker) -> dict[str, Any]:
    """What Ingot sets in daemon.json."""
    said: dict[str, Any] = {
        # GPUs by UUID; the default from 28.2 on.
        "features": {"cdi": True},
        # Containers that were given no network of their own do not reach each other.
        "icc": False,
        # The engine goes on serving while dockerd is restarted or upgraded.
        "live-restore": True,
        "log-opts": {"max-file": str(values.docker_log_max_files), "max-size": values.docker_log_max_size},
        "no-new-privileges": True,
        # The kernel forwards published ports, so that the caller's address is kept.
        "userland-proxy": False,
    }
    if values.docker_default_ulimits:
        said["default-ulimits"] = {
            name: {"Name": name, "Hard": limit, "Soft": limit} for name, limit in values.docker_default_ulimits.items()
        }
    return said


def merged(current: Mapping[str, Any], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """`current` with the layers laid over it; objects are merged, anything else is replaced."""
    result = dict(current)
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return result


def daemon_json(current: str | None, values: Docker) -> str:
    """The new text of daemon.json: the old text unchanged where it says all this already.

    Raises: IngotError when the present text is not a JSON object.
    """
    try:
        before = json.loads(current) if current and current.strip() else {}
        if not isinstance(before, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise IngotError(f"{CONFIG} is not a JSON object ({error}); correct it or move it away.") from None
    after = merged({"log-driver": "json-file"}, before, ours(values), values.docker_daemon)
    if after["log-driver"] not in ("json-file", "local"):
        # The site uses another log driver, which does not know these options.
        after["log-opts"] = before.get("log-opts", {})
    return current if current and after == before else json.dumps(after, indent=2) + "\n"


def refusal(state: DockerState) -> str | None:
    """Why this engine cannot serve here; None when it can."""
    if state.version is not None and state.version < (MINIMUM,):
        found = ".".join(map(str, state.version))
        return (
            f"dockerd {found} was found, expected {MINIMUM} or newer, since GPUs come into containers by CDI; "
            'remove that package, or set docker_source = "docker", and run again.'
        )
    if state.swarm:
        return (
            "Docker is part of a swarm, which live-restore excludes; leave it with `docker swarm leave`, or give "
            "the swarm another host."
        )
    return None


@operation()
def engine() -> Commands:
    """
    Have Docker Engine and Compose installed, and a daemon.json that says what Ingot needs.

    Whatever else daemon.json says stays; dockerd itself checks the new one before it replaces the old. An engine
    without CDI, and one that is part of a swarm, is refused.
    """
    state: DockerState = host.get_fact(DockerLook)
    values = of_host(host)
    names, sources = wanted(values, state)
    yield from packages.packages._inner(names=(*names, *TOOLS), sources=sources)
    if state.version is None:
        state = host.get_fact(DockerLook)
    refused = refusal(state)
    if refused:
        raise IngotError(refused)
    text = daemon_json(state.config, values)
    yield from tree.tree._inner(
        entries=(tree.Dir("/etc/docker"), tree.File(CONFIG, text)),
        validate=f"dockerd --validate --config-file {{stage}}{CONFIG}",
    )
