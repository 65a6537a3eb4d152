"""Whose nginx a host gets: the distribution's, or nginx.org's where that has no njs or where asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ingot.errors import IngotError
from ingot.facts.gateway import GatewayHost
from ingot.gateway.tls import OLDEST_NGINX, Version
from ingot.operations.package_source import Source, vendor
from ingot.operations.packages import Pin
from ingot.settings.sources import Repository

Origin = Literal["distribution", "nginx.org"]
TOOLS = ("curl", "logrotate", "openssl")
DISTRIBUTION_PACKAGES = ("nginx", "libnginx-mod-http-js")
VENDOR_PACKAGES = ("nginx", "nginx-module-njs")
#: Of nginx.org's repository these alone; before the distribution's, whichever version is higher.
PIN = Pin("nginx", VENDOR_PACKAGES, "release o=nginx", 900)
#: Releases without njs for their nginx, for when package lists were never fetched: by version and by codename.
WITHOUT_NJS = frozenset({("ubuntu", "22.04"), ("ubuntu", "jammy")})


@dataclass(frozen=True)
class Packages:
    """What `operations.packages` is asked for."""

    names: tuple[str, ...]
    sources: tuple[Source, ...] = ()
    pins: tuple[Pin, ...] = ()
    absent: tuple[str, ...] = ()


def packages(
    host: str, asked: str | None, found: GatewayHost, repository: Repository | None, extra: Sequence[str] = ()
) -> Packages:
    """A host's packages, and where they come from: `repository` is nginx.org's, `extra` ones the distribution's.

    Raises: IngotError, one sentence, where that cannot be.
    """
    if origin(host, asked, found) == "distribution":
        return Packages((*TOOLS, *extra, *DISTRIBUTION_PACKAGES))
    if repository is None:
        raise IngotError('sources has no "nginx", expected nginx.org\'s repository; copy it from group_data/all.py.')
    return Packages(
        (*TOOLS, *extra, *VENDOR_PACKAGES),
        (vendor("nginx", repository, found.os, found.codename),),
        (PIN,),
        # nginx.org's package excludes the distribution's, and modules fit one nginx only.
        ("nginx-common", "nginx-core", "libnginx-mod-*"),
    )


def origin(host: str, asked: str | None, found: GatewayHost) -> Origin:
    """Whose nginx: as asked; else the one that is there; else the distribution's if it has njs.

    Raises: IngotError for a distribution's nginx that cannot do it, and for the way back.
    """
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


def dotted(version: Version | None) -> str:
    """A version as people write it."""
    return ".".join(map(str, version)) if version else "(unknown)"
