"""What Ingot installed on a host, taken away again: drained, stopped, removed, and what stays is said."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.context import host

from ingot.facts import dcgm
from ingot.facts.engine import STATE
from ingot.facts.engine import UNIT as ENGINE_UNIT
from ingot.facts.footprint import CONFIG_BEFORE, DOCKER_GOES, GPU_USERS, LOGS, Footprint, FootprintLook
from ingot.facts.models import SWARM_LIBRARY
from ingot.facts.monitoring import DATA, DEFAULTS, FILES, MONITOR_DIRECTORY, USER_GOES
from ingot.facts.nginx_sites import NGINX_KEPT
from ingot.facts.packages import BEFORE, CHANGED_SOURCES
from ingot.operations import changes, detached, packages
from ingot.operations.containers import cdi, docker
from ingot.operations.gateway import drain
from ingot.operations.operation import operation
from ingot.operations.refuse import refuse
from ingot.settings import WrongValues, of_host, section
from ingot.settings.serving import Serving

SCRIPT = (files(__package__) / "departure.sh").read_text()
UNIT = "ingot-decommission"
#: How long a run waits for packages and data to be removed, seconds.
LIMIT_S = 3600
DOCKER = (*docker.VENDOR_PACKAGES, *(name for names in docker.DISTRIBUTION_PACKAGES.values() for name in names))
DOCKER_DATA = ("/var/lib/docker", "/var/lib/containerd")
CDI_FILES = ("/etc/cdi/nvidia.yaml", "/var/run/cdi/nvidia.yaml")
_DRIVER = re.compile(r"nvidia|^libcuda|^cuda-drivers|^nvlsm$")
_NGINX = re.compile(r"^(nginx|libnginx-mod)(-|$)")
_TOOLKIT = re.compile(r"nvidia-container")
#: Adds a step: its sentence, its verb, the verb's words.
_Step = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall stay, what shall be overwritten or deleted beyond Ingot's own, and how long requests may run on."""

    keep_driver: bool = False
    keep_docker: bool = False
    wipe_keys: bool = False
    wipe_models: bool = False
    drain_s: int = 300
    stop_grace_s: int = 120


@dataclass(frozen=True, slots=True)
class Departure:
    """What will be done, as `departure.sh` follows it and as a person reads it, and what stays and why."""

    lines: tuple[str, ...]
    sentences: tuple[str, ...]
    stays: tuple[str, ...]


def of_group(one: Host) -> str | None:
    """Why a host that the inventory has serve together with others cannot leave; None where it may."""
    for other in one.inventory:
        with suppress(WrongValues):
            item = section(other, Serving).together
            if item and one.name in item.hosts:
                rest = [name for name in item.hosts if name != one.name]
                return (
                    f"{one.name}: {item.model} is served by it together with {' and '.join(rest)}, which could not go "
                    f"on without it, expected a host that no `hosts` names; take the item out of the `serve` of "
                    f"{', '.join(item.hosts)}, deploy those that stay with what they serve instead, and run this again."
                )
    return None


class Occupied(Exception):
    """Why nothing can be removed yet, in one sentence without the host's name."""


def plan(found: Footprint, wish: Wish, cache_root: str) -> Departure:
    """The steps in their order: what serves first, Ingot's own state last, so that a run that was cut off is seen.

    Raises: Occupied.
    """
    steps: list[tuple[str, str]] = []
    stays: list[str] = []
    installed = set(found.packages)

    def step(sentence: str, verb: str, *words: str) -> None:
        steps.append(("\t".join((verb, *words)), sentence))

    has_docker = installed & set(DOCKER)
    if STATE not in found.paths:
        # Ingot was never deployed here, or is removed already: what is installed is somebody else's.
        if has_docker or any(_is_driver(name) for name in installed):
            stays.append(f"driver, Docker and nginx (there is no {STATE} to tell that Ingot installed them)")
        return Departure((), (), tuple(stays))
    if has_docker and not found.docker and not found.docker_goes:
        raise Occupied(
            "dockerd does not answer, so that nobody can say whose containers are in it; "
            "start it (`systemctl start docker`) and run this again"
        )
    # The supervisor of a group would start anew what is removed under it.
    supervised = [unit for unit in found.units if found.group and unit == ENGINE_UNIT]
    for unit in supervised:
        step(f"disable and remove {unit}", "unit", unit)
    if found.containers:
        step(f"stop and remove {_listed(found.containers)}", "containers", str(wish.stop_grace_s), *found.containers)
    if found.networks:
        step(f"remove network {_listed(found.networks)}", "networks", *found.networks)
    for unit in found.units:
        if unit not in supervised:
            step(f"disable and remove {unit}", "unit", unit)
    if wish.wipe_keys and found.secrets:
        step(f"overwrite {_listed(found.secrets)}", "shred", *found.secrets)
    _nginx(found, step, stays)
    left_to_others = _monitoring(found, step, stays)
    others = f"{_listed(found.others)} in it is not Ingot's" if found.others else None
    docker_stays = has_docker and (_as_asked(wish.keep_docker) or _was_there(found, DOCKER) or others)
    if docker_stays:
        _docker_stays(found, docker_stays, step, stays)
        if found.images:
            step(f"remove {len(found.images)} engine images", "images", *found.images)
    else:
        toolkit = sorted(name for name in installed & set(cdi.PACKAGES) if not _was_there(found, (name,)))
        if toolkit:
            step(f"remove the container toolkit ({len(toolkit)} packages)", "purge", *toolkit)
        if has_docker or found.docker_goes:
            data = [directory for directory in DOCKER_DATA if not _was_there(found, (directory,))]
            step(
                f"remove Docker with all that is in it ({_listed(data)})",
                "docker", DOCKER_GOES, ",".join(data) or "-", *sorted(has_docker),
            )  # fmt: skip
        if "podman-docker" in (found.before or ()) and "podman-docker" not in installed:
            step("install podman-docker again, which gave way to Docker", "again", "podman-docker")
        if found.snap_stopped:
            step("start Docker of the snap again", "snap")
    if SWARM_LIBRARY in installed and not _was_there(found, (SWARM_LIBRARY,)):
        step(f"remove the library of swarms ({SWARM_LIBRARY})", "purge", SWARM_LIBRARY)
    driver = sorted(name for name in installed if _is_driver(name))
    driver_stays = driver and (_as_asked(wish.keep_driver) or _was_there(found, filter(_is_driver, found.before or ())))
    if driver_stays:
        stays.append(f"the driver, with its holds, pins and package source ({driver_stays})")
    elif driver:
        if found.gpu_users:
            raise Occupied(
                f"{_listed(found.gpu_users)} uses the GPUs, whose driver would go; stop it, or keep the driver with "
                "--keep-driver"
            )
        step(f"remove the driver ({len(driver)} packages)", "driver", *driver)
        # Whatever stays of the toolkit, no device is left that they could name.
        step(f"delete {_listed(CDI_FILES)}", "absent", *CDI_FILES)
    _models(found, wish, cache_root, step, stays)
    _sources(found, step, stays)
    # A line of others that got Ingot's key, and was edited since, still needs it.
    needed = {f"/etc/apt/keyrings/ingot-{name}.gpg" for name, _ in found.edited}
    own = [
        path
        for path in (*found.paths, *found.apt_paths)
        if path not in needed
        and path not in left_to_others
        and not _stays(path, bool(driver_stays), bool(docker_stays))
    ]
    # The state directory shows that Ingot was here: it is deleted last.
    own.sort(key=lambda path: path == STATE)
    if own:
        step(f"delete {_listed(own)}", "absent", *own)
    return Departure(tuple(line for line, _ in steps), tuple(sentence for _, sentence in steps), tuple(stays))


def _docker_stays(found: Footprint, why: str, step: _Step, stays: list[str]) -> None:
    """What of Docker stays; its daemon.json as it was before Ingot, where that is known and nobody changed it since."""
    was_there = found.before is not None and bool(found.before & set(DOCKER))
    if was_there and found.docker_config == "as written":
        stays.append(f"Docker and the container toolkit ({why})")
        step("give Docker the daemon.json back that was there before Ingot", "daemon_json", CONFIG_BEFORE)
        return
    changed = ", which somebody has changed since Ingot did," if found.docker_config == "changed" else ""
    stays.append(f"Docker, its daemon.json{changed} and the container toolkit ({why})")


def _as_asked(asked: bool) -> str | None:
    return "as asked" if asked else None


def _was_there(found: Footprint, names: Iterable[str]) -> str | None:
    """Why these may not be Ingot's to remove; None where it is known that none of them was there before it."""
    if found.before is None:
        return f"nothing tells whether it was here before Ingot, since {BEFORE} is missing"
    there = found.before.intersection(names)
    if "docker.io" in there and "docker-ce" in found.packages and "docker.io" not in found.packages:
        return "docker.io was here before Ingot, which has exchanged it for docker-ce; its data are docker-ce's now"
    return "it was here before Ingot" if there else None


def _is_driver(package: str) -> bool:
    return bool(_DRIVER.search(package)) and not _TOOLKIT.search(package)


def _nginx(found: Footprint, step: _Step, stays: list[str]) -> None:
    if found.nginx_guests:
        step(f"take {_listed(found.nginx_guests)} out of nginx' configuration", "guests", *found.nginx_guests)
    if found.nginx_is_ours and found.nginx_kept:
        step("give nginx the configuration back that it had before Ingot", "nginx_before", NGINX_KEPT)
        stays.append("nginx (it was here before Ingot)")
    elif not found.nginx_is_ours:
        if "nginx" in found.packages:
            stays.append("nginx (its nginx.conf is not Ingot's)")
    elif found.sites:
        step("give nginx the configuration of its package back", "nginx")
        stays.append(f"nginx ({_listed(found.sites)} is not Ingot's)")
    elif packages := sorted(name for name in found.packages if _NGINX.search(name)):
        if why := _was_there(found, filter(_NGINX.search, found.before or ())):
            step("give nginx the configuration of its package back", "nginx")
            stays.append(f"nginx ({why})")
            return
        step(f"remove nginx ({len(packages)} packages)", "purge", *packages)


def _monitoring(found: Footprint, step: _Step, stays: list[str]) -> set[str]:
    """Exporter, Prometheus and Alertmanager that Ingot closed; returns the files of those that were there before it."""
    left: set[str] = set()
    if dcgm.UNIT_FILE in found.paths:
        if dcgm.PACKAGE in found.packages:
            step(f"remove NVIDIA's DCGM exporter ({dcgm.PACKAGE})", "purge", dcgm.PACKAGE)
        step(f"disable and remove {dcgm.UNIT}", "unit", f"{dcgm.UNIT}.service")
        left.add(dcgm.UNIT_FILE)
    ours = [name for name, default in DEFAULTS.items() if name in found.packages and default in found.paths]
    kept = [name for name in ours if _was_there(found, (name,))]
    for name in kept:
        files = [path for path in found.paths if path in FILES[name]]
        step(f"give {name} the configuration of its package back", "packaged", name, *files)
        stays.append(f"{name} ({_was_there(found, (name,))})")
        left.update(files)
    if gone := [name for name in ours if name not in kept]:
        step(f"remove {_listed(gone)}", "purge", *gone)
        data = [path for name in gone for path in DATA[name]]
        step(f"delete the figures in {_listed(data)}", "absent", *data)
        step("remove the user prometheus where nothing needs it any more", "user", "prometheus")
    if MONITOR_DIRECTORY in found.paths:
        rules = "/etc/prometheus/rules"
        step("delete what the monitor was told", "absent", MONITOR_DIRECTORY, f"{rules}/ingot.yml")
        step("remove /etc/prometheus where nothing is left in it", "emptied", rules, "/etc/prometheus")
    return left


def _sources(found: Footprint, step: _Step, stays: list[str]) -> None:
    """What others say of package sources comes back, also where driver or Docker stay: in Ingot's place."""
    names = dict.fromkeys(name for name, _ in found.switched_off)
    if names:
        files = _listed(path for _, path in found.switched_off)
        step(f"put back {files}, in which Ingot switched a package source off", "sources", *names)
    if found.edited:
        stays.append(f"{_listed(path for _, path in found.edited)} (changed since Ingot switched a package source off)")


def _models(found: Footprint, wish: Wish, cache_root: str, step: _Step, stays: list[str]) -> None:
    if found.others_models:
        stays.append(f"{_listed(found.others_models)} (Ingot has not made it)")
    if not found.models:
        return
    if wish.wipe_models:
        step(f"delete the models {_listed(found.models)}", "models", cache_root, *found.models)
    else:
        stays.append(f"{len(found.models)} models below {cache_root} (--wipe-models deletes them)")


def _stays(path: str, keep_driver: bool, keep_docker: bool) -> bool:
    """Whether a file guards what stays: pins, holds and sources of the driver, the toolkit and Docker."""
    name = path.removeprefix("/etc/")
    if "nvidia-toolkit" in name or "docker" in name:
        return keep_docker
    # On a site with one mirror of NVIDIA's, toolkit and driver share a source.
    return "nvidia" in name and (keep_driver or (keep_docker and name.startswith("apt/")))


def _listed(names: Iterable[str]) -> str:
    """The first few of many."""
    known = list(names)
    return ", ".join(known[:6]) + (f" and {len(known) - 6} more" if len(known) > 6 else "")


@operation()
def remove(wish: Wish) -> Generator[PyinfraCommand, None, None]:
    """
    Take away what Ingot installed, in a unit of its own that survives the connection.

    New requests get 503 with Retry-After, running ones may end; then everything goes that nobody else uses.

    **Example:**

    .. code:: python

        departure.remove(departure.Wish(keep_driver=True), name="Decommission")
    """
    cache_root = of_host(host).cache_root
    found = host.get_fact(FootprintLook, cache_root=cache_root)
    try:
        departure = plan(found, wish, cache_root)
    except Occupied as why:
        yield refuse(f"{host.name}: {why}.")
        return
    changes.announce(f"leave {what}" for what in departure.stays)
    if others := [name for name in found.group if name != host.name]:
        changes.announce(
            [
                f"end the model that it serves together with {_listed(others)}, on all of them: deploy or decommission "
                f"{_listed(others)} too, whose `serve` says something else already"
            ]
        )
    if not departure.lines and not found.logs:
        host.noop("nothing of Ingot's is on the host")
        return
    if found.containers:
        changes.announce([f"answer new requests with 503 and wait up to {wish.drain_s} s for running ones"])
    changes.announce(departure.sentences)
    if departure.lines:
        if found.containers:
            yield from drain.drain(None, wish.drain_s)
        members = {
            "plan": "\n".join((f"host\t{host.name}", *departure.lines, "")),
            "sources.sh": packages.SOURCES,
            "gpu_users.sh": GPU_USERS,
            "user.sh": USER_GOES,
            "changed": CHANGED_SOURCES,
            "progress": 'cat "$1/step"',
        }
        yield from detached.commands(UNIT, SCRIPT, members, LIMIT_S)
    # The removal's own log is deleted last, since it says why a removal failed.
    yield StringCommand(f"rm -rf {detached.WORK} {LOGS}")
