"""What the gateway needs to know of a host, in one command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pyinfra.api.facts import FactBase

from ingot.facts.filter import QUESTIONS as FILTER_QUESTIONS
from ingot.facts.filter import FilterHost, parse_filter_host
from ingot.facts.monitoring import TRACE
from ingot.facts.nginx_sites import CONFIGURATION, GUEST, ForeignNginx, parse_foreign
from ingot.facts.nginx_sites import QUESTIONS as SITE_QUESTIONS
from ingot.facts.replica_holds import HOLDS_FILE, ReplicaHold, parse_holds
from ingot.facts.sections import Question, split
from ingot.gateway.hold_out import ACCEPTANCE_FILE, held_out
from ingot.gateway.tls import Version
from ingot.gateway.upstreams import UPSTREAMS_FILE, Upstream, parse_upstreams

#: certbot's name for the certificate, and where it keeps what it was issued.
ACME_NAME = "ingot"
ACME_LIVE = f"/etc/letsencrypt/live/{ACME_NAME}"
TLS_DIRECTORY = "/etc/ingot/gateway/tls"
#: Where nginx puts request bodies that are larger than its buffer; a tmpfs of its own.
BODIES = "/run/ingot-request-bodies"
#: Read by nginx as a part of CONFIGURATION; rollouts change it.
ENGINES = "/etc/nginx/ingot/engines.conf"
FLEET = "/etc/nginx/ingot/fleet.conf"


@dataclass(frozen=True)
class GatewayHost:
    """nginx, its TLS files and its upstreams, as found on a host.

    `nginx` is the installed version, else the one that would be installed; `openssl` the library that
    nginx runs with. None where there is none. `packages` says whose nginx is installed. `acme_pem` is what
    `acme_server` issued last. `body_room_bytes` is the size of the place for request bodies, None where there is none.
    """

    nginx: Version | None
    njs: bool
    openssl: Version | None
    ipv6: bool
    request_pem: str
    certificate_pem: str
    upstreams: tuple[Upstream, ...]
    upstreams_fault: str | None
    held_out: bool = False
    holds: tuple[ReplicaHold, ...] = ()
    os: str = ""
    codename: str = ""
    packages: Literal["distribution", "nginx.org"] | None = None
    filter: FilterHost = field(default_factory=FilterHost)
    acme_pem: str = ""
    acme_server: str = ""
    body_room_bytes: int | None = None
    foreign: ForeignNginx = field(default_factory=ForeignNginx)
    #: Parts of monitoring are there: whoever watches no more takes them away.
    monitored: bool = False


_MODULE = "/usr/lib/nginx/modules/ngx_http_js_module.so"
_QUESTIONS = {
    "build": "nginx -V 2>&1 | grep -v '^configure'",
    "module": f"ls {_MODULE} 2>/dev/null",
    # apt-cache is asked only where njs is missing: it takes longer than everything else here.
    "policy": f"[ -e {_MODULE} ] || apt-cache policy nginx libnginx-mod-http-js 2>/dev/null",
    "release": '. /etc/os-release && echo "$ID $VERSION_CODENAME"',
    "packages": "dpkg-query -W -f '${db:Status-Status} ${Package}\\n' nginx nginx-common 2>/dev/null",
    "inet_six": "cat /proc/net/if_inet6 2>/dev/null",
    # A request counts only while its key is there, is root's alone, and is the one that signed it.
    "request": f"cd {TLS_DIRECTORY} 2>/dev/null && [ \"$(stat -c '%U %a' key.pem)\" = 'root 600' ] "
    '&& key=$(openssl pkey -in key.pem -pubout) && [ "$(openssl req -in request.pem -noout -pubkey)" = "$key" ] '
    "&& exec cat request.pem",
    "certificate": f"cat {TLS_DIRECTORY}/certificate.pem 2>/dev/null",
    "acme": f"cat {ACME_LIVE}/cert.pem 2>/dev/null",
    "acme_server": f"sed -n 's/^server = //p' /etc/letsencrypt/renewal/{ACME_NAME}.conf 2>/dev/null",
    "bodies": f"findmnt -bno SIZE --mountpoint {BODIES}",
    "upstreams": f"cat {UPSTREAMS_FILE} 2>/dev/null",
    "acceptance": f"cat {ACCEPTANCE_FILE} 2>/dev/null",
    "replica_holds": f"cat {HOLDS_FILE} 2>/dev/null",
    "monitoring_trace": TRACE,
    **SITE_QUESTIONS,
}


def parse_gateway_host(answers: Mapping[str, str]) -> GatewayHost:
    """Read what the questions of the `Gateway` fact were answered."""
    policy = _candidates(answers["policy"])
    installed = re.search(r"nginx/([\d.]+)", answers["build"])
    libraries = re.findall(r"OpenSSL ([\d.]+)", answers["build"])
    upstreams, fault = parse_upstreams(answers["upstreams"])
    os, _, codename = answers["release"].partition(" ")
    return GatewayHost(
        nginx=_version(installed.group(1)) if installed else _version(policy.get("nginx")),
        njs=bool(answers["module"]) or "libnginx-mod-http-js" in policy,
        # "built with OpenSSL 3.5.1 … (running with OpenSSL 3.5.7 …)": the last one counts.
        openssl=_version(libraries[-1]) if libraries else None,
        ipv6=bool(answers["inet_six"]),
        request_pem=answers["request"] if answers["request"].startswith("-----BEGIN") else "",
        certificate_pem=answers["certificate"],
        upstreams=upstreams,
        upstreams_fault=fault,
        held_out=held_out(answers["acceptance"]),
        holds=parse_holds(answers.get("replica_holds", "")),
        os=os,
        codename=codename,
        packages=_packages(answers["packages"]),
        acme_pem=answers["acme"],
        acme_server=answers["acme_server"],
        body_room_bytes=int(answers["bodies"]) if answers["bodies"].strip().isdigit() else None,
        foreign=parse_foreign(answers.get("nginx_dump", ""), answers.get("nginx_pristine", "")),
        monitored=bool(answers.get("monitoring_trace", "").strip()),
    )


class Gateway(FactBase[GatewayHost]):
    """The nginx of a host (installed, or what would be), its certificate and its engines.

    Returns: GatewayHost(nginx=(1, 26, 3), njs=True, openssl=(3, 5, 7), ipv6=True, request_pem="-----BEGIN…",
    certificate_pem="-----BEGIN…", upstreams=(Upstream("qwen", ("172.31.213.10:8000",)),), upstreams_fault=None,
    held_out=False)
    """

    def command(self) -> str:
        return Question.of({**_QUESTIONS, **FILTER_QUESTIONS})

    def process(self, output: list[str]) -> GatewayHost:
        answers = {name: answer.output for name, answer in split(output).items()}
        return replace(parse_gateway_host(answers), filter=parse_filter_host(answers))


@dataclass(frozen=True)
class RunningGateway:
    """Whether nginx runs the configuration that is installed, and what listens on port 443."""

    as_installed: bool
    listener: str


class Running(FactBase[RunningGateway]):
    """What answers on port 443, asked for its certificate and for the digest that it was configured with.

    A reload has some seconds.

    Returns: RunningGateway(as_installed=True, listener="LISTEN 0 511 0.0.0.0:443 0.0.0.0:* users:((\"nginx\",…))")
    """

    def command(self, server: str) -> str:
        url = shlex.quote(f"https://{server}/-/configuration")
        resolve = shlex.quote(f"{server}:443:127.0.0.1")
        return Question.of(
            {
                "running": "want="
                f"$(sed -n \"s/^ *return 200 '\\([0-9a-f]*\\)[$]engines_in_use';$/\\1/p\" {CONFIGURATION} "
                f"/etc/nginx/*/{GUEST} 2>/dev/null)"
                f'$(sed -n \'s/^map "" [$]engines_in_use {{ default "\\([0-9a-f]*\\)"; }}$/\\1/p\' {ENGINES}); '
                # certbot renews without a deploy, so that a certificate cannot be a part of the digest.
                "shown() { openssl x509 -noout -fingerprint -sha256 2>/dev/null; }; "
                f"tls=$(cd /etc/nginx && shown <\"$(sed -n 's/^ssl_certificate \\(.*\\);$/\\1/p' ingot/tls.conf)\"); "
                "for attempt in 1 2 3 4; do "
                f'got=$(curl -sk -m 2 --noproxy \'*\' --resolve {resolve} {url}) && [ "$got" = "$want" ] && '
                f'[ "$(openssl s_client -connect 127.0.0.1:443 -servername {shlex.quote(server)} 2>/dev/null '
                '</dev/null | shown)" = "$tls" ] && exit 0; sleep 0.5; done; exit 1',
                "listener": "ss -Hltnp 'sport = :443'",
            }
        )

    def process(self, output: list[str]) -> RunningGateway:
        answers = split(output)
        return RunningGateway(answers["running"].status == 0, answers["listener"].line)


def _packages(listing: str) -> Literal["distribution", "nginx.org"] | None:
    """Whose nginx is installed: the distributions' come with an nginx-common, nginx.org's conflicts with it."""
    installed = {
        package
        for status, _, package in (line.partition(" ") for line in listing.splitlines())
        if status == "installed"
    }
    if "nginx-common" in installed:
        return "distribution"
    return "nginx.org" if "nginx" in installed else None


def _candidates(policy: str) -> dict[str, str]:
    """Package -> candidate version, out of `apt-cache policy`; packages without a candidate are left out."""
    found = re.findall(r"^(\S+):\n(?:  .*\n)*?  Candidate: (\S+)", policy, flags=re.MULTILINE)
    return {package: version for package, version in found if version != "(none)"}


def _version(text: str | None) -> Version | None:
    numbers = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", text or "")
    return tuple(int(part) for part in numbers.group(1).split(".")) if numbers else None
