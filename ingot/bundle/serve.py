"""A bundle on one host of a closed site, served to the others by an nginx of its own over TLS."""

from __future__ import annotations

import ipaddress
import shlex
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import BinaryIO, cast

from pyinfra.api.host import Host

from ingot.bundle.manifest import Manifest
from ingot.bundle.push import CURRENT, Pushed, push
from ingot.bundle.store import Store
from ingot.bundle.wishes import ARCHIVE, SECURITY
from ingot.errors import IngotError
from ingot.facts.archive import Archive
from ingot.inventory.connector import IngotConnector
from ingot.operations import archive
from ingot.operations.bundle import pack
from ingot.operations.render import template
from ingot.secrets import pki
from ingot.settings import sources

SCRIPT = (files(__package__) / "serve.sh").read_text()
HOME, UNIT, RUNTIME = "/etc/ingot/bundle", "ingot-bundle.service", "ingot-bundle"


@dataclass(frozen=True, slots=True)
class Served:
    """What came of it: what travelled, where the bundle is served, and whether anything of the server changed."""

    pushed: Pushed
    address: str
    changed: bool


def address(host: Host) -> str:
    """Where the other hosts reach a host."""
    return str(host.data.get("ssh_hostname") or host.name)


def base(host: Host, port: int) -> str:
    """The address of a bundle that a host serves."""
    at = address(host)
    return f"https://{f'[{at}]' if ':' in at else at}:{port}"


def networks(hosts: Iterable[Host]) -> tuple[str, ...]:
    """The addresses of hosts, for who may ask. Raises: IngotError for a name that this machine cannot resolve."""
    found: set[str] = set()
    for host in hosts:
        at = address(host)
        try:
            found.add(str(ipaddress.ip_address(at)))
        except ValueError:
            try:
                found |= {str(one[4][0]) for one in socket.getaddrinfo(at, None)}
            except OSError as error:
                raise IngotError(
                    f"{host.name}: {at} is not resolved here ({error.strerror}), expected an address that may take the "
                    "bundle; name the site's networks with --allow."
                ) from None
    return tuple(sorted(found))


def members(at: str, port: int, allowed: Sequence[str], packages: str, pair: str | None) -> Mapping[str, bytes]:
    """The files that serve.sh installs; `packages` describes the bundle to apt, `pair` is a new certificate."""
    run = f"/run/{RUNTIME}"
    found = {
        "nginx.conf": template(
            "bundle/nginx.conf", run=run, home=HOME, port=port, at=at, networks=allowed, ipv6=_has_ipv6(allowed)
        ),
        UNIT: template("bundle/ingot-bundle.service", home=HOME, runtime=RUNTIME),
        "archive.sources": packages,
    }
    return {name: text.encode() for name, text in (found | ({"pair.pem": pair} if pair else {})).items()}


def _has_ipv6(allowed: Sequence[str]) -> bool:
    return any(":" in one for one in allowed)


def serve(
    store: Store,
    bundle: Manifest,
    host: Host,
    ca: pki.Authority,
    allowed: Sequence[str],
    *,
    at: str,
    port: int,
    older: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Served:
    """Bring a whole proven bundle to a host that is connected, and have it served there. Raises: IngotError."""
    pushed = push(store, bundle, host, to=at, older=older, whole=True, say=say)
    names = tuple(dict.fromkeys((host.name, address(host))))
    shown = _ask(host, at, "look", port)
    pair = None if pki.serves_bundle(ca, shown, names) else pki.of_a_bundle(ca, names)
    look = host.get_fact(Archive, path=archive.PATH)
    here = f"file://{at}/{CURRENT}"
    place = sources.Archive(uri=f"{here}/{ARCHIVE}", security_uri=f"{here}/{SECURITY}", check_valid_until=False)
    packages = archive.text(place, look.os, look.codename, look.described.architecture)
    sent = pack(members(at, port, allowed, packages, pair)).encode()
    said = _ask(host, at, "serve", port, lambda pipe: _write(pipe, sent))
    return Served(pushed, base(host, port), said.split() != ["changed"])


def stop(host: Host, *, at: str, port: int) -> None:
    """Have a host serve a bundle no more; the bundle stays there. Raises: IngotError."""
    _ask(host, at, "stop", port)


def _ask(host: Host, at: str, step: str, port: int, feed: Callable[[BinaryIO], None] | None = None) -> str:
    connector = cast(IngotConnector, host.connector)
    status, output, errors = connector.stream(f"set -- {shlex.quote(at)} {step} {port}\n{SCRIPT}", feed)
    if status:
        raise IngotError(f"{host.name}: {errors.strip() or f'ended with status {status}'}.")
    return output


def _write(pipe: BinaryIO, content: bytes) -> None:
    pipe.write(content)
