"""The certificate that callers meet: of the internal CA, from two files of this machine, or from an ACME server."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pyinfra import logger
from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.context import host, state

from ingot.errors import IngotError
from ingot.facts.gateway import ACME_LIVE, TLS_DIRECTORY, Gateway, GatewayHost
from ingot.operations import changes, tree
from ingot.operations.gateway import acme as gateway_acme
from ingot.operations.gateway import fronting, site, teams
from ingot.operations.gateway.site import Presented
from ingot.operations.standing import standing
from ingot.secrets import certificate_pair, pki
from ingot.settings import section
from ingot.settings.gateway import Gateway as Values

Kind = Literal["internal", "files", "acme"]
#: Key and certificates in one file, so that they are replaced in one step; nginx reads both from it.
PAIR = f"{teams.INCLUDED}/pair.pem"
ACME_CONF = f"{teams.INCLUDED}/acme.conf"


@dataclass(frozen=True)
class Wish:
    """The certificate's values of group_data; `names` are those that a certificate from elsewhere must carry."""

    kind: Kind
    names: tuple[str, ...]
    pair: certificate_pair.Pair | None = None
    acme: gateway_acme.Server | None = None


def wish(one: Host) -> Wish:
    """What a host shall present; files are read and judged.

    Raises: IngotError, one sentence, for values that do not go together or a pair that cannot serve.
    """
    values = section(one, Values)
    kind = values.gateway_certificate
    if kind != "internal" and fronting.is_fronted(one):
        raise IngotError(
            f'gateway_certificate is {kind!r}, expected "internal" on a host behind a fleet gateway, which knows it by '
            "that; callers meet the fleet gateway, so set it there."
        )
    names = values.gateway_names
    if kind == "acme":
        # As the ACME server writes them.
        names = tuple(dict.fromkeys(name.lower() for name in names))
        return Wish(kind, names, acme=gateway_acme.server(values, names))
    if kind == "internal":
        return Wish(kind, names)
    files = {name: getattr(values, name) for name in ("gateway_certificate_file", "gateway_certificate_key_file")}
    missing = [name for name, file in files.items() if file is None]
    if missing:
        raise IngotError(f'gateway_certificate is "files" and {" and ".join(missing)} is not set; name the file.')
    certificate_file, key_file = (Path(file).expanduser() for file in files.values())
    names = names or (one.name,)
    return Wish(kind, names, certificate_pair.read(certificate_file, key_file, names))


def findings(one: Host) -> tuple[str, ...]:
    """Reasons why a host cannot present its certificate, found before anything is changed."""
    try:
        wish(one)
    except IngotError as error:
        return (str(error).rstrip("."),)
    return ()


def present(found: GatewayHost, settings: site.Settings, wanted: Wish) -> Generator[PyinfraCommand, None, Presented]:
    """Have a certificate and its key ready for nginx; until an ACME server has issued one, the internal CA's serve.

    Raises: IngotError when the internal CA cannot sign.
    """
    http_01 = wanted.acme is not None
    asked = tree.File(ACME_CONF, gateway_acme.conf(found.ipv6)) if http_01 else tree.Absent(ACME_CONF)
    if wanted.pair:
        _warn(wanted.pair.ending(), f"the certificate of {', '.join(wanted.names)} {{}}: put a new one in its place")
        # By a path that follows nginx.conf, so that a new pair is checked before it is installed.
        path = PAIR.removeprefix("/etc/nginx/")
        return Presented(path, path, (tree.File(PAIR, wanted.pair.pem, mode="0600", secret=True), asked), http_01)
    without = (tree.Absent(PAIR), asked)
    if http_01 and found.acme_pem:
        return Presented(f"{ACME_LIVE}/fullchain.pem", f"{ACME_LIVE}/privkey.pem", without, http_01)
    yield from _internal(found, settings)
    made = state.is_executing or (settings.secrets / pki.CA_FILE).exists()
    # Not while an ACME server's certificate is waited for: that comes from another CA.
    ca = pki.authority(settings.secrets, settings.ca_scope).certificate_pem if made and not http_01 else ""
    return Presented(site.CERTIFICATE, site.KEY, without, http_01, ca)


def _internal(found: GatewayHost, settings: site.Settings) -> Generator[PyinfraCommand, None, None]:
    """Renew the internal CA's certificate if it must be; its key is made on the host and stays there."""
    if not state.is_executing and not (settings.secrets / pki.CA_FILE).exists():
        # `--dry` writes nothing, on this machine neither.
        changes.announce([f"make a CA in {settings.secrets} and sign a certificate for {', '.join(settings.names)}"])
        yield StringCommand(request_command(settings.names[0]))
        return
    ca = pki.authority(settings.secrets, settings.ca_scope)
    _warn(pki.ending(ca), f"the CA in {settings.secrets} {{}}: see docs/operations.md for how to replace it")
    reason = pki.why_renew(ca, found.certificate_pem, found.request_pem, settings.names)
    if reason is None:
        return
    changes.announce([f"sign a certificate for {', '.join(settings.names)} ({reason})"])
    if not found.request_pem:
        yield StringCommand(request_command(settings.names[0]))
        found = standing(host, Gateway)
    leaf = pki.sign(ca, found.request_pem, settings.names)
    yield from tree.tree._inner(entries=[tree.File(site.CERTIFICATE, leaf)])


def request_command(name: str, directory: str = TLS_DIRECTORY, owner: str = "root") -> str:
    """A shell command that makes a signing request for the private key in a directory, and the key if there is none.

    A key that others than its owner could read is replaced: who read it keeps it.
    """
    subject = shlex.quote(f"/CN={name[:64]}")
    return (
        f"mkdir -p {directory} && chown {owner}: {directory} && chmod 0700 {directory} && cd {directory} && "
        "umask 077 && "
        f"{{ {{ test -s key.pem && test \"$(stat -c '%U %a' key.pem)\" = '{owner} 600'; }} || "
        "{ openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out .key.new && "
        f"chown {owner}: .key.new && sync .key.new && mv -fT .key.new key.pem; }}; }} && "
        f"openssl req -new -key key.pem -subj {subject} -out .request.new && "
        "sync .request.new && mv -fT .request.new request.pem && sync ."
    )


def _warn(ending: str | None, sentence: str) -> None:
    """Say once per run and host that something ends soon, if it does."""
    if ending and not host.connector_data.setdefault(f"ingot_warned_{sentence}", False):
        host.connector_data[f"ingot_warned_{sentence}"] = True
        logger.warning(f"{host.print_prefix}{host.name}: {sentence.format(ending)}.")
