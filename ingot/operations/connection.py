"""A host's connection, made again after it was lost or after a reboot."""

from __future__ import annotations

import time

from pyinfra.api.host import Host
from pyinfra.connectors.util import clear_askpass_cache

#: Seconds between two attempts.
PAUSE_S = 2


def reconnect(host: Host) -> bool:
    """End what is left of the connection, wait a little, try once to have a new one; whether there is one."""
    clear_askpass_cache(host)
    host.disconnect()
    client = getattr(host.connector, "client", None)
    if client is not None:
        client.close()
    time.sleep(PAUSE_S)
    host.connect(show_errors=False)
    return host.connected
