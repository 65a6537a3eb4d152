"""The gateway of a host: its certificate, its files, and the proof that nginx runs them."""

from __future__ import annotations

import shlex
from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from ingot import keys, pki, verify_key
from ingot.errors import IngotError
from ingot.facts.gateway import CONFIGURATION, TLS_DIRECTORY, Gateway, GatewayHost, Running
from ingot.gateway.routes import endpoints
from ingot.operations import changes, gateway_site, refuse, tree

PACKAGES = ("curl", "libnginx-mod-http-js", "logrotate", "nginx", "openssl")
VALIDATE = "nginx -t -q -c {stage}" + CONFIGURATION
RELOAD = "if systemctl is-active -q nginx; then systemctl reload nginx; fi"

Commands = Generator[PyinfraCommand, None, None]


@operation()
def supported() -> Commands:
    """Refuse a host whose package sources have no nginx that can do this, before anything is installed."""
    problem = gateway_site.why_not(host.name, host.get_fact(Gateway))
    if problem:
        yield refuse.refuse(problem)


@operation()
def site() -> Commands:
    """Certificate, keys and nginx' configuration, checked by nginx before they are installed; then a reload."""
    found: GatewayHost = host.get_fact(Gateway)
    problem = gateway_site.why_not(host.name, found)
    if problem:
        yield refuse.refuse(problem)
        return
    try:
        wanted = settings_of_host()
        gateway_site.check(wanted)
        certificate = yield from _certificate(found, wanted)
        if state.is_executing:
            verify_key.provide(wanted.secrets)
        entries = gateway_site.entries(found, wanted, keys.read(wanted.secrets), certificate)
    except (IngotError, OSError) as error:
        yield refuse.refuse(f"{host.name}: {error}")
        return
    wrote = False
    for command in tree.tree._inner(entries=entries, validate=VALIDATE):
        wrote = True
        yield command
    if wrote:
        # Here and not only by comparison: a file that was edited on the host, loaded and now put right differs from
        # what runs although nothing else tells.
        yield StringCommand(RELOAD)


@operation()
def in_effect() -> Commands:
    """Have nginx run what is installed, and prove it on port 443: a reload that fails leaves no other trace."""
    running = host.get_fact(Running, server=host.name)
    # Before the first deploy ran there is nothing to compare.
    if running.as_installed or not (state.is_executing or running.listener):
        host.noop("nginx runs what is installed")
        return
    changes.announce(["reload nginx: it runs something else than what is installed"])
    yield StringCommand(RELOAD)
    running = host.get_fact(Running, server=host.name)
    if not running.as_installed:
        yield refuse.refuse(
            f"{host.name}: port 443 is not answered by nginx with {CONFIGURATION} (listening there: "
            f"{running.listener or 'nothing'}); read /var/log/nginx/error.log on the host, stop what else uses the "
            "port, and deploy again."
        )


def settings_of_host() -> gateway_site.Settings:
    """The values of the host in context; its names are its own, its address and `gateway_names`.

    Raises: IngotError for a value that is no list where one is expected.
    """
    data = host.data
    more = gateway_site.words("gateway_names", data.gateway_names)
    names = dict.fromkeys([host.name, data.get("ssh_hostname") or host.name, *more])
    return gateway_site.Settings(
        names=tuple(names),
        # pyinfra's last group of a host is the inventory file's name.
        secrets=keys.secrets_dir(data.secrets_dir, host.groups[-1]),
        ca_scope=gateway_site.words("gateway_ca_scope", data.gateway_ca_scope),
        max_body=data.gateway_max_body,
        read_timeout_s=data.gateway_read_timeout_s,
        requests_per_minute=data.gateway_requests_per_minute,
        concurrency=data.gateway_concurrency,
        endpoints=endpoints(gateway_site.words("gateway_routes", data.gateway_routes)),
        affinity=bool(data.gateway_affinity),
        hsts_max_age_s=data.gateway_hsts_max_age_s,
    )


def _certificate(found: GatewayHost, settings: gateway_site.Settings) -> Generator[PyinfraCommand, None, str]:
    """Renew the certificate if it must be, and return what the host then has; its key is made there and stays."""
    if not state.is_executing and not (settings.secrets / pki.CA_FILE).exists():
        # `--dry` writes nothing, on this machine neither.
        changes.announce([f"make a CA in {settings.secrets} and sign a certificate for {', '.join(settings.names)}"])
        yield StringCommand(request_command(settings.names[0]))
        return ""
    ca = pki.authority(settings.secrets, settings.ca_scope)
    reason = pki.why_renew(ca, found.certificate_pem, found.request_pem, settings.names)
    if reason is None:
        return found.certificate_pem
    changes.announce([f"sign a certificate for {', '.join(settings.names)} ({reason})"])
    if not found.request_pem:
        yield StringCommand(request_command(settings.names[0]))
        found = host.get_fact(Gateway)
    leaf = pki.sign(ca, found.request_pem, settings.names)
    yield from tree.tree._inner(entries=[tree.File(gateway_site.CERTIFICATE, leaf)])
    return leaf


def request_command(name: str) -> str:
    """A shell command that makes a signing request for the host's private key, and the key if there is none.

    A key that others could read is replaced: who read it keeps it.
    """
    subject = shlex.quote(f"/CN={name[:64]}")
    return (
        f"mkdir -p {TLS_DIRECTORY} && chmod 0700 {TLS_DIRECTORY} && cd {TLS_DIRECTORY} && umask 077 && "
        "{ { test -s key.pem && test \"$(stat -c '%U %a' key.pem)\" = 'root 600'; } || "
        "{ openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out .key.new && "
        "sync .key.new && mv -fT .key.new key.pem; }; } && "
        f"openssl req -new -key key.pem -subj {subject} -out .request.new && "
        "sync .request.new && mv -fT .request.new request.pem && sync ."
    )
