"""One replica that starts: what it answers while it is waited for, what it shows once it serves, and its log."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from ingot.facts import sections
from ingot.facts.engine import STATE
from ingot.facts.probe import CURL, ask, lines_of


@dataclass(frozen=True, slots=True)
class Glance:
    """One slice of waiting: Docker's word for the container, its restarts, what its health route and a
    request of its kind answered ("000" is no answer, "" not asked), and its last log line."""

    status: str
    restarts: int = 0
    health: str = "000"
    answered: str = ""
    last_line: str = ""

    @property
    def ready(self) -> bool:
        """It is healthy and has answered what it is for."""
        return self.status == "running" and self.health == "200" and self.answered == "200"


class ReplicaGlance(FactBase[Glance]):
    """Watch one starting replica for at most `seconds`; returns as soon as it serves, stops or has restarted."""

    def command(
        self,
        container: str,
        endpoint: str,
        model: str,
        health: str,
        seconds: int,
        restarts: int = 0,
        kind: str = "generate",
    ) -> str:
        inspect = "docker inspect --format '{{.State.Status}} {{.RestartCount}}'"
        return (
            f"container={shlex.quote(container)}; endpoint={shlex.quote(endpoint)}; model={shlex.quote(model)}; "
            f"kind={shlex.quote(kind)}; "
            f"end=$(($(date +%s) + {seconds})); while :; do "
            f'state=$({inspect} "$container" 2>/dev/null) || state="missing 0"; '
            f"health=000; answered=; "
            f'case "$state" in "running {restarts}") ;; *) break ;; esac; '
            f'health=$({CURL} --max-time 10 "http://$endpoint{health}"); '
            f'if [ "$health" = 200 ]; then answered=$({ask(60)}); break; fi; '
            "if [ $(date +%s) -ge $end ]; then break; fi; sleep 1; done; "
            'echo "$state $health ${answered:--}"; docker logs --tail 1 "$container" 2>&1 | cut -c 1-200'
        )

    @staticmethod
    def default() -> Glance:
        return Glance("unknown")

    def process(self, output: list[str]) -> Glance:
        return parse_glance(output)


def parse_glance(output: Iterable[str]) -> Glance:
    """The answer of `ReplicaGlance`."""
    lines = list(output)
    status, restarts, health, answered = lines[0].split()
    return Glance(
        status,
        int(restarts),
        health,
        "" if answered == "-" else answered,
        lines[1].strip() if len(lines) > 1 else "",
    )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a replica shows after it has served: whether it still does, its metrics and the lines of its log that
    were asked for."""

    status: str = "unknown"
    restarts: int = 0
    health: str = "000"
    metrics: tuple[str, ...] = ()
    log: tuple[str, ...] = ()


class ReplicaEvidence(FactBase[Evidence]):
    """Wait `hold` seconds, then see that the replica still serves, and read its memory figures.

    `lines` is a grep -E expression for its log.
    """

    def command(self, container: str, endpoint: str, health: str, hold: int, lines: str) -> str:
        name = shlex.quote(container)
        inspect = "docker inspect --format '{{.State.Status}} {{.RestartCount}}'"
        return f"sleep {hold}; " + sections.compose(
            {
                "state": f"{inspect} {name}",
                "health": f"{CURL} --max-time 10 http://{endpoint}{health}",
                "metrics": f"curl --silent --noproxy '*' --max-time 10 http://{endpoint}/metrics | grep _info",
                "log": f"docker logs {name} 2>&1 | grep -E {shlex.quote(lines)} | tail -n 200",
            }
        )

    @staticmethod
    def default() -> Evidence:
        return Evidence()

    def process(self, output: list[str]) -> Evidence:
        return parse_evidence(output)


def parse_evidence(output: Iterable[str]) -> Evidence:
    """The answer of `ReplicaEvidence`."""
    found = sections.split(output)
    status, _, restarts = found["state"].line.partition(" ")
    if found["state"].status != 0:
        status, restarts = "missing", "0"
    return Evidence(
        status,
        int(restarts or 0),
        found["health"].line,
        tuple(lines_of(found, "metrics")),
        tuple(lines_of(found, "log")),
    )


class ReplicaLog(FactBase[list[str]]):
    """The last `count` lines of a replica's log, or of the attempt to start it when there is no container."""

    def command(self, container: str, count: int = 50) -> str:
        name = shlex.quote(container)
        return (
            f"docker logs --tail {count} {name} 2>/dev/null >/dev/null && docker logs --tail {count} {name} 2>&1 "
            f"|| tail -n {count} {STATE}/engine/up.log"
        )

    @staticmethod
    def default() -> list[str]:
        return []

    def process(self, output: list[str]) -> list[str]:
        return output
