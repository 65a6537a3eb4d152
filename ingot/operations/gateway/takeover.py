"""An nginx that serves somebody else's sites: refused, left in place with Ingot's names beside, or put aside."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from ingot.facts.nginx_sites import CONFIGURATION, GUEST, GUEST_FIRST, NGINX_KEPT, ForeignNginx, Site, listen_port
from ingot.operations import render, tree

Takeover = Literal["refuse", "replace", "beside"]
#: Whom the gateway's files and sockets are made for.
USER = "www-data"
_VARIABLE = re.compile(r"(?m)^\s*(?:map|geo) \S.*?[$]([a-z0-9_]+) \{|^\s*js_(?:set|var) [$]([a-z0-9_]+) ")


def is_beside(foreign: ForeignNginx, takeover: Takeover) -> bool:
    """Whether Ingot's part lies in a configuration of others."""
    return takeover == "beside" and bool(foreign.sites or foreign.guests)


def refusals(foreign: ForeignNginx, takeover: Takeover, names: Sequence[str], *, acme: bool) -> Iterator[str]:
    """Why this host's nginx cannot carry the gateway, in sentences without host and full stop.

    `names` are those by which callers know the host, `acme` says that an ACME server will ask on port 80.
    """
    if takeover == "refuse":
        for site in foreign.sites:
            yield (
                f'nginx serves {_said(site)}, expected no site of others; set gateway_takeover to "beside" to leave it '
                'and add the host\'s own names, or to "replace" to switch it off until `ingot decommission`'
            )
    if not is_beside(foreign, takeover):
        return
    ours = {name.lower() for name in names}
    for site in foreign.sites:
        shared = sorted(ours & {name.lower() for name in site.names}) if 443 in site.ports else ()
        if shared:
            yield (
                f"nginx serves {_said(site)}, expected {', '.join(shared)} to be the gateway's; take that name out of "
                "there, or give the host another"
            )
        if any(listen_port(one) == 443 and "proxy_protocol" in one.split() for one in site.listens):
            yield (
                f"nginx takes the PROXY protocol on port 443 ({site.file}), which the gateway beside it would have to "
                'speak too; set gateway_takeover to "replace", or give that site a port of its own'
            )
    if foreign.user not in ("", USER):
        yield (
            f"nginx' workers run as {foreign.user} ({CONFIGURATION}), expected {USER}, for whom the gateway's files "
            'are made; change `user` there, or set gateway_takeover to "replace"'
        )
    if place(foreign) is None:
        yield (
            f"{CONFIGURATION} includes no directory in its http block, expected `include /etc/nginx/conf.d/*.conf;`; "
            'add that line, or set gateway_takeover to "replace"'
        )
    if acme:
        yield (
            'gateway_certificate is "acme", which needs port 80 for itself, and gateway_takeover is "beside"; take the '
            'certificate from files (gateway_certificate = "files")'
        )


def notes(foreign: ForeignNginx, takeover: Takeover) -> Iterator[str]:
    """What happens to each site of others, in sentences without host and full stop."""
    if takeover == "refuse":
        return
    for site in foreign.sites:
        what = "goes on" if takeover == "beside" else f"is switched off, and {NGINX_KEPT} keeps its configuration"
        yield f"nginx serves {_said(site)}, which {what} (gateway_takeover is {takeover!r})"


def place(foreign: ForeignNginx) -> tuple[str, str] | None:
    """Where Ingot's part lies: what must be read first, and the rest, read last so that others' first site stays first.

    None where http includes no directory below /etc/nginx.
    """
    places: list[str] = []
    for pattern in foreign.includes:
        directory, _, glob = pattern.rpartition("/")
        directory = directory if directory.startswith("/") else f"/etc/nginx/{directory}".rstrip("/")
        if "*" in glob and "*" not in directory and fnmatchcase(GUEST, glob) and directory.startswith("/etc/nginx"):
            places.append(directory)
    return (f"{places[0]}/{GUEST_FIRST}", f"{places[-1]}/{GUEST}") if places else None


def addresses(foreign: ForeignNginx, *, ipv6: bool) -> list[str]:
    """What the gateway listens on beside others: their addresses of port 443, and every other of the host.

    A name is looked for only among the servers of the address that a connection came to.
    """
    listens = [one for site in foreign.sites for one in site.listens if listen_port(one) == 443]
    theirs = list(dict.fromkeys(one.split()[0].removeprefix("*:").removeprefix("0.0.0.0:") for one in listens))
    if any("ipv6only=off" in one.split() for one in listens):
        return theirs
    return list(dict.fromkeys(["443", *(["[::]:443"] if ipv6 else []), *theirs]))


#: What our files say once for all of http, and every server may say for itself.
_OF_SERVERS = frozenset(
    {"access_log", "client_max_body_size", "limit_conn", "limit_conn_status", "limit_req", "limit_req_status"}
)
#: What http takes once: of maps before the first map, as which it would set them itself.
_ONCE = frozenset({"map_hash_bucket_size", "map_hash_max_size", "server_names_hash_bucket_size"})


@dataclass(frozen=True, slots=True)
class Parted:
    """A file of ours for an http block of others: what defines something, what every server of ours says, what http
    says once."""

    definitions: str
    settings: tuple[str, ...]
    once: tuple[str, ...]


def parted(text: str) -> Parted:
    """A file whose directives begin their lines, by where they belong in a configuration of others."""
    kept: list[str] = []
    settings: list[str] = []
    once: list[str] = []
    for line in text.splitlines():
        word = line.partition(" ")[0]
        (settings if word in _OF_SERVERS else once if word in _ONCE else kept).append(line)
    return Parted("".join(f"{line}\n" for line in kept), tuple(settings), tuple(once))


@dataclass(frozen=True, slots=True)
class Within:
    """Our files as parts of others' http block: definitions, beside.conf for each of our servers, what comes first."""

    files: tuple[tree.Entry, ...]
    beside_conf: str
    first: str


def within(foreign: ForeignNginx, files: Sequence[tree.Entry], tls_conf: str) -> Within:
    """What our files say for all of http is said where it is meant; what others have said once is left to them."""
    made: list[tree.Entry] = []
    settings = [line for line in tls_conf.splitlines() if line and not line.startswith("#")]
    once = ["server_names_hash_bucket_size 512;"]
    for entry in files:
        if isinstance(entry, tree.File) and entry.path.endswith(".conf"):
            parts = parted(str(entry.content))
            settings += [line for line in parts.settings if not line.startswith("access_log ")]
            once += parts.once
            made.append(replace(entry, content=parts.definitions))
        else:
            made.append(entry)
    once = [line for line in once if line.partition(" ")[0] not in foreign.directives]
    first = "# Written by Ingot (roles/gateway.py): changes made here are lost at the next deploy.\n"
    return Within(
        tuple(made),
        render.template("gateway/beside.conf", settings=settings),
        first + "".join(f"{line}\n" for line in once),
    )


def same_variables(foreign: ForeignNginx, texts: Sequence[str]) -> list[str]:
    """Variables that both define: nginx takes the later definition for both, and says nothing."""
    ours = {first or second for text in texts for first, second in _VARIABLE.findall(text)}
    return sorted(ours & set(foreign.variables))


def validate() -> str:
    """A command that has nginx test others' configuration with our files in it; `{stage}` is their root."""
    copy = "/run/ingot/beside-test"
    return (
        f"rm -rf {copy} && mkdir -p -m 0700 {copy} && "
        f"cp -a /etc/nginx/. {copy}/ && cp -a {{stage}}/etc/nginx/. {copy}/ && "
        # A link becomes a file of the copy, whatever it points to stays as it is.
        f"{{ grep -RlIF /etc/nginx/ {copy} | xargs -rd '\\n' sed -i 's|/etc/nginx/|{copy}/|g'; }} && "
        f"nginx -t -q -c {copy}/nginx.conf; status=$?; rm -rf {copy}; exit $status"
    )


def keep() -> str:
    """A shell command that keeps what nginx had before Ingot, once: its main file and the sites that packages bring."""
    files = f"{CONFIGURATION} /etc/nginx/conf.d/default.conf /etc/nginx/sites-enabled/default"
    new = shlex.quote(f"{NGINX_KEPT}.new")
    return (
        f"[ -e {NGINX_KEPT} ] || {{ rm -rf {new} && mkdir -p -m 0700 {new} && for f in {files}; do "
        f'[ ! -e "$f" ] && [ ! -L "$f" ] || {{ mkdir -p {new}"${{f%/*}}" && cp -a -- "$f" {new}"$f"; }} || exit 1; '
        f"done && sync -f {new} && mv -T {new} {NGINX_KEPT}; }}"
    )


def _said(site: Site) -> str:
    names = ", ".join(site.names[:5]) or "any name"
    ports = ", ".join(map(str, site.ports)) or "a socket"
    return f"{names} on port {ports} ({site.file})"
