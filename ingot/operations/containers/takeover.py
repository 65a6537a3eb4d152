"""What becomes of the container engines that a host has already: kept, exchanged, stopped, or the host is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ingot.errors import IngotError
from ingot.facts.docker import CONFIG, Container, DockerState
from ingot.settings.docker import Docker

#: The first with CDI, by which containers get their GPUs.
MINIMUM = 25
#: Releases whose own engine is older than MINIMUM.
TOO_OLD = {"debian12"}
DISTRIBUTIONS = ("debian", "ubuntu")
#: Docker's own packages; the first is the engine.
VENDOR = ("docker-ce", "docker-ce-cli", "containerd.io", "docker-ce-rootless-extras")
#: What Docker's own packages replace, as Docker's installation guide has it removed first. The data stay.
REPLACED_BY_VENDOR = (
    "docker.io",
    "docker-cli",
    "docker-compose",
    "docker-compose-v2",
    "docker-buildx",
    "docker-doc",
    "containerd",
    "runc",
    "podman-docker",
)
#: What the distribution's packages cannot be beside.
REPLACED_BY_DISTRIBUTION = ("podman-docker",)
#: Storage drivers that dockerd 25 and newer do not have any more: their containers cannot be read.
GONE_DRIVERS = ("aufs", "devicemapper", "overlay")
#: Namespaces of containerd's tasks that are Docker's own.
DOCKERS_NAMESPACES = ("moby",)
#: Keys of daemon.json by the flag that says the same; dockerd starts with one of both only.
KEY_OF_FLAG = {
    "icc": "icc",
    "live-restore": "live-restore",
    "log-opt": "log-opts",
    "no-new-privileges": "no-new-privileges",
    "userland-proxy": "userland-proxy",
    "default-ulimit": "default-ulimits",
    "feature": "features",
    "log-driver": "log-driver",
}
#: Where the toolkit writes its specification of the GPUs: two names of one directory.
CDI_DIRECTORIES = ("/var/run/cdi", "/run/cdi")


@dataclass(frozen=True, slots=True)
class Takeover:
    """What the docker role does with what is there; sentences without the host's name and the final stop.

    `stops` refuse the host, `notes` say what changes for others. `removes` are packages that give way to Docker's;
    `exchanges`: the engine itself is among them or is renewed, so that what runs in it is stopped and started again.
    `newest`: Docker's packages are too old and are brought to their newest version. `stops_snap`: the snap's Docker,
    which has no containers, is switched off.
    """

    stops: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()
    exchanges: bool = False
    newest: bool = False
    stops_snap: bool = False


def takeover(found: DockerState, values: Docker) -> Takeover:
    """Decide by what is there and by `docker_source`, before anything is changed."""
    vendor = values.docker_source == "docker"
    replaced = REPLACED_BY_VENDOR if vendor else REPLACED_BY_DISTRIBUTION
    removes = tuple(name for name in replaced if name in found.packages)
    old = found.version is not None and found.version < (MINIMUM,)
    newest = vendor and old and "docker-ce" in found.packages
    # containerd alone may be somebody's; with Docker's engine gone for good nothing of its data is read again.
    exchanges = newest or (vendor and bool({"docker.io", "containerd"} & set(removes)))
    stops = (
        *_another(found, vendor, removes),
        *(_exchange(found, values, removes) if exchanges else ()),
        *_remains(found, vendor, old and not exchanges and not _is_foreign(found)),
        *_configured(found, exchanges),
        *_said(found),
        *_snap(found),
    )
    if stops:
        return Takeover(stops)
    stops_snap = found.snap_runs and not found.snap
    return Takeover((), tuple(_notes(found, removes, exchanges, stops_snap)), removes, exchanges, newest, stops_snap)


def _is_foreign(found: DockerState) -> bool:
    """Whether dockerd is none of the packages that Ingot can keep or exchange."""
    return found.dockerd is not None and found.dockerd.package not in ("docker-ce", "docker.io")


def _another(found: DockerState, vendor: bool, removes: tuple[str, ...]) -> Iterator[str]:
    """Engines that are neither kept nor exchanged."""
    if _is_foreign(found) and found.dockerd is not None:
        path, package = found.dockerd.path, found.dockerd.package
        kept = f", which keeps {_listed(found.others)}" if found.others else ""
        if package is None:
            yield (
                f"{path} belongs to no package, expected dockerd of docker.io or docker-ce{_its(found.others)}; "
                f"`systemctl disable --now docker.socket docker; mv {path} {path}.before` on the host{kept}, move a "
                "docker.service below /etc/systemd/system away too, and deploy again"
            )
        else:
            yield (
                f"{path} belongs to the package {package}, expected docker.io or docker-ce{_its(found.others)}; "
                f"`apt-get remove {package}` on the host{kept}, and deploy again"
            )
    if not vendor and (theirs := [name for name in VENDOR if name in found.packages]):
        yield (
            f"{theirs[0]} {found.packages[theirs[0]].version} of Docker's own repository is installed"
            f'{_its(found.others)} and docker_source is "distribution", whose Docker may not read its data; '
            'set docker_source = "docker"'
        )
    if removes and found.takes_along:
        yield (
            f"{', '.join(found.takes_along)} would go with {', '.join(removes)}, which Docker's own packages replace, "
            'expected nothing else to go; set docker_source = "distribution", or remove that first'
        )


def _exchange(found: DockerState, values: Docker, removes: tuple[str, ...]) -> Iterator[str]:
    """What an exchange of the engine would lose."""
    keep = 'set docker_source = "distribution" to keep this Docker' if removes else "upgrade it by hand"
    held = [name for name in removes if found.packages[name].held]
    if held:
        yield f"{', '.join(held)} is held and would be exchanged; {keep}, or `apt-mark unhold {' '.join(held)}`"
    if lost := [one for one in found.others if one.running and one.vanishes]:
        yield (
            f"{_listed(lost)} would be lost when Docker is exchanged, since `docker run --rm` removes what stops; "
            f"{keep}, or stop {'it' if len(lost) == 1 else 'them'}, and deploy again"
        )
    if others := [name for name in found.namespaces if name not in DOCKERS_NAMESPACES]:
        yield f"containerd has tasks of {', '.join(others)}, which an exchange would stop; {keep}"
    gone = [name for name in found.drivers if name in GONE_DRIVERS]
    if gone and found.others:
        yield (
            f"{_listed(found.others)} would be lost, since dockerd {MINIMUM} and newer read no storage driver "
            f"{gone[0]}; save their data, remove them (`docker rm`), and deploy again"
        )
    if found.system is not None and (flags := found.system.flags) and removes:
        yield (
            f"dockerd runs with --{' and --'.join(dict.fromkeys(flags))}, which Docker's own package does not know of; "
            f"say it in {CONFIG} instead of the unit or /etc/default/docker, or {keep}"
        )
    pinned = _numbers(values.docker_version)
    if pinned and found.version and pinned < found.version[: len(pinned)]:
        yield (
            f"docker_version is {values.docker_version} and dockerd {_dotted(found.version)} is installed"
            f"{_its(found.others)}, whose data an older one may not read; set a newer docker_version"
        )


def _remains(found: DockerState, vendor: bool, old: bool) -> Iterator[str]:
    """What keeps the engine that stays, or comes, from serving."""
    if not vendor and (f"{found.os}{found.os_version}" in TOO_OLD or found.os not in DISTRIBUTIONS):
        yield (
            f"{found.os} {found.os_version} brings no Docker of at least version {MINIMUM}, which GPUs by CDI need; "
            'set docker_source = "docker"'
        )
    elif old and found.version is not None:
        yield (
            f"dockerd {_dotted(found.version)} was found, expected {MINIMUM} or newer, since GPUs come into containers "
            'by CDI; set docker_source = "docker", or upgrade it'
        )


def _configured(found: DockerState, exchanges: bool) -> Iterator[str]:
    """What of daemon.json, units and flags keeps dockerd from running as Ingot needs it."""
    if found.swarm:
        yield (
            "Docker is part of a swarm, which live-restore excludes; leave it with `docker swarm leave`, or give "
            "the swarm another host"
        )
    if found.masked:
        yield f"{', '.join(found.masked)} is masked; `systemctl unmask {' '.join(found.masked)}` if it shall run"
    try:
        config = parsed(found.config)
    except IngotError as wrong:
        yield str(wrong).rstrip(".")
        return
    if not exchanges and found.system is not None:
        twice = [name for name in found.system.flags if name in KEY_OF_FLAG]
        if twice:
            yield (
                f"dockerd is started with --{' and --'.join(dict.fromkeys(twice))}, which {CONFIG} will say too, and "
                "does not start with both; take the flag out of its unit (`systemctl cat docker`)"
            )
    directories = config.get("cdi-spec-dirs")
    if isinstance(directories, list) and not set(CDI_DIRECTORIES) & set(map(str, directories)):
        yield f"{CONFIG} has cdi-spec-dirs {directories}, expected {CDI_DIRECTORIES[0]} among them; remove that key"


def _said(found: DockerState) -> Iterator[str]:
    """What stands between root's `docker` and the system's Docker."""
    if found.elsewhere:
        yield (
            f"root's docker goes to another daemon ({found.elsewhere}), expected the host's own; take that out of "
            "root's environment, or `docker context use default`"
        )
    own = found.docker is not None and found.docker.package != "podman-docker"
    if own and found.docker is not None and found.docker.is_script and not found.says.startswith("Docker version"):
        yield (
            f"`docker --version` prints {found.says!r} first, since {found.docker.path} is a script, expected Docker's "
            "own answer; have the script print on standard error, or move it out of root's path"
        )


def _snap(found: DockerState) -> Iterator[str]:
    if found.snap_runs and found.snap:
        yield (
            f"Docker of the snap runs with {_listed(found.snap)}, expected no other Docker; "
            "`snap stop --disable docker` on the host stops it and keeps its data (`snap start --enable docker` brings "
            "it back), then deploy again"
        )


def _notes(found: DockerState, removes: tuple[str, ...], exchanges: bool, stops_snap: bool) -> Iterator[str]:
    if exchanges:
        running = [one for one in found.others if one.running]
        what = f"{_listed(running)} stopped and started again" if running else "no container runs in it"
        before = ", ".join(name for name in removes if name not in ("podman-docker",)) or "docker-ce"
        ours = (
            "; Ingot's replicas are down meanwhile" if any(one.running for one in found.containers if one.ours) else ""
        )
        yield f"Docker ({before}) is exchanged for Docker's own newest packages, with the same data: {what}{ours}"
    elif found.others:
        yield (
            f"of others, {_listed(found.others)} in this Docker stay as they are, and so do icc, no-new-privileges and "
            f"userland-proxy of {CONFIG}"
        )
    if "podman-docker" in removes:
        kept = f" and keeps {', '.join(found.podman[:6])}" if found.podman else ""
        yield f"podman-docker gives way to Docker; podman stays{kept}, by the name podman"
    if stops_snap:
        yield "Docker of the snap, which has no containers, is stopped and disabled (`snap start --enable docker`)"
    rootless = {one.uid for one in found.daemons if one.uid != 0}
    if rootless:
        yield f"rootless Docker of uid {', '.join(map(str, sorted(rootless)))} is left alone"
    try:
        runtime = parsed(found.config).get("default-runtime")
    except IngotError:
        runtime = None
    if runtime not in (None, "runc"):
        yield f"the default runtime {runtime} of {CONFIG} stays for containers of others; Ingot's run by runc with CDI"


def parsed(text: str | None) -> dict[str, Any]:
    """daemon.json as an object; what dockerd takes for one that says nothing is an empty one.

    Raises: IngotError, one sentence.
    """
    try:
        found = json.loads(text) if text and text.strip() else {}
        if found is not None and not isinstance(found, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise IngotError(f"{CONFIG} is not a JSON object ({error}); correct it or move it away.") from None
    return found or {}


def _its(others: Iterable[Container]) -> str:
    """Names of containers, to be put behind an engine."""
    named = _listed(others)
    return f" (with {named})" if named else ""


def _listed(containers: Iterable[Container]) -> str:
    names = [one.name for one in containers]
    if not names:
        return ""
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"container{'s' if len(names) > 1 else ''} {', '.join(names[:6])}{more}"


def _numbers(version: str | None) -> tuple[int, ...]:
    """The leading numbers of a version such as 5:29.1.*: (29, 1)."""
    numbers = []
    for part in (version or "").rpartition(":")[2].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
