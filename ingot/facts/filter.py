"""The filter of a gateway as it is found: its containers, and what answers on its socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

#: Compose project of the filter; every container of it has a label with the digest of what it runs with.
PROJECT = "ingot-filter"
#: Where the filter and nginx meet; on a tmpfs, made at boot.
SOCKETS = "/run/ingot/filter"
SOCKET = f"{SOCKETS}/filter.sock"
#: What the filter says about itself; ingot.gateway.filter.server answers.
HEALTH = f"curl -s -m 2 --noproxy '*' --unix-socket {SOCKET} http://filter/-/health"

_SHOWN = '{{.Name}} {{.State.Status}} {{.HostConfig.RestartPolicy.Name}} {{index .Config.Labels "ingot.digest"}}'


@dataclass(frozen=True)
class FilterContainer:
    """A container of the filter. One that `drains` was told to stop and only ends the answers that it had begun."""

    name: str
    digest: str
    running: bool
    drains: bool


@dataclass(frozen=True)
class FilterHost:
    """What a host has of the filter; `serving` is the digest that answers on its socket, "" for none."""

    docker: bool = False
    sockets: bool = False
    containers: tuple[FilterContainer, ...] = ()
    serving: str = ""


#: For the look at the whole gateway.
QUESTIONS = {
    "filter_docker": "command -v docker",
    "filter_sockets": f"test -d {SOCKETS} && echo there",
    "filter_containers": f"ids=$(docker ps --all --quiet --filter label=com.docker.compose.project={PROJECT}) "
    f"&& [ -n \"$ids\" ] && docker inspect --format '{_SHOWN}' $ids",
    "filter_health": f"test -S {SOCKET} && {HEALTH}",
}


def parse_filter_host(answers: Mapping[str, str]) -> FilterHost:
    """Read what QUESTIONS were answered; where there is no Docker the answers are its absence's."""
    containers = []
    for line in answers["filter_containers"].splitlines():
        # Docker shows a container's name with a slash; a complaint begins otherwise.
        if line.startswith("/") and len(line.split()) == 4:
            name, status, restart, digest = line.split()
            containers.append(FilterContainer(name[1:], digest, status == "running", restart == "no"))
    try:
        serving = str(json.loads(answers["filter_health"])["digest"])
    except (ValueError, KeyError, TypeError):
        serving = ""
    return FilterHost(
        docker=answers["filter_docker"].startswith("/"),
        sockets=answers["filter_sockets"] == "there",
        containers=tuple(containers),
        serving=serving,
    )
