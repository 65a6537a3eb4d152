"""Docker Engine: from its vendor or the distribution, with a hardened daemon.json merged into what a site has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping
from typing import Any

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host

from ingot.errors import IngotError
from ingot.facts.docker import CONFIG, PAUSED, DockerState
from ingot.facts.docker import Docker as DockerLook
from ingot.facts.engine import STATE
from ingot.facts.footprint import CONFIG_BEFORE, CONFIG_WRITTEN, SNAP_STOPPED
from ingot.operations import changes, packages, tree
from ingot.operations.containers import proxy
from ingot.operations.containers.takeover import MINIMUM, parsed, takeover
from ingot.operations.operation import operation
from ingot.operations.package_source import Source, vendor
from ingot.operations.standing import standing
from ingot.settings import Settings, of_host
from ingot.settings.docker import Docker

#: What fetches models, and asks engines for their health.
TOOLS = ("ca-certificates", "curl")
VENDOR_PACKAGES = (
    "docker-ce",
    "docker-ce-cli",
    "containerd.io",
    "docker-buildx-plugin",
    "docker-compose-plugin",
)
#: Packages by distribution.
DISTRIBUTION_PACKAGES = {
    "debian": ("docker.io", "docker-cli", "docker-compose"),
    "ubuntu": ("docker.io", "docker-compose-v2"),
}

#: Stops what runs, and notes it first: what a run that is cut off has stopped, the next one starts. Containers that
#: share others' network start last, since the newest are listed first.
PAUSE = f"""systemctl is-active --quiet docker.service || exit 0
mkdir -p -m 0755 {STATE}
[ -e {PAUSED} ] || {{ docker ps --quiet --no-trunc | tac >{PAUSED}.new && mv {PAUSED}.new {PAUSED}; }} || exit 1
ids=$(cat {PAUSED})
[ -z "$ids" ] || docker stop $ids
"""
RESUME = f"""[ -e {PAUSED} ] || exit 0
systemctl start docker.service || {{ echo 'dockerd does not start again, see journalctl -u docker there'; exit 1; }}
for again in 1 2; do
  failed=
  for id in $(cat {PAUSED}); do
    docker container inspect $id >/dev/null 2>&1 || continue
    docker start $id >/dev/null || failed="$failed $id"
  done
done
[ -z "$failed" ] || {{
  why=$(docker inspect --format '{{{{.Name}}}} ({{{{.State.Error}}}})' $failed | tr '\\n' ' ')
  echo "containers do not start again: $why"
  exit 1
}}
rm -f {PAUSED}
"""
_LIVE = (
    "systemctl reload docker.service && i=0 && while [ $i -lt 50 ]; do "
    "[ \"$(docker info --format '{{.LiveRestoreEnabled}}')\" = true ] && break; i=$((i + 1)); sleep 0.2; done"
)

Commands = Generator[PyinfraCommand, None, None]


def wanted(values: Settings, state: DockerState) -> tuple[tuple[str, ...], tuple[Source, ...]]:
    """The packages of this host and where they come from; a host that has none of these, takeover() refuses."""
    if values.docker_source == "distribution":
        return DISTRIBUTION_PACKAGES[state.os], ()
    repository = values.sources.docker
    assert repository is not None, "settings are right only where docker_source has its repository"
    version = f"={values.docker_version}" if values.docker_version else ""
    names = tuple(f"{name}{version if name.startswith('docker-ce') else ''}" for name in VENDOR_PACKAGES)
    return names, (vendor("docker", repository, state.os, state.codename, state.arch),)


def ours(values: Docker, *, shared: bool = False) -> dict[str, Any]:
    """What Ingot sets in daemon.json; `shared`: containers of others run by it, whose ways stay as they are."""
    said: dict[str, Any] = {
        # GPUs by UUID; the default from 28.2 on.
        "features": {"cdi": True},
        # The engine goes on serving while dockerd is restarted or upgraded.
        "live-restore": True,
        "log-opts": {"max-file": str(values.docker_log_max_files), "max-size": values.docker_log_max_size},
    }
    if not shared:
        said |= {
            # Containers that were given no network of their own do not reach each other.
            "icc": False,
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


def daemon_json(current: str | None, values: Docker, *, shared: bool = False) -> str:
    """The new text of daemon.json: the old text unchanged where it says all this already.

    Raises: IngotError when the present text is not a JSON object.
    """
    before = parsed(current)
    after = merged({"log-driver": "json-file"}, before, ours(values, shared=shared), values.docker_daemon)
    if after["log-driver"] not in ("json-file", "local"):
        # The site uses another log driver, which does not know these options.
        after["log-opts"] = before.get("log-opts", {})
    return current if current and after == before else json.dumps(after, indent=2) + "\n"


@operation()
def engine() -> Commands:
    """
    Have Docker Engine and Compose installed, and a daemon.json that says what Ingot needs.

    Another package of Docker is exchanged where its containers can be kept: what runs is stopped meanwhile and started
    again. Whatever else daemon.json says stays; dockerd itself checks the new one before it replaces the old.
    """
    values = of_host(host)
    state: DockerState = standing(host, DockerLook, exchanges=values.docker_source == "docker")
    choice = takeover(state, values)
    if choice.stops:
        raise IngotError(f"{choice.stops[0]}.")
    names, sources = wanted(values, state)
    if choice.stops_snap:
        changes.announce(["stop and disable Docker of the snap, which has no containers"])
        yield StringCommand(f"mkdir -p {STATE} && touch {SNAP_STOPPED} && snap stop --disable docker")
    yield from packages.packages._inner(
        names=(*names, *TOOLS),
        sources=sources,
        absent=choice.removes,
        newest=VENDOR_PACKAGES if choice.newest else (),
        around=packages.Around(PAUSE, RESUME) if choice.exchanges else None,
    )
    if state.paused:
        changes.announce(["start containers again that an exchange of Docker had stopped"])
        yield StringCommand(RESUME)
    if state.version is None or choice.exchanges:
        state = standing(host, DockerLook)
    if state.version is not None and state.version < (MINIMUM,):
        found = ".".join(map(str, state.version))
        raise IngotError(f"its package source gives dockerd {found}, expected {MINIMUM} or newer; see `sources`.")
    text = daemon_json(state.config, values, shared=bool(state.others))
    if text != state.config:
        yield StringCommand(_remembered(text))
    yield from tree.tree._inner(
        entries=(
            tree.Dir("/etc/docker"),
            tree.File(CONFIG, text, mode=state.config_mode),
            *proxy.entries(values.proxy),
        ),
        validate=f"dockerd --validate --config-file {{stage}}{CONFIG}",
    )
    if (
        parsed(text).get("live-restore")
        and state.live_restore is False
        and any(one.running for one in state.containers)
    ):
        # dockerd reads this key again while it runs; with it the restart that follows stops no container.
        changes.announce(["let containers go on while dockerd is restarted"])
        yield StringCommand(_LIVE)


def _remembered(text: str) -> str:
    """The command that keeps what daemon.json was before Ingot, and notes what Ingot writes."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    new = f"{CONFIG_BEFORE}.new"
    return (
        f"umask 077; mkdir -p -m 0755 {STATE}; [ -e {CONFIG_BEFORE} ] || "
        f"{{ {{ cp -p {CONFIG} {new} 2>/dev/null || : >{new}; }} && mv {new} {CONFIG_BEFORE}; }}; "
        f"echo {digest} >{CONFIG_WRITTEN}"
    )
