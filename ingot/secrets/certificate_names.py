"""Names in certificates: the names that a certificate is valid for, and those that a CA may sign."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from cryptography import x509

from ingot.errors import IngotError
from ingot.gateway.ca_scope import network_or_zone


def certificate_names(certificate: x509.Certificate) -> frozenset[str]:
    """DNS names and addresses that a certificate is valid for."""
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(
        [
            *alternatives.get_values_for_type(x509.DNSName),
            *(str(address) for address in alternatives.get_values_for_type(x509.IPAddress)),
        ]
    )


def covers(certificate: x509.Certificate, name: str) -> bool:
    """Whether a certificate is valid for a name or an address; `*.` stands for one label (RFC 9525 §6.3)."""
    try:
        name = str(ipaddress.ip_address(name))
    except ValueError:
        name = name.lower()
    own = {known.lower() for known in certificate_names(certificate)}
    _, dot, zone = name.partition(".")
    return name in own or (bool(dot) and f"*.{zone}" in own)


def names_outside(ca: x509.Certificate, names: Sequence[str]) -> list[str]:
    """Those names that the CA's name constraints forbid (RFC 5280 §4.2.1.10); none without constraints."""
    try:
        permitted = ca.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
    except x509.ExtensionNotFound:
        return []
    zones = [str(name.value) for name in permitted or () if isinstance(name, x509.DNSName)]
    networks = [name.value for name in permitted or () if isinstance(name, x509.IPAddress)]

    def covered(name: str) -> bool:
        alternative = general_name(name)
        if isinstance(alternative, x509.IPAddress):
            # A kind of name that the constraints do not mention is not constrained.
            return not networks or any(_inside(str(alternative.value), str(network)) for network in networks)
        return not zones or any(name == zone or name.endswith(f".{zone}") for zone in zones)

    return [name for name in names if not covered(name)]


def general_name(name: str) -> x509.GeneralName:
    """A DNS name or an address as certificates carry it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def normal(name: str) -> str:
    """A name in the form in which a certificate gives it back."""
    return str(general_name(name).value)


def constraint(entry: str) -> x509.GeneralName:
    """A network or a DNS zone of `gateway_ca_scope` as name constraints carry it.

    Raises: IngotError for anything else.
    """
    try:
        scope = network_or_zone(entry)
    except ValueError as error:
        raise IngotError(
            f"gateway_ca_scope holds {entry!r}, expected a network such as 10.0.0.0/8 or a DNS zone such as "
            f"corp.example ({error}); correct it."
        ) from error
    return x509.DNSName(scope) if isinstance(scope, str) else x509.IPAddress(scope)


def scope_text(ca: x509.Certificate) -> str:
    """A CA's scope as people write it."""
    permitted = ca.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
    return ", ".join(str(name.value) for name in permitted or ())


def _inside(address: str, network: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)
