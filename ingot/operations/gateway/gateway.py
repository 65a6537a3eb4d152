"""The gateway of a host: its certificate, its files, and the proof that nginx runs them."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from datetime import UTC, datetime
from typing import TypeVar

from pyinfra import logger
from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host, state

from ingot.errors import IngotError
from ingot.facts.gateway import Gateway, GatewayHost, Running
from ingot.facts.nginx_sites import CONFIGURATION, NGINX_KEPT
from ingot.gateway.fleet import Place
from ingot.gateway.routes import endpoints
from ingot.gateway.teams import size_bytes
from ingot.operations import changes, monitored, packages, refuse, tree, units
from ingot.operations.gateway import (
    acme as gateway_acme,
)
from ingot.operations.gateway import (
    bodies,
    filter,
    fronting,
    log,
    nginx_packages,
    takeover,
)
from ingot.operations.gateway import (
    certificate as gateway_certificate,
)
from ingot.operations.gateway import (
    site as gateway_site,
)
from ingot.operations.gateway import (
    teams as gateway_teams,
)
from ingot.operations.gateway.filter_site import COMPOSE
from ingot.operations.operation import operation
from ingot.operations.standing import standing
from ingot.secrets import keys, pki, verify_key
from ingot.settings import of_host

VALIDATE = (
    f"{log.BEFORE_TEST} && nginx -t -q -c {{stage}}{CONFIGURATION} && "
    f"{{ [ ! -e {{stage}}{COMPOSE} ] || ! command -v docker >/dev/null || "
    f"docker compose --file {{stage}}{COMPOSE} config --quiet; }} && "
    f"{units.verified(bodies.SERVICE, bodies.TIMER)}"
)
RELOAD = "if systemctl is-active -q nginx; then systemctl reload nginx; fi"

Commands = Generator[PyinfraCommand, None, None]
T = TypeVar("T")


@operation()
def nginx() -> Commands:
    """nginx with njs, after everything that can be refused before a package is installed."""
    found: GatewayHost = standing(host, Gateway)
    monitored.note(found.monitored)
    problem = gateway_site.why_not(host.name, found) or _occupied(found)
    if problem:
        yield refuse.refuse(problem)
        return
    gateway_site.check(settings_of_host())
    values = of_host(host)
    extra = [gateway_acme.PACKAGE] if gateway_certificate.wish(host).acme else []
    wanted = nginx_packages.packages(host.name, values.gateway_packages, found, values.sources.nginx, extra)
    if found.packages is None and state.is_executing:
        # Packages start nginx: with this it listens nowhere, and no welcome page is served on port 80. dpkg keeps it.
        stub = "# Written by Ingot: it listens nowhere.\nevents {}\n"
        yield from tree.tree._inner(entries=[tree.Dir("/etc/nginx"), tree.File(CONFIGURATION, stub)])
    yield from packages.packages._inner(wanted.names, wanted.sources, wanted.pins, absent=wanted.absent)


@operation()
def site() -> Commands:
    """Certificate, keys and nginx' configuration, checked by nginx before they are installed; then a reload."""
    found: GatewayHost = standing(host, Gateway)
    problem = gateway_site.why_not(host.name, found)
    if problem:
        yield refuse.refuse(problem)
        return
    try:
        wanted = settings_of_host()
        gateway_site.check(wanted)
        certificate = gateway_certificate.wish(host)
        wrote, presented = yield from _noting(gateway_certificate.present(found, wanted, certificate))
        if state.is_executing:
            verify_key.provide(wanted.secrets)
        active = keys.lasting(keys.read(wanted.secrets), datetime.now(UTC))
        entries = gateway_site.entries(found, wanted, active, presented, _fleet_ca(wanted))
        warning = gateway_teams.without_key(wanted.teams, active)
        if warning:
            logger.warning(f"{host.print_prefix}{warning}")
    except (IngotError, OSError) as error:
        yield refuse.refuse(f"{host.name}: {error}")
        return
    if found.foreign.is_there and not gateway_site.is_beside(found, wanted):
        changes.announce([f"keep what nginx serves now in {NGINX_KEPT}"])
        yield StringCommand(f"sh -c {shlex.quote(takeover.keep())}")
    yield from filter.sockets(found.filter, wanted.filter)
    yield from bodies.mount(found.body_room_bytes, wanted.body_room_bytes)
    is_beside = gateway_site.is_beside(found, wanted)
    check = log.BEFORE_TEST + " && " + takeover.validate() if is_beside else VALIDATE
    changed, _ = yield from _noting(tree.tree._inner(entries=entries, validate=check))
    # Before nginx sends anything there, and taken away only when it sends nothing there any more.
    yield from filter.start(found.filter, wanted.filter)
    if wrote or changed:
        # Here and not only by comparison: a file that was edited on the host, loaded and now put right differs from
        # what runs although nothing else tells.
        yield StringCommand(RELOAD)
    yield from filter.remove(found.filter, wanted.filter, wanted.read_timeout_s)
    if found.acme_pem and not certificate.acme:
        changes.announce(["have certbot forget the certificate that is no longer presented"])
        yield gateway_acme.forget()


@operation()
def acme() -> Commands:
    """A certificate from an ACME server, where one is wanted; nginx serves already and answers its question."""
    try:
        wanted = gateway_certificate.wish(host)
    except IngotError as error:
        yield refuse.refuse(f"{host.name}: {error}")
        return
    if not wanted.acme:
        host.noop("the certificate comes another way")
        return
    wrote, _ = yield from _noting(tree.tree._inner(entries=gateway_acme.entries(wanted.acme)))
    if wrote:
        yield StringCommand("systemctl daemon-reload")
    yield from units.units._inner(units.Unit(gateway_acme.TIMER))
    reason = gateway_acme.why_issue(standing(host, Gateway), wanted.acme, wanted.names)
    if reason is None:
        return
    changes.announce([f"ask {wanted.acme.directory} for a certificate for {', '.join(wanted.names)} ({reason})"])
    yield from gateway_acme.issue(host.name, wanted.acme, wanted.names)
    if state.is_executing:
        yield from site._inner()


@operation()
def in_effect() -> Commands:
    """Have nginx run what is installed, and prove it on port 443: a reload that failed shows nowhere else."""
    running = standing(host, Running, server=host.name)
    # Before the first deploy ran there is nothing to compare.
    if running.as_installed or not (state.is_executing or running.listener):
        host.noop("nginx runs what is installed")
        return
    changes.announce(["reload nginx: it runs something else than what is installed"])
    yield StringCommand(RELOAD)
    running = standing(host, Running, server=host.name)
    if not running.as_installed:
        yield refuse.refuse(
            f"{host.name}: port 443 is not answered by nginx with {CONFIGURATION} (listening there: "
            f"{running.listener or 'nothing'}); read /var/log/nginx/error.log on the host, stop what else uses the "
            "port, and deploy again."
        )


def settings_of_host() -> gateway_site.Settings:
    """The values of the host in context; its names are its own, its address and `gateway_names`.

    Raises: IngotError where nobody knows who stands behind a fleet gateway, or where the filter has no image.
    """
    values = of_host(host)
    # Every member has it in its certificate: nginx verifies all servers of an upstream by one name.
    shared = [values.gateway_fleet_name] if fronting.is_fronted() else []
    names = dict.fromkeys([host.name, host.data.get("ssh_hostname") or host.name, *values.gateway_names, *shared])
    return gateway_site.Settings(
        names=tuple(names),
        takeover=values.gateway_takeover,
        # pyinfra's last group of a host is the inventory file's name.
        secrets=keys.secrets_dir(values.secrets_dir, host.groups[-1]),
        ca_scope=values.gateway_ca_scope,
        read_timeout_s=values.gateway_read_timeout_s,
        teams=gateway_teams.Teams(values.others, values.teams),
        accounting_days=values.accounting_days,
        endpoints=endpoints(values.gateway_routes, fronting.kinds()),
        affinity=values.gateway_affinity,
        place=Place(
            members=fronting.members() if fronting.is_front() else None,
            fronted=fronting.is_fronted(),
            name=values.gateway_fleet_name,
            first_port=values.gateway_fleet_port,
        ),
        hsts_max_age_s=values.gateway_hsts_max_age_s,
        http2=values.gateway_http2,
        behind=values.gateway_behind,
        proxy_port=values.gateway_proxy_port,
        cors_origins=values.gateway_cors_origins,
        body_room_bytes=size_bytes(values.gateway_body_room),
        # Behind a fleet gateway each host filters: the teams' keys come that far.
        filter=None if fronting.is_front() else filter.of_host(),
        monitored=monitored.is_monitored(),
    )


def _occupied(found: GatewayHost) -> str | None:
    """Preflight's first word on sites of others, for deploys without it."""
    values = of_host(host)
    is_acme = values.gateway_certificate == "acme"
    names = (host.name, *values.gateway_names)
    said = takeover.refusals(found.foreign, values.gateway_takeover, names, acme=is_acme)
    return next((f"{host.name}: {sentence}." for sentence in said), None)


def _fleet_ca(settings: gateway_site.Settings) -> str:
    """The CA (PEM) by which a fleet gateway knows its members; nothing before there is one."""
    # `--dry` writes nothing, on this machine neither.
    if not settings.place.is_front or not (state.is_executing or (settings.secrets / pki.CA_FILE).exists()):
        return ""
    return pki.authority(settings.secrets, settings.ca_scope).certificate_pem


def _noting(commands: Generator[PyinfraCommand, None, T]) -> Generator[PyinfraCommand, None, tuple[bool, T]]:
    """Pass a generator's commands on; returns whether there was any, and what the generator returned."""
    any_ = False
    while True:
        try:
            command = next(commands)
        except StopIteration as end:
            return any_, end.value
        any_ = True
        yield command
