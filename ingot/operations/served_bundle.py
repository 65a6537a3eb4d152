"""A bundle that a host of the inventory serves (`ingot bundle serve`): the others trust it by Ingot's own CA.

An https source at the name or address of a host of the inventory is such a bundle: nothing else says so.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from typing import Any
from urllib.parse import urlsplit

from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host

from ingot.operations import tree
from ingot.operations.operation import operation
from ingot.secrets import keys, pki
from ingot.settings import Settings, of_host

CERTIFICATE = "/etc/ingot/bundle-ca.pem"
#: apt also reads its sources when Ingot does not ask it to.
APT = "/etc/apt/apt.conf.d/51ingot-bundle"


class _Fleet:
    """The names and addresses of the inventory that was asked for last: each of its hosts asks for all of them."""

    inventory: object = None
    names: tuple[str, ...] = ()


def fleet() -> tuple[str, ...]:
    """Names and addresses of the hosts of the inventory in context, which reach each other without a proxy."""
    if _Fleet.inventory is not host.inventory:
        known = ((one.name, str(one.data.get("ssh_hostname") or one.name)) for one in host.inventory)
        _Fleet.names = tuple(sorted({name for names in known for name in names}))
        _Fleet.inventory = host.inventory
    return _Fleet.names


def servers(values: Settings, known: Collection[str]) -> tuple[str, ...]:
    """Those among the known names and addresses at which a value of a host names an https source."""
    said = (*_texts(values.sources.model_dump()), values.engine_image_archive or "")
    found = {urlsplit(one).hostname or "" for one in said if one.startswith("https://")}
    return tuple(sorted(found.intersection(known)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def authority() -> str:
    """The CA (PEM) by which the host in context trusts another one's bundle; "" where it takes none from there.

    Raises: IngotError for a CA that cannot be read.
    """
    values = of_host(host)
    if not servers(values, fleet()):
        return ""
    directory = keys.secrets_dir(values.secrets_dir, host.groups[-1] if host.groups else "")
    return pki.authority(directory, values.gateway_ca_scope).certificate_pem


@operation()
def trusted() -> Generator[PyinfraCommand, None, None]:
    """
    Have the host's own apt trust the host that serves a bundle, by Ingot's CA and for that address alone.

    **Example:**

    .. code:: python

        served_bundle.trusted(name="Trust the host that serves packages")
    """
    found = servers(of_host(host), fleet())
    if not found:
        host.noop("no other host serves packages to it")
        return
    lines = "".join(f'Acquire::https::{one}::CAInfo "{CERTIFICATE}";\n' for one in found)
    yield from tree.tree._inner(
        entries=[
            tree.Dir("/etc/ingot"),
            tree.File(CERTIFICATE, authority()),
            tree.File(APT, f"// Written by Ingot.\n{lines}"),
        ]
    )
