"""What a host may be called in an inventory: the name of its file, of its certificate and on the network."""

import re

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


def is_member_name(name: str) -> bool:
    """Whether a host file can have the name: a-z, 0-9, '-' and '.', at most 63 characters."""
    return bool(_NAME.fullmatch(name))
