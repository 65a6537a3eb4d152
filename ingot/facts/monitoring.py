"""What monitoring needs to know of a host, in one command."""

from __future__ import annotations

from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from ingot.facts.packages import BEFORE
from ingot.facts.sections import Question, split

#: Ingot's files of a watched host.
DIRECTORY = "/etc/ingot/monitoring"
TLS_DIRECTORY = f"{DIRECTORY}/tls"
#: Ingot's files of the host that watches, beside the distribution's.
MONITOR_DIRECTORY = "/etc/prometheus/ingot"
#: What each of the distribution's daemons is started with. All of them listen everywhere without it.
DEFAULTS = {
    "prometheus-node-exporter": "/etc/default/prometheus-node-exporter",
    "prometheus": "/etc/default/prometheus",
    "prometheus-alertmanager": "/etc/default/prometheus-alertmanager",
}
#: All that Ingot writes in place of a package's own files, by package.
FILES = {
    "prometheus-node-exporter": (DEFAULTS["prometheus-node-exporter"],),
    "prometheus": (DEFAULTS["prometheus"], "/etc/prometheus/prometheus.yml"),
    "prometheus-alertmanager": (DEFAULTS["prometheus-alertmanager"], "/etc/prometheus/alertmanager.yml"),
}
#: Where each keeps figures and state.
DATA = {
    "prometheus-node-exporter": ("/var/lib/prometheus/node-exporter",),
    "prometheus": ("/var/lib/prometheus/metrics2",),
    "prometheus-alertmanager": ("/var/lib/prometheus/alertmanager",),
}
#: Removes the user that these packages make and leave, as they made it, where none of them and no process has it.
USER_GOES = (
    "dpkg-query -W -f='${db:Status-Abbrev}\\n' 'prometheus*' 2>/dev/null | grep -q '^.[^nc]' || "
    "! getent passwd prometheus | grep -q ':Prometheus daemon,*:/var/lib/prometheus:' || "
    "pgrep -u prometheus >/dev/null || userdel prometheus"
)
#: What tells another role's look that a host has parts of monitoring.
TRACE = f"ls -d {DIRECTORY} {MONITOR_DIRECTORY} 2>/dev/null"


@dataclass(frozen=True, slots=True)
class Pair:
    """A key's signing request and the certificate that it got; empty where there is none, or others could read it."""

    request_pem: str = ""
    certificate_pem: str = ""


@dataclass(frozen=True, slots=True)
class MonitoringHost:
    """One look. `disk_bytes` is the size of the disk that figures would lie on.

    `edited` are files of DEFAULTS that somebody wrote who is neither their package nor Ingot; `before` are packages of
    DEFAULTS that were there before Ingot.
    """

    ipv6: bool = False
    server: Pair = Pair()
    client: Pair = Pair()
    disk_bytes: int = 0
    edited: tuple[str, ...] = ()
    before: frozenset[str] = frozenset()


def _request(directory: str, owner: str) -> str:
    """A request counts only while its key is there, is its owner's alone, and is the one that signed it."""
    return (
        f"cd {directory} 2>/dev/null && [ \"$(stat -c '%U %a' key.pem)\" = '{owner}' ] "
        '&& key=$(openssl pkey -in key.pem -pubout) && [ "$(openssl req -in request.pem -noout -pubkey)" = "$key" ] '
        "&& exec cat request.pem"
    )


class Monitoring(FactBase[MonitoringHost]):
    """Certificates, disk and configuration of others, for a host that is watched or watches.

    Returns: MonitoringHost(ipv6=True, server=Pair("-----BEGIN…", "-----BEGIN…"), disk_bytes=107374182400)
    """

    def command(self) -> str:
        return Question.of(
            {
                "inet_six": "cat /proc/net/if_inet6 2>/dev/null",
                "monitoring_request": _request(TLS_DIRECTORY, "root 600"),
                "monitoring_certificate": f"cat {TLS_DIRECTORY}/certificate.pem 2>/dev/null",
                "monitor_request": _request(MONITOR_DIRECTORY, "prometheus 600"),
                "monitor_certificate": f"cat {MONITOR_DIRECTORY}/certificate.pem 2>/dev/null",
                "monitor_disk": "df -B1 --output=size /var/lib | tail -n 1",
                # A package's own file has no words but an empty ARGS.
                "monitoring_edited": f"for f in {' '.join(DEFAULTS.values())}; do [ ! -e $f ] || "
                "grep -q '^# Written by Ingot' $f || ! grep -vE '^[[:space:]]*(#|$)' $f | grep -vqE "
                "'^ARGS=(\"\")?$' || echo $f; done",
                "monitoring_before": f"grep -xE '{'|'.join(DEFAULTS)}' {BEFORE} 2>/dev/null",
            }
        )

    @staticmethod
    def default() -> MonitoringHost:
        return MonitoringHost()

    def process(self, output: list[str]) -> MonitoringHost:
        found = {name: section.output for name, section in split(output).items()}

        def pem(name: str) -> str:
            return found[name] if found.get(name, "").startswith("-----BEGIN") else ""

        size = found.get("monitor_disk", "").strip()
        return MonitoringHost(
            ipv6=bool(found.get("inet_six")),
            server=Pair(pem("monitoring_request"), pem("monitoring_certificate")),
            client=Pair(pem("monitor_request"), pem("monitor_certificate")),
            disk_bytes=int(size) if size.isdigit() else 0,
            edited=tuple(found.get("monitoring_edited", "").split()),
            before=frozenset(found.get("monitoring_before", "").split()),
        )
