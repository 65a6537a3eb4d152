"""What a host says of itself: the distribution's node exporter on loopback, and a timer that writes Ingot's figures."""

from __future__ import annotations

import json
from collections.abc import Generator
from importlib.resources import files

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host, state

from ingot.facts.dcgm import UNIT_FILE as DCGM_UNIT
from ingot.facts.engine import PROJECT, STATE
from ingot.facts.gateway import ACME_LIVE
from ingot.facts.gateway import TLS_DIRECTORY as GATEWAY_TLS
from ingot.facts.monitoring import DEFAULTS, DIRECTORY, TLS_DIRECTORY, Monitoring, MonitoringHost
from ingot.facts.replica_holds import HOLDS_FILE
from ingot.gateway.upstreams import UPSTREAMS_FILE
from ingot.monitoring.metrics import CATALOGUE, FIRST_BYTE_EDGES_S, INTERVAL_S, TEXTFILE
from ingot.operations import detached, monitored, packages, tree, units
from ingot.operations.gateway.certificate import PAIR
from ingot.operations.gateway.filter_site import COUNTS
from ingot.operations.gateway.log import LOG
from ingot.operations.monitoring import removal
from ingot.operations.operation import operation
from ingot.operations.refuse import refuse
from ingot.operations.render import template
from ingot.operations.standing import standing
from ingot.settings import Settings, of_host
from ingot.settings.engine import FIRST_ADDRESS

PACKAGE = "prometheus-node-exporter"
COLLECTOR = "ingot.monitoring.collector"
LIBRARY = f"{DIRECTORY}/library"
SETTINGS = f"{DIRECTORY}/collector.json"
SERVICE = "/etc/systemd/system/ingot-metrics.service"
TIMER = "/etc/systemd/system/ingot-metrics.timer"
#: Where the collector lists the engines' targets for the monitor, and what it leaves for its next run.
TARGETS = "/run/ingot-metrics"
MEMORY = f"{STATE}/monitoring/collector.json"
#: What callers meet, by `gateway_certificate`.
_PRESENTED = {
    "internal": f"{GATEWAY_TLS}/certificate.pem",
    "files": PAIR,
    "acme": f"{ACME_LIVE}/cert.pem",
}
ARGUMENTS = (
    "--web.listen-address=127.0.0.1:9100",
    f"--collector.textfile.directory={TEXTFILE.rpartition('/')[0]}",
    # The names of containers' network interfaces change with every start.
    "--collector.netclass.ignored-devices=^(veth.*|br-.*|docker.*)$$",
    "--collector.netdev.device-exclude=^(veth.*|br-.*|docker.*)$$",
)


def closed() -> tree.File:
    """What node exporter is started with: there before it is installed, which starts it."""
    return tree.File(DEFAULTS[PACKAGE], template("monitoring/default", arguments=ARGUMENTS))


def entries(values: Settings, name: str) -> list[tree.Entry]:
    """The collector, what it is told, and its timer."""
    program = sorted((one for one in files(COLLECTOR).iterdir() if one.name.endswith(".py")), key=lambda one: one.name)
    parts = COLLECTOR.split(".")
    directories = [f"{LIBRARY}/{'/'.join(parts[: place + 1])}" for place in range(len(parts))]
    writes = [TEXTFILE.rpartition("/")[0], MEMORY.rpartition("/")[0]]
    service = template(
        "monitoring/ingot-metrics.service",
        library=LIBRARY,
        settings=SETTINGS,
        writes=writes,
        runtime=TARGETS.rpartition("/")[2],
    )
    return [
        tree.Dir(DIRECTORY),
        tree.Dir(LIBRARY),
        *map(tree.Dir, directories),
        *(tree.File(f"{directories[-1]}/{one.name}", one.read_text()) for one in program),
        tree.File(SETTINGS, json.dumps(told(values, name), indent=1, sort_keys=True) + "\n"),
        tree.Dir(STATE),
        tree.Dir(MEMORY.rpartition("/")[0], mode="0700"),
        tree.File(SERVICE, service),
        tree.File(TIMER, template("monitoring/ingot-metrics.timer", seconds=INTERVAL_S)),
    ]


def told(values: Settings, name: str) -> dict[str, object]:
    """What the collector is told: where things are, and whom it may name."""
    return {
        "textfile": TEXTFILE,
        "memory": MEMORY,
        "targets": TARGETS,
        "state": STATE,
        "upstreams": UPSTREAMS_FILE,
        "holds": HOLDS_FILE,
        "project": PROJECT,
        "first_engine": str(values.engine_network[FIRST_ADDRESS]),
        "runs": detached.WORK,
        "audit": f"{detached.LOGS}/changes.jsonl",
        "access_log": LOG,
        "dcgm_unit": DCGM_UNIT,
        "edges_s": list(FIRST_BYTE_EDGES_S),
        "teams": sorted(values.teams),
        "budgets": {
            name: {
                period: tokens
                for period, tokens in (("day", team.tokens_per_day), ("month", team.tokens_per_month))
                if tokens
            }
            for name, team in sorted(values.teams.items())
            if team.tokens_per_day or team.tokens_per_month
        },
        "ledger": COUNTS,
        # Its own unit sees the system read-only.
        "mountinfo": "/proc/1/mountinfo",
        # A host that serves nothing has no such directory, and misses none.
        "cache_root": values.cache_root if values.serve else None,
        "cache_mount": values.cache_mount,
        "certificates": [_PRESENTED[values.gateway_certificate], f"{TLS_DIRECTORY}/certificate.pem"],
        # Beside others' sites, nginx need not listen on loopback.
        "gateway_name": None if values.gateway_takeover == "beside" else name,
        "metrics": {one.name: [str(one.kind), one.help] for one in CATALOGUE},
        "has_gpus": values.engine_build == "cuda" and bool(values.serve),
    }


@operation()
def exporter() -> Generator[PyinfraCommand, None, None]:
    """Have a watched host write its figures, for nobody else than the port of its own to hand on."""
    if not monitored.is_monitored():
        yield from removal.unless_watched()
        return
    found: MonitoringHost = standing(host, Monitoring)
    problem = why_not(host.name, found)
    if problem:
        yield refuse(problem)
        return
    yield from tree.tree._inner(entries=[closed()])
    yield from packages.packages._inner(names=(PACKAGE,))
    wrote = False
    for command in tree.tree._inner(entries=entries(of_host(host), host.name), validate=units.verified(SERVICE, TIMER)):
        yield command
        wrote = True
    if wrote:
        # The timer's own state does not tell that its service is another one now.
        yield StringCommand("systemctl daemon-reload")
    if state.is_executing or found.server.certificate_pem:
        yield from units.units._inner(
            units.Unit(PACKAGE, restart_on=(DEFAULTS[PACKAGE],)),
            units.Unit("ingot-metrics.timer", restart_on=(TIMER,)),
        )


def why_not(name: str, found: MonitoringHost) -> str | None:
    """Why a host cannot be watched, or watch, in one sentence; None where it can."""
    if not found.edited:
        return None
    return (
        f"{name}: {', '.join(found.edited)} is somebody else's, expected none, its package's or Ingot's: whoever uses "
        "that daemon would lose it; move the file away, or do without monitoring of this inventory's hosts."
    )
