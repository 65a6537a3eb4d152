"""Whether the site's proxy passes on what a host will fetch: asked before anything is changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from ingot.facts.host import HostState
from ingot.operations.package_source import Source
from ingot.settings import Settings
from ingot.settings.proxy import Proxy


def probe(look: HostState, values: Settings, sources: Sequence[Source], fleet: Sequence[str]) -> str | None:
    """A small file that the host will fetch through its proxy, over TLS where there is one; None where nothing goes
    through it."""
    archives = (
        f"{uri.rstrip('/')}/dists/{one.suites[0]}/InRelease"
        for file in look.described.files
        for one in file.repositories
        if one.is_on and one.suites and not one.suites[0].endswith("/")
        for uri in one.uris
    )
    models = (one.uri for one in values.sources.of_models if one.kind != "push")
    known = [*(one.key_url for one in sources), *models, *archives]
    without = [*(values.proxy.direct if values.proxy else ()), *fleet]
    through = [one for one in known if one.startswith(("https://", "http://")) and not _is_direct(one, without)]
    return min(through, key=lambda one: one.startswith("http://"), default=None)


def _is_direct(address: str, direct: Sequence[str]) -> bool:
    name = urlsplit(address).hostname or ""
    return any(name == one or name.endswith(f".{one.lstrip('.')}") for one in direct)


def findings(value: Proxy, address: str, said: str) -> Iterator[str]:
    """Why the proxy is of no use, without the host's name and the final stop; `said` is apt's reason, "" for none."""
    where = f"proxy {value.uri.rstrip('/')}"
    if re.search(r"\b407\b", said):
        if value.login_file:
            yield f"{where} does not take the login of {value.login_file}, expected one that it does; correct that file"
        else:
            yield f"{where} asks for a login, expected none; give one by login_file of `proxy`"
    elif re.search(r"Could not (resolve|connect)|failure resolving|[Uu]nable to connect|no answer within", said):
        yield f"{where} is not to be reached ({said}), expected it to answer; start it, or correct `proxy`"
    elif re.search(r"[Cc]ertificate", said):
        expected = f"one that the CAs of {value.ca_file} signed" if value.ca_file else "one of a CA that the host knows"
        yield (
            f"{address} comes through {where} with a certificate that is not trusted, expected {expected}; where the "
            "proxy opens TLS, give its CA by ca_file of `proxy`"
        )
    elif match := re.search(r"Invalid response from proxy: HTTP/\S+ ([^\[]*?)  |^(403)\s", said):
        yield (
            f"{where} refuses {address} ({(match[1] or match[2]).strip()}), expected it to pass that on; have it allow "
            "this host that address"
        )
