"""What the roles would ask of apt on a host, all together: pure, from one look and the host's values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ingot.compat import Refused, decide
from ingot.errors import IngotError
from ingot.facts.dcgm import PACKAGE as DCGM
from ingot.facts.host import HostState
from ingot.facts.models import SWARM_LIBRARY
from ingot.operations import archive
from ingot.operations.containers import cdi, docker
from ingot.operations.driver import installation
from ingot.operations.driver.request import driver_request
from ingot.operations.gateway import nginx_packages
from ingot.operations.monitoring import dcgm, exporter, monitor
from ingot.operations.package_source import Source, upstream, vendor
from ingot.operations.packages import Pin
from ingot.operations.weights import disk
from ingot.settings import Settings
from ingot.settings.sources import Archive

#: Where each upstream stands below a bundle, by its name in `sources`; the braces are the upstream's own.
PLACES = {
    "nvidia_driver": "apt/nvidia/{repository}",
    "nvidia_toolkit": "apt/nvidia-toolkit/$(ARCH)",
    "docker": "apt/docker/{os}",
    "nginx": "apt/nginx/{os}",
}
ARCHIVE, SECURITY = "apt/{os}", "apt/{os}-security"
#: What scripts of Ingot's install by themselves where it is missing.
SCRIPTS_NEED = ("gpg", "curl", "ca-certificates")


@dataclass(frozen=True, slots=True)
class Wish:
    """Packages (`name` or `name=version`) from repositories, by the bundle's place of each.

    `first` is installed before the others, whose versions it pins; `optional` are taken where a repository has them.
    `archive` is what the site names for its
    distribution's own packages; None where the connected machine's is meant.
    """

    names: tuple[str, ...]
    sources: Mapping[str, Source]
    archive: Archive | None
    pins: tuple[Pin, ...] = ()
    first: str | None = None
    optional: tuple[str, ...] = ()


def wish(look: HostState, values: Settings, *, fronts: bool, watched: bool = False, watches: bool = False) -> Wish:
    """Everything of a host's roles; `watched` and `watches` are for monitoring.

    Raises: IngotError, one sentence without the host's name, where that cannot be.
    """
    os, codename, architecture = look.driver.os, look.codename, look.described.architecture
    if os.id not in archive.KEYRINGS:
        raise IngotError(f"{os.id} {os.version}, expected Debian or Ubuntu; reinstall the host with one of these.")
    sources: dict[str, Source] = {}
    names: list[str] = list(SCRIPTS_NEED)
    pins: tuple[Pin, ...] = ()
    first = None
    optional: tuple[str, ...] = ()
    if not fronts:
        try:
            machine = look.driver.machine(values.driver_console, partial=values.gpus_use is not None)
            decision = decide(machine, driver_request(values))
        except Refused as refused:
            raise IngotError(f"{refused}.") from None
        chosen = decision.packages
        first, pins = chosen.pin, installation.pins(decision)
        version = f"{decision.version}-*" if decision.version else f"{decision.branch}.*"
        names += [*chosen.headers, *installation.versioned(decision, chosen.driver), *chosen.kernels, *chosen.tools]
        names += [f"{one}={version}" for one in chosen.companions]
        if chosen.repository:
            at = PLACES["nvidia_driver"].replace("{repository}", chosen.repository)
            sources[at] = upstream("nvidia", values.sources.nvidia_driver, chosen.repository)
            if watched and dcgm.is_wanted(values, (card.device_id for card in machine.gpus)):
                optional = (DCGM,)
        if look.docker is None:
            raise IngotError("its look tells nothing of Docker; take it again.")
        wanted, of_docker = docker.wanted(values, look.docker)
        names += [*wanted, *docker.TOOLS]
        if of_docker:
            sources[PLACES["docker"].replace("{os}", os.id)] = of_docker[0]
        names += [f"{name}={values.toolkit_version}-*" for name in cdi.PACKAGES]
        names += [disk.STRIPES] if len(values.cache_disk or ()) > 1 else []
        at = PLACES["nvidia_toolkit"].replace("$(ARCH)", architecture)
        sources[at] = upstream("nvidia-toolkit", values.sources.nvidia_toolkit, "")
    names += nginx_packages.TOOLS
    if values.gateway_packages == "nginx.org" or (os.id, os.version) in nginx_packages.WITHOUT_NJS:
        if values.sources.nginx is None:
            raise IngotError(
                'sources has no "nginx", expected nginx.org\'s repository; copy it from group_data/all.py.'
            )
        sources[PLACES["nginx"].replace("{os}", os.id)] = vendor("nginx", values.sources.nginx, os.id, codename)
        pins += (nginx_packages.PIN,)
        names += nginx_packages.VENDOR_PACKAGES
    else:
        names += nginx_packages.DISTRIBUTION_PACKAGES
    if values.cache_swarm_port and not fronts:
        optional = (*optional, SWARM_LIBRARY)
    names += [exporter.PACKAGE] if watched else []
    names += monitor.PACKAGES if watches else ()
    return Wish(tuple(dict.fromkeys(names)), sources, values.sources.distribution, pins, first, optional)


def at_bundle(values: Settings) -> dict[str, object]:
    """`sources` for hosts that have a bundle at {base}: as the values have them, at other addresses."""
    sources = values.sources
    found: dict[str, object] = {
        "distribution": {
            "uri": f"{{base}}/{ARCHIVE}",
            "security_uri": f"{{base}}/{SECURITY}",
            "check_valid_until": False,
        },
        "models": {"kind": "mirror", "uri": "{base}/models"},
        "models_fallback": [],
    }
    for name, place in PLACES.items():
        one = getattr(sources, name)
        if one is not None:
            moved = {"uri": f"{{base}}/{place}", "key_url": f"{{base}}/{key_place(place)}"}
            found[name] = replace_fields(one.model_dump(), moved)
    return found


def key_place(place: str) -> str:
    """Where the key of the repository at a place is; the toolkit's is the same for every architecture."""
    name = place.removeprefix("apt/")
    return f"keys/{'nvidia-toolkit' if name.startswith('nvidia-toolkit/') else name}.asc"


def replace_fields(values: dict[str, object], moved: Mapping[str, object]) -> dict[str, object]:
    """Values with others in their place, tuples as lists."""

    def plain(one: object) -> object:
        if isinstance(one, dict):
            return {key: plain(value) for key, value in one.items()}
        return list(one) if isinstance(one, tuple) else one

    return {key: plain(moved.get(key, value)) for key, value in values.items()}
