"""What monitoring left on a host that is watched no more, or watches no more: taken away."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host

from ingot.facts.dcgm import Dcgm, DcgmLook
from ingot.facts.monitoring import DATA, DIRECTORY, FILES, MONITOR_DIRECTORY, USER_GOES, Monitoring, MonitoringHost
from ingot.facts.paths import Paths
from ingot.operations import changes, monitored, packages, tree
from ingot.operations.monitoring import dcgm

#: Units of Ingot's own.
UNITS = ("ingot-monitoring.service", "ingot-metrics.timer", "ingot-metrics.service")
WATCHED = ("prometheus-node-exporter",)
WATCHING = ("prometheus", "prometheus-alertmanager")


def unless_watched() -> Generator[PyinfraCommand, None, None]:
    """Take away what a watched host has, where another role's look has seen it; else nothing is asked."""
    if not monitored.was_noted():
        host.noop("nobody watches the hosts of this inventory")
        return
    found: Dcgm = host.get_fact(DcgmLook)
    if found.ours:
        yield from dcgm.remove()
    files = " ".join(f"/etc/systemd/system/{unit}" for unit in UNITS)
    changes.announce([f"disable and remove {', '.join(UNITS)}"])
    yield StringCommand(
        f"systemctl disable --now {' '.join(UNITS)} 2>/dev/null; rm -f {files} && systemctl daemon-reload"
    )
    yield from _remove(WATCHED, ("/run/ingot-metrics", "/var/lib/ingot/monitoring", DIRECTORY))


def unless_watching() -> Generator[PyinfraCommand, None, None]:
    """Take away what a monitor has, where another role's look has seen parts of monitoring; else nothing is asked."""
    if not monitored.was_noted() or not host.get_fact(Paths, paths=[MONITOR_DIRECTORY], contents=[]).paths:
        host.noop("it watches no hosts")
        return
    yield from _remove(WATCHING, ("/etc/prometheus/rules/ingot.yml", MONITOR_DIRECTORY))
    yield StringCommand("rmdir /etc/prometheus/rules /etc/prometheus 2>/dev/null || true")


def _remove(names: tuple[str, ...], left: tuple[str, ...]) -> Generator[PyinfraCommand, None, None]:
    """Purge packages that were not there before Ingot, with their figures; others get their own files back.

    The last of `left` shows that all this was there, so that a run that was cut off is made good by the next.
    """
    found: MonitoringHost = host.get_fact(Monitoring)
    kept = [name for name in names if name in found.before]
    gone = [name for name in names if name not in kept]
    if gone:
        yield from packages.packages._inner(names=(), absent=gone)
        # What is removed alone keeps its configuration, which is Ingot's.
        yield StringCommand(f"dpkg --purge {' '.join(gone)} && {{ {USER_GOES}; }}")
    for name in kept:
        changes.announce([f"give {name} the configuration of its package back"])
        yield StringCommand(
            f"rm -f {' '.join(FILES[name])} && DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 "
            f"-o Dpkg::Options::=--force-confmiss install --reinstall {name} && systemctl restart {name}"
        )
    data = [path for name in gone for path in DATA[name]]
    yield from tree.tree._inner(entries=[tree.Absent(path) for path in (*data, *left)])
