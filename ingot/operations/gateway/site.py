"""The gateway's files: nginx' configuration and what it includes, made from the facts of a host and its values."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingot.errors import IngotError
from ingot.facts.gateway import BODIES, ENGINES, FLEET, TLS_DIRECTORY, GatewayHost
from ingot.facts.nginx_sites import CONFIGURATION
from ingot.gateway import errors, fleet, tls
from ingot.gateway.fleet import Place
from ingot.gateway.routes import Endpoint, Route, routes, serves
from ingot.gateway.upstreams import Engine, engines, model_list
from ingot.operations import render, tree
from ingot.operations.gateway import bodies, filter_site, log, pool, takeover
from ingot.operations.gateway import teams as gateway_teams
from ingot.operations.gateway.takeover import Takeover
from ingot.operations.gateway.teams import INCLUDED, Teams
from ingot.secrets import keys
from ingot.secrets.certificate_names import normal

CERTIFICATE = f"{TLS_DIRECTORY}/certificate.pem"
KEY = f"{TLS_DIRECTORY}/key.pem"
MODEL_SCRIPT = f"{INCLUDED}/by_model.js"
METERED_SCRIPT = f"{INCLUDED}/metered.js"
#: What each of our servers says for itself in a configuration of others.
BESIDE = f"{INCLUDED}/beside.conf"
ERRORS_CONF = f"{INCLUDED}/errors.conf"
#: What anyone may read: how to call, and the internal CA's certificate.
PUBLIC = f"{INCLUDED}/public"
#: What a fleet gateway trusts the hosts behind it by.
FLEET_CA = f"{INCLUDED}/fleet-ca.pem"

#: An origin as browsers send it (RFC 6454, 6.2).
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*")


@dataclass(frozen=True)
class Settings:
    """The gateway's values of group_data, and the names that callers use for the host.

    `behind` are networks of proxies that stand before this gateway; with `proxy_port` they speak the PROXY protocol
    there, else they send X-Forwarded-For. `body_room_bytes`: all request bodies together, beside what fits in buffers.
    `monitored`: nginx tells the host itself its counters.
    """

    names: tuple[str, ...]
    secrets: Path
    ca_scope: tuple[str, ...]
    read_timeout_s: int
    teams: Teams
    accounting_days: int
    endpoints: tuple[Endpoint, ...]
    affinity: bool
    place: Place
    hsts_max_age_s: int = 0
    filter: filter_site.Filter | None = None
    http2: bool = False
    behind: tuple[str, ...] = ()
    proxy_port: int | None = None
    cors_origins: tuple[str, ...] = ()
    body_room_bytes: int = 1 << 30
    takeover: Takeover = "refuse"
    monitored: bool = False


@dataclass(frozen=True)
class Presented:
    """The certificate and key that nginx reads, by path (relative: below /etc/nginx), and the entries that bring them.

    `http_01` says that port 80 answers an ACME server. `ca_pem` is the internal CA's certificate where that signed this
    one: callers need it.
    """

    certificate: str
    key: str
    entries: tuple[tree.Entry, ...]
    http_01: bool
    ca_pem: str = ""


def check(settings: Settings) -> None:
    """Raises: IngotError for a name that a certificate could not carry."""
    wrong = [name for name in (*settings.names, settings.place.name) if not _NAME.fullmatch(name)]
    if wrong:
        raise IngotError(
            f"{', '.join(map(repr, wrong))} cannot be a name in a certificate, expected letters, digits, '-' and '.', "
            "or an address; correct gateway_names or the host's address."
        )


def why_not(name: str, found: GatewayHost) -> str | None:
    """Why this host cannot carry the gateway, in one sentence; None when it can."""
    if found.upstreams_fault:
        return (
            f"{name}: the list of engines is damaged ({found.upstreams_fault}); "
            "deploy again, the engine role writes it anew."
        )
    return None


def entries(
    found: GatewayHost, settings: Settings, active: Sequence[keys.Key], presented: Presented, fleet_ca: str = ""
) -> list[tree.Entry]:
    """The files of nginx, as `tree` installs them; `fleet_ca` (PEM) signed the certificates of the hosts behind it."""
    served = upstreams(found, settings)
    model_script = by_model(served, settings)
    tls_text = tls_conf(found, presented)
    team_entries = gateway_teams.entries(settings.teams, active, served, asked_by_query=_asked_by_query(settings))
    files: Sequence[tree.Entry] = [tree.File(f"{INCLUDED}/log.conf", log.log_conf(served)), *team_entries]
    within = takeover.within(found.foreign, files, tls_text) if is_beside(found, settings) else None
    if within:
        files = within.files
    included = [
        tree.File(f"{INCLUDED}/tls.conf", tls_text),
        tree.File(BESIDE, within.beside_conf) if within else tree.Absent(BESIDE),
        *presented.entries,
        *files,
        tree.File(MODEL_SCRIPT, model_script) if model_script else tree.Absent(MODEL_SCRIPT),
        tree.File(METERED_SCRIPT, render.template("gateway/metered.js"))
        if _is_metered(served, settings)
        else tree.Absent(METERED_SCRIPT),
        tree.File(ERRORS_CONF, errors_conf(settings, served)),
        filter_conf(found, settings, served),
    ]
    # Names everything that nginx reads, so that what it runs can be compared with what is installed; engines.conf
    # names itself.
    parts = [str(entry.content) for entry in included if isinstance(entry, tree.File)]
    parts += [configuration(found, settings, digest="", serves_ca=bool(presented.ca_pem)), fleet_ca]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    main = configuration(found, settings, digest, serves_ca=bool(presented.ca_pem))
    return [
        tree.Dir(INCLUDED, mode="0755"),
        *_places(found, within, main, parts),
        tree.File(ENGINES, pool.engines_conf(served, affinity=settings.affinity, front=settings.place.is_front)),
        *_fleet(found, settings, served, fleet_ca),
        *included,
        *_public(settings, presented),
        *bodies.entries(settings.body_room_bytes, [443, *([settings.proxy_port] if settings.proxy_port else [])]),
        *filter_site.entries(settings.filter),
        *log.places(settings.accounting_days, tokens=_is_metered(served, settings)),
    ]


def is_beside(found: GatewayHost, settings: Settings) -> bool:
    """Whether nginx.conf stays somebody else's, with a part of ours."""
    return takeover.is_beside(found.foreign, settings.takeover)


def _places(found: GatewayHost, within: takeover.Within | None, main: str, parts: Sequence[str]) -> list[tree.Entry]:
    """Where nginx reads our configuration: as its own, or as a part of others'."""
    if within is None:
        return [
            tree.File(CONFIGURATION, main),
            # Not included by our configuration; removed so that nobody wonders.
            tree.Absent("/etc/nginx/conf.d/default.conf"),
            tree.Absent("/etc/nginx/sites-enabled/default"),
            *map(tree.Absent, found.foreign.guests),
        ]
    places = takeover.place(found.foreign)
    assert places, "refused before where there is none"
    same = takeover.same_variables(found.foreign, parts)
    if same:
        raise IngotError(
            f"nginx' configuration of others defines ${', $'.join(same)}, expected these of the gateway alone; rename "
            'them there, or set gateway_takeover to "replace".'
        )
    return [tree.File(places[0], within.first), tree.File(places[1], main)]


def upstreams(found: GatewayHost, settings: Settings) -> list[Engine]:
    """nginx' upstreams: the hosts behind a fleet gateway, or the host's own engines."""
    if settings.place.members is not None:
        return fleet.engines(settings.place.members, settings.place.first_port)
    return engines(found.upstreams, held_out=found.held_out, held=[one.address for one in found.holds])


def _fleet(found: GatewayHost, settings: Settings, served: Sequence[Engine], fleet_ca: str) -> list[tree.Entry]:
    """What the gateways of a fleet need to find and to trust each other."""
    place = settings.place
    ports = pool.fleet_conf(served, place.first_port, found.ipv6)
    return [
        tree.File(FLEET, ports) if place.fronted else tree.Absent(FLEET),
        tree.File(FLEET_CA, fleet_ca) if place.is_front else tree.Absent(FLEET_CA),
    ]


def _public(settings: Settings, presented: Presented) -> list[tree.Entry]:
    """The files that anyone may read: the page for callers and the internal CA's certificate."""
    page = render.template("gateway/callers.html", names=settings.names, serves_ca=bool(presented.ca_pem))
    ca = tree.File(f"{PUBLIC}/ca.crt", presented.ca_pem) if presented.ca_pem else tree.Absent(f"{PUBLIC}/ca.crt")
    return [tree.Dir(PUBLIC, mode="0755"), tree.File(f"{PUBLIC}/callers.html", page), ca]


def errors_conf(settings: Settings, served: Sequence[Engine] = ()) -> str:
    """Headers of every answer, and nginx' own errors: a part of each server."""
    bounded = _is_bounded(served, settings)
    return render.template(
        "gateway/errors.conf",
        errors=(*errors.ERRORS, *((errors.ENGINE_BUSY,) if bounded else ())),
        chosen_unreachable=settings.filter is not None or bounded,
        hsts_max_age_s=settings.hsts_max_age_s,
        cors=bool(settings.cors_origins),
    )


def tls_conf(found: GatewayHost, presented: Presented) -> str:
    """The TLS profile for the nginx and OpenSSL at hand."""
    profile = tls.profile(found.nginx or tls.OLDEST_NGINX, found.openssl)
    return render.template("gateway/tls.conf", presented=presented, profile=profile)


def configuration(found: GatewayHost, settings: Settings, digest: str, *, serves_ca: bool = False) -> str:
    """nginx.conf for the nginx at hand; it tells the host itself the `digest` of all its files."""
    served, place = upstreams(found, settings), settings.place
    profile = tls.profile(found.nginx or tls.OLDEST_NGINX, found.openssl)
    http2 = " http2" if settings.http2 and not profile.http2_directive else ""
    beside = is_beside(found, settings)
    at = takeover.addresses(found.foreign, ipv6=found.ipv6) if beside else ["443"]
    ports = [f"{address} ssl{http2}" for address in at]
    if settings.proxy_port:
        ports.append(f"{settings.proxy_port} ssl{http2} proxy_protocol")
    return render.template(
        "gateway/nginx.conf",
        # nginx compares names with the Host header: an IPv6 address in brackets, in its shortest spelling.
        names=list(dict.fromkeys(f"[{normal(name)}]" if ":" in name else name for name in settings.names)),
        listens=[*ports, *(f"[::]:{port}" for port in ports if found.ipv6 and "]" not in port and not beside)],
        guest=beside,
        log=log.LOG,
        tokens_log=log.TOKENS,
        metered=_is_metered(served, settings),
        bounded=[one for one in served if one.most] if _is_bounded(served, settings) else [],
        busy=errors.BUSY,
        serves=serves,
        ipv6=found.ipv6,
        http2=settings.http2,
        http2_directive=profile.http2_directive,
        keepalive_min=profile.keepalive_min,
        bodies=BODIES,
        behind=settings.behind,
        proxy_port=settings.proxy_port,
        cors_origins=settings.cors_origins,
        anthropic_paths=errors.ANTHROPIC_PATHS,
        engines=served,
        scripted=_scripted(served, settings),
        affinity=settings.affinity,
        model_list=model_list(served),
        routes=_routes(settings, served),
        front=place.is_front,
        scheme="https" if place.is_front else "http",
        fronted=place.fronted,
        fleet_name=place.name,
        # Not what is open at the moment: drains change that.
        fleet_port=place.first_port,
        asked_by_query=_asked_by_query(settings) and bool(served),
        refusals=lambda route: gateway_teams.refusals(settings.teams, route, served),
        refused_models={model for models in settings.teams.refused(served).values() for model in models},
        models_differ=bool(settings.teams.refused(served)),
        draining=errors.DRAINING,
        held_out=errors.HELD_OUT,
        query=errors.QUERY,
        http_1_0=errors.HTTP_1_0,
        coded_body=errors.CODED_BODY,
        no_such_model=errors.NO_SUCH_MODEL,
        no_websocket=errors.NO_WEBSOCKET,
        filtered=settings.filter is not None,
        public=PUBLIC,
        serves_ca=serves_ca,
        digest=digest,
        monitored=settings.monitored,
        read_timeout_s=settings.read_timeout_s,
    )


def filter_conf(found: GatewayHost, settings: Settings, served: Sequence[Engine]) -> tree.Entry:
    """Which teams' requests go to the filter, and how the filter reaches the engines."""
    if settings.filter is None:
        return tree.Absent(filter_site.NGINX)
    return tree.File(
        filter_site.NGINX,
        filter_site.nginx_conf(
            settings.filter,
            served,
            _routes(settings, served),
            read_timeout_s=settings.read_timeout_s,
            bodies=BODIES if is_beside(found, settings) else None,
        ),
    )


def by_model(served: Sequence[Engine], settings: Settings) -> str | None:
    """The njs script that chooses an engine by the request's body; None where there is one engine."""
    if not _scripted(served, settings):
        return None
    names = json.dumps({engine.model: engine.name for engine in served})
    return render.template(
        "gateway/by_model.js",
        engines_by_model=names,
        refused_by_team=json.dumps(settings.teams.refused(served)),
        affinity=settings.affinity,
        metered=json.dumps([one.name for one in served if one.engine]) if _is_metered(served, settings) else None,
        gathered=json.dumps([one.name for one in served if one.gathered]),
    )


def _is_metered(served: Sequence[Engine], settings: Settings) -> bool:
    """Whether this gateway reads what requests came to out of answers; a fleet gateway leaves that to its hosts."""
    return not settings.place.is_front and any(one.engine for one in served)


def _is_bounded(served: Sequence[Engine], settings: Settings) -> bool:
    """Whether full engines are told apart from silent ones; with the filter between, nginx sees that one alone."""
    return _is_metered(served, settings) and settings.filter is None and any(one.most for one in served)


def _routes(settings: Settings, served: Sequence[Engine]) -> list[Route]:
    """The open routes, and what answers."""
    return routes(
        settings.endpoints,
        models=len(served),
        listed=len(served) > 1 or settings.place.is_front or _is_metered(served, settings),
        scripted=_scripted(served, settings),
    )


def _scripted(served: Sequence[Engine], settings: Settings) -> bool:
    """Whether a request's body decides where it goes: by its model, or by its conversation.

    Or whether it goes anywhere: an engine that answers for any name is asked for its own alone.
    """
    return (
        len(served) > 1
        or _is_metered(served, settings)
        or (settings.affinity and any(len(engine.servers) > 1 for engine in served))
    )


def _asked_by_query(settings: Settings) -> bool:
    """Whether a route takes the model from the query."""
    return any(endpoint.kind == "socket" for endpoint in settings.endpoints)
