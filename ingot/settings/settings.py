"""All values of one host, flat, under the names that group_data/all.py gives them."""

from __future__ import annotations

from collections.abc import Iterator

from ingot.engines.registry import registry
from ingot.engines.validity import problems
from ingot.settings.cache import Cache
from ingot.settings.changes import Changes
from ingot.settings.docker import Docker
from ingot.settings.driver import Driver
from ingot.settings.engine import Engine
from ingot.settings.gateway import Gateway
from ingot.settings.kinds import Section, Wrong
from ingot.settings.monitoring import Monitoring
from ingot.settings.rollout import Rollout
from ingot.settings.secrets import Secrets
from ingot.settings.serving import Serving
from ingot.settings.sources import Sources
from ingot.settings.usage import Usage
from ingot.settings.verify import Verify

#: In the order of group_data/all.py.
SECTIONS: tuple[type[Section], ...] = (
    Sources,
    Serving,
    Cache,
    Changes,
    Docker,
    Driver,
    Engine,
    Rollout,
    Gateway,
    Monitoring,
    Secrets,
    Usage,
    Verify,
)
#: Every value that there is.
NAMES: tuple[str, ...] = tuple(name for section in SECTIONS for name in section.model_fields)


class Settings(
    Sources, Serving, Cache, Changes, Docker, Driver, Engine, Rollout, Gateway, Monitoring, Secrets, Usage, Verify
):
    """The values of one host. Whoever needs one section takes that: a host's settings are every one of them."""


def conflicts(settings: Settings) -> Iterator[Wrong]:
    """Values of different sections that do not go together."""
    if settings.docker_source == "docker" and settings.sources.docker is None:
        yield Wrong(("sources", "docker"), None, "Docker's repository, since docker_source is 'docker'")
    if settings.gateway_packages == "nginx.org" and settings.sources.nginx is None:
        yield Wrong(("sources", "nginx"), None, "nginx.org's repository, since gateway_packages is 'nginx.org'")
    yield from _same_ports(settings)
    mount = settings.cache_mount
    if mount and not f"{settings.cache_root.rstrip('/')}/".startswith(f"{mount.rstrip('/')}/"):
        yield Wrong(("cache_mount",), mount, f"a mount point that cache_root ({settings.cache_root}) lies on")
    if settings.cache_disk and not mount:
        yield Wrong(("cache_mount",), None, "a mount point such as '/data' for cache_disk")
    if settings.cache_images and not mount:
        yield Wrong(("cache_mount",), None, "a mount point such as '/data' for cache_images")
    yield from settings.unlocked()
    yield from _unknown_to_the_engine(settings)


def _same_ports(settings: Settings) -> Iterator[Wrong]:
    """Ports of monitoring that the gateway may open."""
    first, models = settings.gateway_fleet_port, len(settings.names)
    taken = {settings.gateway_proxy_port, *range(first, first + models)}
    for name in ("monitoring_port", "monitoring_login_port"):
        if (port := getattr(settings, name)) in taken:
            yield Wrong((name,), port, "a port that is none of gateway_proxy_port and gateway_fleet_port's")


def _unknown_to_the_engine(settings: Settings) -> Iterator[Wrong]:
    """Names of parsers, arguments and architectures that the pinned engine does not know: it would not start."""
    known, models = registry(settings.engine_version), settings.catalog
    for index, one in enumerate(settings.serve):
        request = one.request(models)
        if request.engine != known.engine:
            continue
        architectures = [variant.architecture for variant in request.model.variants]
        for clause in problems(request.arguments, request.speculation, architectures, request.model.kind, known):
            yield Wrong(("serve", index, "model"), one.model, f"a model that the engine can start: {clause}")
