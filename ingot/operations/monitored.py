"""Which hosts of an inventory are watched, which of them watch, and whether a host still has what that takes."""

from __future__ import annotations

from pyinfra.api.host import Host
from pyinfra.context import host

from ingot.settings import section
from ingot.settings.monitoring import Monitoring

#: Hosts of this group run Prometheus and Alertmanager for every host of the inventory. Without one, nothing is
#: installed anywhere, and no host is asked anything.
GROUP = "monitor"
_FOUND = "ingot_monitoring_found"


def is_monitor(one: Host | None = None) -> bool:
    """Whether a host (the one in context) watches the hosts of its inventory, itself among them."""
    return GROUP in (host if one is None else one).groups


def is_monitored(one: Host | None = None) -> bool:
    """Whether a host (the one in context) is watched by another, or watches itself."""
    return any(is_monitor(other) for other in (host if one is None else one).inventory)


def ports(one: Host) -> tuple[int, ...]:
    """The TCP ports that a host opens for it. Raises: WrongValues."""
    if not is_monitored(one):
        return ()
    values = section(one, Monitoring)
    return (values.monitoring_port, *([values.monitoring_login_port] if is_monitor(one) else []))


def note(found: bool) -> None:
    """Remember of the host in context whether it has parts of monitoring: another role's look saw it."""
    host.connector_data[_FOUND] = found


def was_noted() -> bool:
    """Whether the host in context was seen to have parts of monitoring."""
    return bool(host.connector_data.get(_FOUND))
