"""Internet addresses of version 6 and mailboxes among texts that look like one."""

from __future__ import annotations

import ipaddress
import re
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


#: Behind an @ with a dot: files, units of systemd; none of them is a top-level domain.
_FILES = re.compile(
    "png|jpe?g|gif|svg|webp|[jt]s|css|json|ya?ml|toml|service|socket|timer|target|mount", re.ASCII | re.IGNORECASE
)


def is_mailbox(text: str) -> bool:
    """Whether a text with an @ can be somebody's; programs name files, units and the account of a repository so."""
    local, _, domain = text.rpartition("@")
    return local != "git" and not _FILES.fullmatch(domain.rpartition(".")[2])


CHECKS: Mapping[str, Callable[[str], bool]] = {"ipv6": is_address, "mailbox": is_mailbox}
