"""Reconnects to a host after a lost connection or a reboot."""

from __future__ import annotations

import time

from pyinfra.api.host import Host
from pyinfra.connectors.util import clear_askpass_cache

#: Seconds between two attempts.
PAUSE_S = 2


def reconnect(host: Host) -> bool:
    """Close the old connection, wait a little, and try once to connect again; return whether that worked."""
    clear_askpass_cache(host)
    # `host.disconnect` would end what this run holds there.
    suspend = getattr(host.connector, "suspend", None) or host.disconnect
    suspend()
    host.connected = False
    client = getattr(host.connector, "client", None)
    if client is not None:
        client.close()
    time.sleep(PAUSE_S)
    host.connect(show_errors=False)
    return host.connected


def lost(host: Host) -> str | None:
    """Why the connection to a host is gone, in one sentence; None while it is there."""
    # Hosts of other connectors, and what stands in for a host in a test, know of no such thing.
    sentence: str | None = getattr(getattr(host, "connector", None), "lost", None)
    return sentence
