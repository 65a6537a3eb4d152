"""Certificates of Ingot's CA for both ends of the monitoring: a host's, and its monitor's as a client."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.context import host, state

from ingot.facts.monitoring import MONITOR_DIRECTORY, TLS_DIRECTORY, Monitoring, MonitoringHost, Pair
from ingot.operations import changes, tree
from ingot.operations.gateway.certificate import request_command
from ingot.secrets import keys, pki
from ingot.settings import of_host


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pair lies and whose it is; `is_client`: it opens no port, but is let in by one."""

    directory: str
    owner: str
    is_client: bool


SERVER = Place(TLS_DIRECTORY, "root", is_client=False)
CLIENT = Place(MONITOR_DIRECTORY, "prometheus", is_client=True)


def names(one: Host) -> tuple[str, ...]:
    """The names in a host's certificate: its own, and the address by which its monitor reaches it."""
    return tuple(dict.fromkeys([one.name, str(one.data.get("ssh_hostname") or one.name)]))


def secrets_dir() -> Path:
    """The directory of the CA of the host in context."""
    # pyinfra's last group of a host is the inventory file's name.
    return keys.secrets_dir(of_host(host).secrets_dir, host.groups[-1])


def authority_pem() -> str:
    """The CA's certificate; empty where `--dry` would have to make one."""
    if not state.is_executing and not (secrets_dir() / pki.CA_FILE).exists():
        return ""
    return pki.authority(secrets_dir(), of_host(host).gateway_ca_scope).certificate_pem


def present(found: MonitoringHost, place: Place) -> Generator[PyinfraCommand, None, None]:
    """Have a pair of the CA's at a place, renewed where it must be; the key is made on the host and stays there.

    Raises: IngotError when the CA cannot sign.
    """
    known, who = names(host), "the monitor" if place.is_client else "figures"
    if not authority_pem():
        changes.announce([f"make a CA and sign a certificate for {who} of {known[0]}"])
        yield StringCommand(request_command(known[0], place.directory, place.owner))
        return
    ca = pki.authority(secrets_dir(), of_host(host).gateway_ca_scope)
    pair = _pair(found, place)
    reason = pki.why_renew(ca, pair.certificate_pem, pair.request_pem, known)
    if reason is None:
        return
    changes.announce([f"sign a certificate for {who} of {', '.join(known)} ({reason})"])
    if not pair.request_pem:
        yield StringCommand(request_command(known[0], place.directory, place.owner))
        pair = _pair(host.get_fact(Monitoring), place)
    leaf = pki.sign(ca, pair.request_pem, known, is_client=place.is_client)
    yield from tree.tree._inner(entries=[tree.File(f"{place.directory}/certificate.pem", leaf)])


def _pair(found: MonitoringHost, place: Place) -> Pair:
    return found.client if place.is_client else found.server
