"""Whose nginx a host gets: the distribution's, or nginx.org's where that has no njs or where asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ingot.errors import IngotError
from ingot.facts.gateway import GatewayHost
from ingot.gateway.tls import OLDEST_NGINX, Version
from ingot.operations.packages import Pin, Source

Origin = Literal["distribution", "nginx.org"]
ORIGINS: tuple[Origin, Origin] = ("distribution", "nginx.org")
TOOLS = ("curl", "logrotate", "openssl")
#: Releases without njs for their nginx, for when package lists were never fetched: (os, codename).
WITHOUT_NJS = frozenset({("ubuntu", "jammy")})


@dataclass(frozen=True)
class Packages:
    """What `operations.packages` is asked for."""

    names: tuple[str, ...]
    sources: tuple[Source, ...] = ()
    pins: tuple[Pin, ...] = ()
    absent: tuple[str, ...] = ()


def packages(
    host: str, asked: str | None, found: GatewayHost, sources: Mapping[str, Any], extra: Sequence[str] = ()
) -> Packages:
    """The packages of a host, and where they come from; `extra` ones come from the distribution.

    Raises: IngotError, one sentence, where that cannot be.
    """
    if origin(host, asked, found) == "distribution":
        return Packages((*TOOLS, *extra, "nginx", "libnginx-mod-http-js"))
    if "nginx" not in sources:
        raise IngotError('sources has no "nginx", expected nginx.org\'s repository; copy it from group_data/all.py.')
    return Packages(
        (*TOOLS, *extra, "nginx", "nginx-module-njs"),
        (source(sources["nginx"], found),),
        # Of that repository these alone; before the distribution's, whichever version is higher.
        (Pin("nginx", ("nginx", "nginx-module-njs"), "release o=nginx", 900),),
        # nginx.org's package excludes the distribution's, and modules fit one nginx only.
        ("nginx-common", "nginx-core", "libnginx-mod-*"),
    )


def origin(host: str, asked: str | None, found: GatewayHost) -> Origin:
    """Whose nginx: as asked; else the one that is there; else the distribution's if it has njs.

    Raises: IngotError for another word, for a distribution's nginx that cannot do it, and for the way back.
    """
    if asked is not None and asked not in ORIGINS:
        raise IngotError(
            f'gateway_packages is {asked!r}, expected "distribution", "nginx.org", or None for what it needs.'
        )
    offered = (found.os, found.codename) not in WITHOUT_NJS
    if found.packages != "nginx.org" and found.nginx:
        offered = found.njs and found.nginx >= OLDEST_NGINX
    if asked == "distribution":
        if found.packages == "nginx.org":
            raise IngotError(
                f"{host}: nginx.org's nginx is installed and gateway_packages asks for the distribution's; while "
                "nobody is served run `apt-get purge nginx nginx-module-njs` on the host, and deploy again."
            )
        if not offered:
            raise IngotError(
                f"{host}: the distribution offers nginx {dotted(found.nginx)} {'with' if found.njs else 'without'} "
                f"libnginx-mod-http-js, expected nginx {dotted(OLDEST_NGINX)} or newer with it; set gateway_packages = "
                '"nginx.org".'
            )
        return "distribution"
    return "distribution" if asked is None and offered and found.packages != "nginx.org" else "nginx.org"


def source(values: Mapping[str, Any], found: GatewayHost) -> Source:
    """nginx.org's repository for this host; `{os}` and `{codename}` in the values are the host's."""

    def of(key: str) -> str:
        return str(values[key]).replace("{os}", found.os).replace("{codename}", found.codename)

    return Source("nginx", of("uri"), of("suite"), of("component"), of("key_url"), values["key_fingerprint"])


def dotted(version: Version | None) -> str:
    """A version as people write it."""
    return ".".join(map(str, version)) if version else "(unknown)"
