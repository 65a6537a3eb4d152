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
    host.disconnect()
    client = getattr(host.connector, "client", None)
    if client is not None:
        client.close()
    time.sleep(PAUSE_S)
    host.connect(show_errors=False)
    return host.connected
