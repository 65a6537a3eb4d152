"""The value "proxy": what stands between hosts and everything that they fetch."""

from __future__ import annotations

from typing import Annotated

from ingot.settings.kinds import Expected, LocalPath, Many, Section, pattern

_ADDRESS = "the address of an HTTP proxy such as 'http://proxy.corp.example:3128', without a login"
_DIRECT = "a host name, a domain such as '.corp.example', or an IP address"


class Proxy(Section):
    """An HTTP proxy, the login that it asks for, the CA with which it opens TLS, and what hosts reach without it."""

    uri: Annotated[str, *pattern(r"http://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?/?", _ADDRESS)]
    login_file: Annotated[LocalPath | None, Expected("a path on this machine, or None")] = None
    ca_file: Annotated[LocalPath | None, Expected("a path on this machine, or None")] = None
    direct: Annotated[
        Many[Annotated[str, *pattern(r"\.?[A-Za-z0-9:][A-Za-z0-9.:-]*", _DIRECT)]],
        Expected("a list of host names, domains and IP addresses such as ['.corp.example']"),
    ] = ()
