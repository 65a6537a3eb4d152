"""The site's HTTP proxy, as what fetches on a host is told of it: by its environment, and by nothing that stays there.

apt, curl and dockerd read the same variables. They are set for a script's own processes, so that engines, the gateway
and every other program of the host never see them; dockerd, which pulls by itself, has them from a file of root's
(containers/proxy.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from importlib.resources import files
from urllib.parse import quote, urlsplit

from pyinfra.context import host

from ingot.operations import served_bundle
from ingot.operations.hidden import Hidden
from ingot.secrets import proxy as secrets
from ingot.settings import of_host
from ingot.settings.proxy import Proxy

TRUST = (files(__package__) / "proxy.sh").read_text()
#: Where a host keeps the CA for as long as it runs; nothing of it is secret.
HOME = "/run/ingot"
#: What never goes through a proxy.
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def variables(value: Proxy, direct: Iterable[str] = ()) -> dict[str, str]:
    """The environment of a program that is to use the proxy; `direct` are further places that it reaches without.

    Raises: IngotError for a login that cannot be read.
    """
    address = urlsplit(value.uri)
    login = ""
    if value.login_file:
        login = ":".join(quote(part, safe="") for part in secrets.login(value.login_file)) + "@"
    through = f"http://{login}{address.netloc}"
    without = ",".join(dict.fromkeys((*LOOPBACK, *value.direct, *direct)))
    return {"http_proxy": through, "https_proxy": through, "no_proxy": without}


def shell(value: Proxy | None, direct: Iterable[str] = (), authority: str = "") -> str:
    """Shell text that sets the environment, for a file or a standard input that others cannot read; "" where nothing is
    to be set. `authority` (PEM) is trusted beside the proxy's.

    Raises: IngotError for a login or a CA that cannot be read.
    """
    text = ""
    if value is not None:
        text = "".join(f"export {name}={shlex.quote(one)}\n" for name, one in variables(value, direct).items())
        if value.ca_file:
            authority = secrets.authority(value.ca_file) + authority
    if authority:
        text += f"proxy_home={HOME} proxy_ca={shlex.quote(authority)}\n{TRUST}"
    return text


def members() -> Mapping[str, str]:
    """The file `proxy` for scripts that fetch on the host in context; none where nothing is to be set.

    Raises: IngotError.
    """
    text = shell(of_host(host).proxy, served_bundle.fleet(), served_bundle.authority())
    return {"proxy": text} if text else {}


def asking(secret: str = "") -> dict[str, str]:
    """The standard input of a question that leaves the host in context, as an argument of get_fact.

    `secret` are options of curl that only the hub gets; the question finds them in its variable `secret`.

    Raises: IngotError.
    """
    text = shell(of_host(host).proxy, served_bundle.fleet(), served_bundle.authority())
    return {"_stdin": Hidden(f"{text}secret={shlex.quote(str.__str__(secret))}\n")}
