"""The host that watches: the distribution's Prometheus and Alertmanager, on loopback alone."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence

from pyinfra import logger
from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host, state

from ingot.bench.baseline import baselines
from ingot.bench.record import DIRECTORY, records
from ingot.facts.monitoring import DEFAULTS, MONITOR_DIRECTORY, Monitoring, MonitoringHost
from ingot.monitoring.metrics import INTERVAL_S
from ingot.monitoring.rules.baseline import Baseline
from ingot.monitoring.rules.inhibitions import inhibitions
from ingot.monitoring.rules.rendered import rule_file
from ingot.monitoring.rules.slo import Slo
from ingot.monitoring.targets import LISTED_JOBS, Member, listings, nodes
from ingot.operations import monitored, packages, tree, units
from ingot.operations.monitoring import certificates, removal
from ingot.operations.monitoring.exporter import why_not
from ingot.operations.operation import operation
from ingot.operations.render import template
from ingot.operations.standing import standing
from ingot.secrets import word
from ingot.settings import Settings, WrongValues, of_host, section
from ingot.settings.monitoring import Monitoring as Values
from ingot.settings.read import HOST_FILE_ERROR

PACKAGES = ("prometheus", "prometheus-alertmanager")
PROMETHEUS = "/etc/prometheus/prometheus.yml"
ALERTMANAGER = "/etc/prometheus/alertmanager.yml"
RULES = "/etc/prometheus/rules/ingot.yml"
NODES = f"{MONITOR_DIRECTORY}/nodes.json"
TOKEN = f"{MONITOR_DIRECTORY}/webhook.token"
PASSWORD = f"{MONITOR_DIRECTORY}/mail.password"
VALIDATE = (
    f"promtool check config --syntax-only {{stage}}{PROMETHEUS} && promtool check rules {{stage}}{RULES} && "
    f"amtool check-config {{stage}}{ALERTMANAGER}"
)


def defaults(values: Settings, disk_bytes: int, address: str) -> list[tree.Entry]:
    """What both are started with: there before they are installed, which starts them."""
    megabytes = max(int(disk_bytes * values.monitoring_disk_share) >> 20, 256)
    outside = f"https://{f'[{address}]' if ':' in address else address}:{values.monitoring_login_port}"
    arguments = {
        "prometheus": (
            "--web.listen-address=127.0.0.1:9090",
            f"--web.external-url={outside}/prometheus/",
            "--web.route-prefix=/",
            f"--storage.tsdb.retention.time={values.monitoring_keep_days}d",
            f"--storage.tsdb.retention.size={megabytes}MB",
        ),
        "prometheus-alertmanager": (
            "--web.listen-address=127.0.0.1:9093",
            f"--web.external-url={outside}/alertmanager/",
            "--web.route-prefix=/",
            # Alone it gossips with nobody.
            "--cluster.listen-address=",
        ),
    }
    return [
        tree.File(DEFAULTS[name], template("monitoring/default", arguments=words)) for name, words in arguments.items()
    ]


def members() -> tuple[Member, ...]:
    """Every host of the inventory whose file can be read; one with wrong values is watched at the monitor's port."""
    own = section(host, Values).monitoring_port
    found = []
    for one in host.inventory:
        if one.data.get(HOST_FILE_ERROR):
            logger.warning(f"{host.print_prefix}{one.name} is not watched while its host file is wrong.")
            continue
        try:
            port = section(one, Values).monitoring_port
        except WrongValues:
            port = own
        found.append(Member(one.name, str(one.data.get("ssh_hostname") or one.name), port))
    return tuple(found)


def prometheus_yml(watched: Sequence[Member], name: str, interval_s: int = INTERVAL_S) -> str:
    """Prometheus' configuration; tests scrape at another pace."""
    return template(
        "monitoring/prometheus.yml",
        interval_s=interval_s,
        rules=RULES,
        directory=MONITOR_DIRECTORY,
        nodes=NODES,
        listings=[(job, listings(watched, job)) for job in LISTED_JOBS],
        host=name,
    )


def alertmanager_yml(values: Settings) -> str:
    """Alertmanager's configuration: whom it tells, and what stays quiet while a run holds a host."""
    return template(
        "monitoring/alertmanager.yml",
        told=bool(values.monitoring_webhook or values.monitoring_mail),
        webhook=values.monitoring_webhook,
        token_file=TOKEN if values.monitoring_webhook_token_file else None,
        mail=values.monitoring_mail,
        password_file=PASSWORD,
        inhibitions=json.dumps(inhibitions()),
    )


def _secret(path: str, file: str | None, value: str) -> tree.Entry:
    """A secret of this machine, for user prometheus alone. Raises: IngotError, OSError."""
    if not file:
        return tree.Absent(path)
    return tree.File(path, word.read(file, value), user="prometheus", group="prometheus", mode="0400", secret=True)


def promised(values: Settings) -> Slo:
    """What callers are promised."""
    return Slo(
        ttft_s=values.monitoring_ttft_s,
        ttft_share=values.monitoring_ttft_share,
        itl_s=values.monitoring_itl_s,
        itl_share=values.monitoring_itl_share,
        served_share=values.monitoring_answered_share,
        floor=values.monitoring_floor,
    )


def entries(
    values: Settings, watched: Sequence[Member], name: str, ca_pem: str, known: Sequence[Baseline]
) -> list[tree.Entry]:
    """Configuration, targets and rules of both."""
    mail = values.monitoring_mail
    return [
        tree.Dir("/etc/prometheus/rules"),
        tree.File(f"{MONITOR_DIRECTORY}/authority.pem", ca_pem),
        tree.File(NODES, nodes(watched)),
        _secret(TOKEN, values.monitoring_webhook_token_file, "monitoring_webhook_token_file"),
        _secret(PASSWORD, mail.password_file if mail else None, "monitoring_mail.password_file"),
        tree.File(PROMETHEUS, prometheus_yml(watched, name)),
        # An address may hold a password.
        tree.File(ALERTMANAGER, alertmanager_yml(values), group="prometheus", mode="0640", secret=True),
        tree.File(RULES, rule_file(promised(values), known)),
    ]


@operation()
def monitor() -> Generator[PyinfraCommand, None, None]:
    """Have Prometheus watch every host of the inventory, and Alertmanager tell people."""
    if not monitored.is_monitor():
        yield from removal.unless_watching()
        return
    found: MonitoringHost = standing(host, Monitoring)
    if why_not(host.name, found):
        # The first operation of this role has said so.
        return
    values = of_host(host)
    yield from tree.tree._inner(entries=defaults(values, found.disk_bytes, certificates.names(host)[-1]))
    yield from packages.packages._inner(names=PACKAGES)
    if not state.is_executing and not found.client.certificate_pem:
        # The user whose files the others are comes with the packages.
        return
    yield from certificates.present(found, certificates.CLIENT)
    known = baselines(records(certificates.secrets_dir() / DIRECTORY))
    wanted = entries(values, members(), host.name, certificates.authority_pem(), known)
    yield from tree.tree._inner(entries=wanted, validate=VALIDATE)
    yield from units.units._inner(
        units.Unit(
            "prometheus-alertmanager",
            restart_on=(DEFAULTS["prometheus-alertmanager"],),
            reload_on=(ALERTMANAGER, TOKEN, PASSWORD),
        ),
        units.Unit("prometheus", restart_on=(DEFAULTS["prometheus"],), reload_on=(PROMETHEUS, RULES)),
    )
    if state.is_executing and not (values.monitoring_webhook or values.monitoring_mail):
        logger.warning(
            f"{host.print_prefix}{host.name}: alerts are shown and told to nobody; set monitoring_webhook or "
            "monitoring_mail."
        )
