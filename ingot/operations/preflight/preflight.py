"""Everything that would stop a deploy of a host, found in one look and said before anything changes."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import host, state

from ingot.compat import Refused
from ingot.compat import decide as decide_driver
from ingot.errors import IngotError
from ingot.facts.errors import Unread
from ingot.facts.group import Interface
from ingot.facts.host import HostLook, HostState
from ingot.facts.models import Asked, SourceAnswer, SourceAnswers
from ingot.facts.monitoring import Monitoring
from ingot.facts.way_out import WayOut
from ingot.inventory.expectation import parse
from ingot.operations import monitored, proxy, served_bundle
from ingot.operations.containers.image import image_source
from ingot.operations.driver.request import driver_request
from ingot.operations.gateway import fronting, takeover
from ingot.operations.gateway.certificate import findings as certificate_findings
from ingot.operations.gpus_on_bus import usable
from ingot.operations.monitoring.exporter import why_not
from ingot.operations.operation import operation
from ingot.operations.preflight import disk_space, model_sources, package_sources, way_out
from ingot.operations.preflight.findings import Wanted, findings, planned_now
from ingot.operations.preflight.local_files import unusable
from ingot.operations.preflight.notices import conversions, notes, of_engines
from ingot.operations.refuse import refused
from ingot.operations.serving import group
from ingot.operations.standing import standing
from ingot.operations.weights import disk
from ingot.operations.weights.models import curl_token
from ingot.settings import Settings, WrongValues, of_host
from ingot.settings.serving import Serve

HTTPS_PORT = 443
#: The port at which an ACME server asks.
ACME_PORT = 80


@dataclass(frozen=True, slots=True)
class Judged:
    """What one look at a host says of a deploy: what stops it, what is worth knowing; sentences without its name."""

    stops: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    #: What it serves together with other hosts, and what must be the same there.
    together: tuple[Serve, Mapping[str, str]] | None = None


def judge(host: Host) -> Judged:
    """Judge a connected host by its values, and if they are right by one look at it; nothing is changed."""
    try:
        values = of_host(host)
    except WrongValues as wrong:
        return Judged(tuple(one.removeprefix(f"{host.name}: ").rstrip(".") for one in wrong.sentences))
    try:
        ordered = parse(host.data.get("expect") or {})
    except ValueError as error:
        return Judged((f"`expect` is not understood: {error}",))
    ports = [HTTPS_PORT, *([ACME_PORT] if values.gateway_certificate == "acme" else []), *monitored.ports(host)]
    exchanges = values.docker_source == "docker"
    paths = disk_space.places(values, values.cache_root)
    look = standing(host, HostLook, paths=paths, ports=ports, hardware=bool(ordered), exchanges=exchanges)
    if isinstance(look, Unread):
        return Judged((look.sentence(host.name).removeprefix(f"{host.name}: ").rstrip("."),))
    fronts = fronting.has_no_engine(host)
    look, off = _with_disk(host, look, values) if not fronts else (look, ())
    wanted = Wanted(host.name, values, fronts=fronts, expect=ordered)
    stops = (
        *off,
        *findings(look, wanted),
        *package_sources.findings(look, values, fronts=fronts),
        *certificate_findings(host),
        *unusable(host, values),
        *_monitoring(host),
        *group.misfits(host, values),
    )
    together = values.together
    own = None
    if together and not stops:
        hosts = group.hosts_of(host, together)
        own = group.interface(host.name, hosts, together, group.links(host, together))
        stops = (own,) if isinstance(own, str) else ()
    # Asked last, and only where all else is well: these are the questions that leave the host.
    if not stops and values.proxy:
        address = way_out.probe(
            look, values, package_sources.sources(look, values, fronts=fronts), served_bundle.fleet()
        )
        if address:
            stops = tuple(way_out.findings(values.proxy, address, host.get_fact(WayOut, address, **proxy.asking())))
    if not stops and not fronts:
        planned, _ = planned_now(look, wanted)
        stops = tuple(model_sources.findings(look, values, planned, lambda asked: _asked_of(host, values, asked)))
    sources = package_sources.notes(look, values, fronts=fronts)
    sites = takeover.notes(look.nginx, values.gateway_takeover)
    said = (*of_engines(values), *notes(look), *conversions(look, wanted), *sources, *sites, *_noise(host))
    if together is None or own is None or isinstance(own, str):
        return Judged(stops, said)
    speed = f"{own.speed_bits / 1e9:g} Gbit/s" if own.speed_bits else "a speed that it does not say"
    link = f"{together.model} is served together with {', '.join(together.hosts)}, over {own.name} ({speed})"
    return Judged(stops, (*said, link), (together, _sketch(look, wanted, together, own)))


def _sketch(look: HostState, wanted: Wanted, together: Serve, own: Interface) -> dict[str, str]:
    """What of a host must be the same on all that serve one replica, in words."""
    values = wanted.values
    gpus = usable(look.gpus, look.driver.bus, values.gpus_use)
    try:
        branch = str(decide_driver(look.driver.machine(values.driver_console), driver_request(values)).branch)
    except Refused:
        branch = "none"
    variants = together.request(values.models, values.lock).model.variants
    weights = [f"{one.name} at {one.revision}" for one in variants if together.variant in (None, one.name)]
    return {
        "number of GPUs": str(len(gpus)),
        "kind of GPU": ", ".join(sorted({f"{gpu.name} ({gpu.vram_bytes >> 20} MiB)" for gpu in gpus})),
        "driver branch": branch,
        "architecture": look.driver.arch,
        "image": image_source(values).reference,
        "weights": ", ".join(weights),
        "MTU": str(own.mtu),
    }


def _with_disk(host: Host, look: HostState, values: Settings) -> tuple[HostState, tuple[str, ...]]:
    """The host as it will be with its disk for models, and why that disk cannot be had."""
    found = disk.seen(host, values)
    if found is None or values.cache_mount is None:
        return look, ()
    try:
        steps = disk.decide(values.cache_mount, found)
    except IngotError as error:
        # Where models would lie without it is no finding of its own.
        return replace(look, mounts=(), unmounted=()), (str(error).rstrip("."),)
    return disk_space.ahead(look, values.cache_mount, found, steps), ()


def _monitoring(host: Host) -> Iterator[str]:
    """Daemons of others that monitoring would take over; a host that nobody watches is asked nothing."""
    sentence = why_not(host.name, standing(host, Monitoring)) if monitored.is_monitored(host) else None
    if sentence:
        yield sentence.removeprefix(f"{host.name}: ").rstrip(".")


def _asked_of(host: Host, values: Settings, asked: Sequence[Asked]) -> Sequence[Sequence[SourceAnswer]]:
    return host.get_fact(SourceAnswers, asked=asked, **proxy.asking(curl_token(values.cache_hub_token_file)))


def _noise(host: Host) -> Iterator[str]:
    noise = getattr(host.connector, "noise", "")
    if noise:
        yield (
            f"its login shell prints {noise!r} before every answer, which is left out; files that are pushed do not "
            "get through it: have its profile print only where `[ -t 1 ]`"
        )


@operation()
def preflight() -> Generator[PyinfraCommand, None, None]:
    """
    Refuse a host that cannot be deployed, with every reason at once; change nothing.

    **Example:**

    .. code:: python

        preflight.preflight(name="Look before anything changes")
    """
    judged = judge(host)
    if state.is_executing or not judged.stops:
        for note in judged.notes:
            logger.info(f"{host.print_prefix}{host.name}: {note}.")
    if (
        not judged.stops
        and judged.together
        and (differs := group.alone(host, judged.together[0]) or group.agreed(host, *judged.together))
    ):
        judged = replace(judged, stops=(differs,))
    if judged.stops:
        if not state.is_executing:
            # A dry run ends before execution: it must say so too.
            for sentence in judged.stops:
                logger.warning(f"{host.print_prefix}{host.name}: {sentence}.")
        yield FunctionCommand(_stop, (judged.stops,), {})
        return
    host.noop("nothing stands in the way of a deploy")


def _stop(state: State, host: Host, stops: Sequence[str]) -> bool:
    return refused(state, host, "\n".join(f"{host.name}: {sentence}." for sentence in stops))
