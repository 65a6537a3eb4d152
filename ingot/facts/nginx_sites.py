"""What nginx of a host serves that is not Ingot's: the server blocks of the configuration as nginx itself reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Where Ingot's part lies in a configuration of others: read last, so that their first server stays the default.
GUEST = "zzz-ingot.conf"
#: And what nginx takes once, and before the first map.
GUEST_FIRST = "000-ingot.conf"
CONFIGURATION = "/etc/nginx/nginx.conf"
#: Files of nginx' configuration that Ingot has put its own in place of, under their paths.
NGINX_KEPT = "/var/lib/ingot/nginx-before"
QUESTIONS = {
    # A configuration that nginx refuses serves nothing after its next start.
    "nginx_dump": f"grep -qs '^# Written by Ingot' {CONFIGURATION} && echo ours || timeout 20 nginx -T 2>/dev/null",
    # Files of nginx' packages that nobody has changed: their site is a page of welcome.
    "nginx_pristine": "dpkg-query -W -f='${Conffiles}\\n' nginx-common nginx 2>/dev/null | "
    "awk 'NF >= 2 { print $2 \"  \" $1 }' | md5sum -c 2>/dev/null | sed -n 's/: OK$//p'; "
    "readlink -f /etc/nginx/sites-enabled/default",
}
_TOKEN = re.compile(r"""\s+|\#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|(?:\\.|\$\{[^}]*\}|[^\s{};"'\\])+""")
_FILE = re.compile(r"(?m)^# configuration file (/[^\n]*):$")
#: Directives of http that give a variable its value.
_DEFINING = {"map": 1, "geo": -1, "split_clients": 1, "js_set": 0, "js_var": 0, "perl_set": 0}


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive with its words, and what is in its block."""

    name: str
    words: tuple[str, ...]
    block: tuple[Directive, ...] = ()

    def all(self, name: str) -> Iterator[Directive]:
        """Those of this name directly in the block."""
        return (one for one in self.block if one.name == name)


@dataclass(frozen=True, slots=True)
class Site:
    """A server block of others: its file, its names, and what it listens on, each with its parameters."""

    file: str
    names: tuple[str, ...]
    listens: tuple[str, ...]

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports."""
        return tuple(sorted({port for port in map(listen_port, self.listens) if port}))


@dataclass(frozen=True, slots=True)
class ForeignNginx:
    """The configuration of others. `variables` they define; `directives` that stand in http itself, by name.

    `includes` are the patterns that http includes, in their order, and `user` is whom the workers run as.
    """

    sites: tuple[Site, ...] = ()
    variables: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    user: str = ""
    is_there: bool = False
    #: Where Ingot's parts of it lie, if it has them.
    guests: tuple[str, ...] = ()

    @property
    def listens_on_443(self) -> tuple[str, ...]:
        """Addresses of port 443 in their words, without parameters."""
        found = (listen.split()[0] for site in self.sites for listen in site.listens if listen_port(listen) == 443)
        return tuple(dict.fromkeys(found))


def listen_port(listen: str) -> int | None:
    """The TCP port of a listen directive; None for a socket in the file system."""
    address = listen.split()[0] if listen.split() else ""
    if address.startswith("unix:"):
        return None
    port = address.rpartition(":")[2] if ":" in address and not address.endswith("]") else address
    return int(port) if port.isdigit() else 80


def parse_foreign(dump: str, pristine: str) -> ForeignNginx:
    """The answers to `QUESTIONS`; nothing is there where the configuration is Ingot's own, or none that nginx reads."""
    parts = _FILE.split(dump)
    untouched = set(pristine.split())
    sites: list[Site] = []
    variables: list[str] = []
    directives: list[str] = []
    includes: list[str] = []
    guests: list[str] = []
    user = ""
    for path, text in zip(parts[1::2], parts[2::2], strict=True):
        if path.endswith((f"/{GUEST}", f"/{GUEST_FIRST}")):
            guests.append(path)
            continue
        if path.startswith("/etc/nginx/ingot/"):
            continue
        top = parse(text)
        user = next((one.words[0] for one in top if one.name == "user" and one.words), user)
        https = [one for one in top if one.name == "http"]
        # A file of nginx.conf's own stands for itself; any other is read where it was included: in http, as a rule.
        level = [inner for one in https for inner in one.block] if path == CONFIGURATION else list(top)
        variables += [name for one in level for name in _defined(one)]
        directives += [one.name for one in level if not one.block]
        if path == CONFIGURATION:
            includes += [one.words[0] for one in level if one.name == "include" and one.words]
        if path not in untouched and not _is_enabled_default(path, untouched):
            sites += [_site(path, one) for one in _servers(top)]
    return ForeignNginx(
        tuple(sites),
        tuple(dict.fromkeys(variables)),
        tuple(dict.fromkeys(directives)),
        tuple(includes),
        user,
        is_there=len(parts) > 1,
        guests=tuple(guests),
    )


def _is_enabled_default(path: str, untouched: set[str]) -> bool:
    return path == "/etc/nginx/sites-enabled/default" and "/etc/nginx/sites-available/default" in untouched


def _defined(one: Directive) -> Iterator[str]:
    index = _DEFINING.get(one.name)
    if index is not None and one.words[index:]:
        yield one.words[index].lstrip("$")


def _servers(directives: Sequence[Directive]) -> Iterator[Directive]:
    for one in directives:
        if one.name == "server" and one.block:
            yield one
        elif one.name in ("http", "stream", "mail"):
            yield from _servers(one.block)


def _site(path: str, server: Directive) -> Site:
    names = tuple(name for one in server.all("server_name") for name in one.words if name)
    listens = tuple(" ".join(one.words) for one in server.all("listen") if one.words)
    return Site(path, names, listens or ("80",))


def parse(text: str) -> tuple[Directive, ...]:
    """A file of nginx' as directives; what is cut off counts as far as it goes."""
    tokens = [token for token in _TOKEN.findall(text) if not token.isspace() and not token.startswith("#")]
    found, _ = _block(tokens, 0)
    return found


def _block(tokens: Sequence[str], at: int) -> tuple[tuple[Directive, ...], int]:
    found: list[Directive] = []
    words: list[str] = []
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token == "}":
            break
        if token in (";", "{"):
            block, at = _block(tokens, at) if token == "{" else ((), at)
            if words:
                found.append(Directive(words[0], tuple(words[1:]), block))
            words = []
        else:
            words.append(token[1:-1] if token[0] in "\"'" and token[-1] == token[0] and len(token) > 1 else token)
    return tuple(found), at
