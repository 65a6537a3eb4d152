"""The filter's files: its code, its rules, the container that runs them, and nginx' way to it and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingot.engines.vllm import USER
from ingot.facts.filter import PROJECT, SOCKETS
from ingot.gateway import filter as code
from ingot.gateway import limits, personal_data
from ingot.gateway.errors import FILTER_DOWN
from ingot.gateway.patterns import Bounded
from ingot.gateway.routes import Route
from ingot.gateway.teams import Team
from ingot.gateway.upstreams import Engine
from ingot.operations import render, tree

DIRECTORY = "/etc/ingot/filter"
COMPOSE = f"{DIRECTORY}/compose.yaml"
RULES = f"{DIRECTORY}/rules.json"
CODE = f"{DIRECTORY}/code/ingot/gateway/filter"
#: Tokens of teams by day, as the filter's processes counted them.
COUNTS = "/var/lib/ingot/tokens"
TMPFILES = "/etc/tmpfiles.d/ingot-filter.conf"
UNIT = "/etc/systemd/system/nginx.service.d/ingot-filter.conf"
NGINX = "/etc/nginx/ingot/filter.conf"

#: Of the process: requests as they came and as the engine gets them (each as much as ingot.gateway.filter.server.HELD),
#: one of them taken apart, answers in one piece, and what nginx has not taken yet.
MEMORY_BYTES = 4 * 1024**3


@dataclass(frozen=True)
class Filter:
    """A host's filter as it shall be.

    `image` is the engine's. `stop_grace_s` is how long its running answers may take when it is replaced.
    `keeps_counts`: a team's tokens are limited by the day or the month, so that they are kept on disk.
    """

    teams: tuple[str, ...]
    rules: str
    image: str
    stop_grace_s: int
    keeps_counts: bool = False

    @property
    def sources(self) -> dict[str, str]:
        """The filter's code, by file name."""
        return {path.name: path.read_text() for path in sorted(Path(code.__path__[0]).glob("*.py"))}

    @property
    def digest(self) -> str:
        """A name for everything that the process runs with; the process tells it when asked for its health."""
        parts = [self.rules, self._compose("", ""), *(f"{name}\0{text}" for name, text in self.sources.items())]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    @property
    def container(self) -> str:
        """Its container: one of its own per digest, so that a new one can start beside the old one."""
        return f"{PROJECT}-{self.digest}"

    @property
    def compose(self) -> str:
        """The Compose project."""
        return self._compose(self.digest, self.container)

    def _compose(self, digest: str, container: str) -> str:
        return render.template(
            "gateway/filter.compose.yaml",
            project=PROJECT,
            container=container,
            digest=digest,
            image=self.image,
            user=USER,
            memory_bytes=MEMORY_BYTES,
            directory=DIRECTORY,
            sockets=SOCKETS,
            counts=[COUNTS] if self.keeps_counts else [],
        )


def wanted(
    teams: Sequence[Team],
    patterns: Mapping[str, Bounded],
    thresholds: Mapping[str, float],
    default_max_tokens: int,
    image: str,
    stop_grace_s: int,
) -> Filter | None:
    """The filter that these teams need; None where none does."""
    rules = personal_data.rules_file(teams, patterns, default_max_tokens, thresholds)
    filtered = tuple(team.name for team in teams if team.filtered)
    keeps_counts = any(team.keeps_counts for team in teams)
    return Filter(filtered, rules, image, stop_grace_s, keeps_counts) if filtered else None


def entries(one: Filter | None) -> list[tree.Entry]:
    """The filter's files, or none of them; nginx' own part comes with nginx' files."""
    if one is None:
        return [tree.Absent(DIRECTORY), tree.Absent(TMPFILES), tree.Absent(UNIT)]
    return [
        tree.Dir(DIRECTORY),
        tree.Dir(CODE),
        *(tree.File(f"{CODE}/{name}", text) for name, text in one.sources.items()),
        tree.File(RULES, one.rules),
        tree.File(COMPOSE, one.compose, mode="0640"),
        tree.File(TMPFILES, tmpfiles()),
        *([tree.Dir(COUNTS, user=USER.partition(":")[0], mode="0700")] if one.keeps_counts else []),
        tree.File(UNIT, render.template("gateway/nginx.service.d/ingot-filter.conf", sockets=SOCKETS)),
    ]


def tmpfiles() -> str:
    """The directory of the sockets, made at boot: for the container's user, and for nginx to reach."""
    return render.template(
        "gateway/tmpfiles.d/ingot-filter.conf", sockets=SOCKETS, user=USER.partition(":")[0], group="www-data"
    )


def nginx_conf(
    one: Filter,
    served: Sequence[Engine],
    routes: Sequence[Route],
    *,
    read_timeout_s: int,
    bodies: str | None = None,
) -> str:
    """Which teams' requests go to the filter, and the server by which the filter reaches the engines.

    `bodies` is where request bodies go, for a configuration of others that says otherwise.
    """
    return render.template(
        "gateway/filter.conf",
        teams=[limits.map_key(team) for team in one.teams],
        engines=served,
        routes=[route for route in routes if route.answer in ("engine", "script")],
        sockets=SOCKETS,
        filter_down=FILTER_DOWN,
        read_timeout_s=read_timeout_s,
        bodies=bodies,
    )
