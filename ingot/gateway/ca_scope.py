"""The scope of the internal CA: the networks and DNS zones that it may sign certificates for."""

from __future__ import annotations

import ipaddress
import re

_ZONE = re.compile(r"\.?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z]([a-z0-9-]*[a-z0-9])?")


def network_or_zone(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | str:
    """One entry of `gateway_ca_scope`: a network such as 10.0.0.0/8, or a DNS zone such as corp.example.

    Raises: ValueError for anything else.
    """
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        # A mistyped network must not become a DNS zone: the CA is made once, and all callers trust it.
        if not _ZONE.fullmatch(entry):
            raise
        return entry.lstrip(".")
