"""What monitoring left on a host that is watched no more, or watches no more: taken away."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host

from ingot.facts.monitoring import DEFAULTS, DIRECTORY, MONITOR_DIRECTORY, Monitoring, MonitoringHost
from ingot.facts.paths import Paths
from ingot.operations import changes, monitored, packages, tree

#: Units of Ingot's own, and where they lie.
UNITS = ("ingot-monitoring.service", "ingot-metrics.timer", "ingot-metrics.service")
WATCHED = ("prometheus-node-exporter",)
WATCHING = ("prometheus", "prometheus-alertmanager")
#: Figures of the past, and what is not in a package.
_LEFT_WATCHED = (DIRECTORY, "/var/lib/ingot/monitoring", "/run/ingot-metrics", "/var/lib/prometheus/node-exporter")
_LEFT_WATCHING = (
    "/etc/prometheus/rules/ingot.yml",
    "/etc/prometheus/prometheus.yml",
    "/etc/prometheus/alertmanager.yml",
    "/var/lib/prometheus/metrics2",
    "/var/lib/prometheus/alertmanager",
    MONITOR_DIRECTORY,
)


def unless_watched() -> Generator[PyinfraCommand, None, None]:
    """Take away what a watched host has, where another role's look has seen it; else nothing is asked."""
    if not monitored.was_noted():
        host.noop("nobody watches the hosts of this inventory")
        return
    yield from _remove(WATCHED, UNITS, _LEFT_WATCHED)


def unless_watching() -> Generator[PyinfraCommand, None, None]:
    """Take away what a monitor has, where another role's look has seen parts of monitoring; else nothing is asked."""
    if not monitored.was_noted():
        host.noop("it watches no hosts")
        return
    if not host.get_fact(Paths, paths=[MONITOR_DIRECTORY], contents=[]).paths:
        host.noop("it watches no hosts")
        return
    yield from _remove(WATCHING, (), _LEFT_WATCHING)


def _remove(
    names: tuple[str, ...], own_units: tuple[str, ...], left: tuple[str, ...]
) -> Generator[PyinfraCommand, None, None]:
    """Stop, remove packages that were not there before Ingot, and delete; what shows that all this is there goes last.

    A package that was there before keeps what is its own, and gets its own default back.
    """
    found: MonitoringHost = host.get_fact(Monitoring)
    stays = [name for name in names if name in found.before]
    goes = [name for name in names if name not in stays]
    if own_units:
        changes.announce([f"disable and remove {', '.join(own_units)}"])
        files = " ".join(f"/etc/systemd/system/{unit}" for unit in own_units)
        yield StringCommand(
            f"systemctl disable --now {' '.join(own_units)} 2>/dev/null; rm -f {files} && systemctl daemon-reload"
        )
    yield from packages.packages._inner(names=(), absent=goes)
    for name in stays:
        # As its package has it.
        changes.announce([f"give {name} its package's default back"])
        yield StringCommand(f"printf 'ARGS=\"\"\\n' >{DEFAULTS[name]} && systemctl restart {name}")
    kept = tuple(path for path in left if not (stays and path.startswith("/var/lib/prometheus")))
    yield from tree.tree._inner(
        entries=[*(tree.Absent(DEFAULTS[name]) for name in goes), *(tree.Absent(path) for path in kept)]
    )
