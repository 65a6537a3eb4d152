"""A certificate from an ACME server: certbot asks and renews, nginx answers the server's question on port 80."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from pyinfra.api.command import PyinfraCommand, StringCommand

from ingot.errors import IngotError
from ingot.facts.gateway import ACME_LIVE, ACME_NAME, GatewayHost
from ingot.operations import render, tree
from ingot.secrets.certificate_names import certificate_names
from ingot.settings.gateway import Gateway

#: Below it certbot puts what the ACME server wants to see.
WEBROOT = "/var/lib/ingot/acme"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/ingot-nginx"
CA_FILE = "/etc/ingot/gateway/acme-ca.pem"
DROP_IN = "/etc/systemd/system/certbot.service.d/ingot.conf"
PACKAGE, TIMER = "certbot", "certbot.timer"


@dataclass(frozen=True)
class Server:
    """An ACME server: its directory, the account's mail address, and the CA of its own TLS if that is no public one."""

    directory: str
    email: str | None
    ca_pem: str | None


def server(values: Gateway, names: tuple[str, ...]) -> Server:
    """The ACME server of a host's values, asked for `names`.

    Raises: IngotError, one sentence, for values that cannot lead to a certificate.
    """
    directory, email = values.gateway_acme_directory, values.gateway_acme_email
    ca_file = values.gateway_acme_ca_file
    if not names:
        raise IngotError(
            'gateway_certificate is "acme" and gateway_names is empty; give the names that the ACME server reaches '
            "this host by."
        )
    wrong = [name for name in names if _is_address(name) or "." not in name]
    if wrong:
        raise IngotError(
            f"gateway_names holds {', '.join(wrong)}, expected full DNS names only where a certificate comes by ACME; "
            "correct it."
        )
    if ca_file is None:
        return Server(directory, email, None)
    try:
        ca_pem = Path(ca_file).expanduser().read_text(encoding="utf-8")
        x509.load_pem_x509_certificates(ca_pem.encode())
    except (OSError, ValueError) as error:
        raise IngotError(f"{ca_file}: no certificate in it ({error}); correct gateway_acme_ca_file.") from error
    return Server(directory, email, ca_pem)


def why_issue(found: GatewayHost, asked: Server, names: tuple[str, ...], now: datetime | None = None) -> str | None:
    """Why a certificate must be asked for now, in a few words; None while certbot's own timer is enough."""
    if not found.acme_pem:
        return "none yet"
    if found.acme_server != asked.directory:
        return f"the last is from {found.acme_server}"
    try:
        leaf = x509.load_pem_x509_certificate(found.acme_pem.encode())
    except ValueError:
        return "the last is unreadable"
    if certificate_names(leaf) != frozenset(names):
        return "the names changed"
    # certbot renews with a third of the life left, or 30 days before its end.
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    if leaf.not_valid_after_utc - (now or datetime.now(UTC)) < life / 5:
        return f"ends {leaf.not_valid_after_utc:%Y-%m-%d} and was not renewed"
    return None


def entries(asked: Server) -> list[tree.Entry]:
    """What certbot needs on the host besides its package."""
    trusted = asked.ca_pem is not None
    return [
        tree.Dir("/var/lib/ingot"),
        tree.Dir(WEBROOT),
        tree.File(HOOK, render.template("gateway/ingot-nginx"), mode="0755"),
        tree.File(CA_FILE, asked.ca_pem or "") if trusted else tree.Absent(CA_FILE),
        tree.File(DROP_IN, render.template("gateway/certbot.conf", ca_file=CA_FILE))
        if trusted
        else tree.Absent(DROP_IN),
    ]


def conf(ipv6: bool) -> str:
    """nginx on port 80."""
    return render.template("gateway/acme.conf", listens=["80", *(["[::]:80"] if ipv6 else [])], webroot=WEBROOT)


def issue(host_name: str, asked: Server, names: tuple[str, ...]) -> Generator[PyinfraCommand, None, None]:
    """Ask now. Failing, the host keeps what it served, and one sentence says what the ACME server said."""
    account = ["--email", asked.email] if asked.email else ["--register-unsafely-without-email"]
    words = [
        *("certbot", "certonly", "--non-interactive", "--agree-tos", "--force-renewal", "--renew-with-new-domains"),
        *("--webroot", "--webroot-path", WEBROOT, "--cert-name", ACME_NAME, "--key-type", "ecdsa"),
        *("--server", asked.directory, *account),
        *(word for name in names for word in ("-d", name)),
    ]
    what = f"{host_name}: {asked.directory} issued no certificate for {', '.join(names)}"
    yield StringCommand(
        f"{f'export REQUESTS_CA_BUNDLE={CA_FILE}; ' if asked.ca_pem else ''}"
        f"said=$(timeout 300 {shlex.join(words)} 2>&1) && exit 0; "
        # What the server found, else certbot's last own words.
        "why=$(printf '%s\\n' \"$said\" | sed -n 's/^ *Detail: //p' | head -n 1); "
        '[ -n "$why" ] || why=$(printf \'%s\\n\' "$said" | grep -v -e "^ *$" -e "^Ask for help" | tail -n 1); '
        f"printf '%s\\n' {shlex.quote(what)}\" (${{why:-it took longer than 300 s}}); what was served goes on; see "
        '/var/log/letsencrypt/letsencrypt.log there, and deploy again" >&2; exit 1'
    )


def forget() -> StringCommand:
    """Have certbot forget a certificate that is no longer presented; the file by which a deploy finds it goes last."""
    kept = f"/etc/letsencrypt/renewal/{ACME_NAME}.conf /etc/letsencrypt/archive/{ACME_NAME}"
    return StringCommand(f"rm -rf {HOOK} {CA_FILE} {DROP_IN} {kept} && systemctl daemon-reload && rm -rf {ACME_LIVE}")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
