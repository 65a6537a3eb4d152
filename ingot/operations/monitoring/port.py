"""The one port by which figures leave a host, for the monitor's certificate alone; at the monitor, also the login."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host, state

from ingot.facts.monitoring import DIRECTORY, TLS_DIRECTORY, Monitoring, MonitoringHost
from ingot.operations import monitored, tree, units
from ingot.operations.monitoring import certificates
from ingot.operations.monitoring.exporter import TARGETS, why_not
from ingot.operations.operation import operation
from ingot.operations.render import template
from ingot.operations.standing import standing
from ingot.secrets import monitoring_login
from ingot.settings import Settings, of_host
from ingot.settings.engine import FIRST_ADDRESS, room

CONFIGURATION = f"{DIRECTORY}/nginx.conf"
CA = f"{DIRECTORY}/authority.pem"
LOGIN = f"{DIRECTORY}/login.htpasswd"
SERVICE = "/etc/systemd/system/ingot-monitoring.service"
RUNTIME = "ingot-monitoring"
VALIDATE = f"mkdir -p /run/{RUNTIME} && nginx -t -q -c {{stage}}{CONFIGURATION} && {units.verified(SERVICE)}"


def configuration(values: Settings, *, ipv6: bool, login: bool) -> str:
    """nginx' configuration: an instance of its own beside the gateway's."""
    network = values.engine_network
    return template(
        "monitoring/nginx.conf",
        run=f"/run/{RUNTIME}",
        tls=TLS_DIRECTORY,
        port=values.monitoring_port,
        ipv6=ipv6,
        targets=TARGETS,
        replicas=[
            f"{network[FIRST_ADDRESS + index]}:{values.engine_port}" for index in range(min(room(network), 1000))
        ],
        login=LOGIN if login else None,
        login_port=values.monitoring_login_port,
    )


def entries(values: Settings, ca_pem: str, password: str | None, *, ipv6: bool) -> list[tree.Entry]:
    """nginx' files; with a `password` it lets people in at the monitor."""
    login: tree.Entry = tree.Absent(LOGIN)
    if password:
        login = tree.File(LOGIN, monitoring_login.htpasswd(password), group="www-data", mode="0640", secret=True)
    service = template("monitoring/ingot-monitoring.service", configuration=CONFIGURATION, runtime=RUNTIME)
    return [
        tree.Dir(DIRECTORY),
        tree.File(CA, ca_pem),
        tree.File(CONFIGURATION, configuration(values, ipv6=ipv6, login=bool(password))),
        login,
        tree.File(SERVICE, service),
    ]


@operation()
def port() -> Generator[PyinfraCommand, None, None]:
    """Have the port open, with a certificate of Ingot's CA at both ends."""
    if not monitored.is_monitored():
        host.noop("nobody watches the hosts of this inventory")
        return
    found: MonitoringHost = standing(host, Monitoring)
    if why_not(host.name, found):
        # The operation before has said so.
        return
    yield from certificates.present(found, certificates.SERVER)
    directory, password = certificates.secrets_dir(), None
    if monitored.is_monitor() and (state.is_executing or (directory / monitoring_login.FILE).exists()):
        password = monitoring_login.password(directory)
    wanted = entries(of_host(host), certificates.authority_pem(), password, ipv6=found.ipv6)
    yield from tree.tree._inner(entries=wanted, validate=VALIDATE)
    if state.is_executing or found.server.certificate_pem:
        yield from units.units._inner(units.Unit(RUNTIME, restart_on=(SERVICE,), reload_on=(DIRECTORY,)))
