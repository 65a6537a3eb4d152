"""Internet addresses of version 6 among texts that look like one."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping


def is_address(text: str) -> bool:
    """Whether a text is an address of version 6 that can be somebody's; names of programs hold `::` too."""
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    groups = [group for group in text.split(":") if group]
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return False
    return len(groups) > 2 and any(one.isdigit() for one in text)


CHECKS: Mapping[str, Callable[[str], bool]] = {"ipv6": is_address}
