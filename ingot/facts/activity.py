"""What a host's replicas do now: requests, cache and tokens, from two looks at their metrics half a second apart."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from ingot.facts import sections
from ingot.facts.engine import PROJECT, SILENT
from ingot.facts.engine_metrics import FIGURES, lines
from ingot.facts.errors import ParseError
from ingot.facts.models import DAMAGE, Damage, parse_damage
from ingot.facts.replica_holds import HOLDS_FILE, ReplicaHold, parse_holds

#: Seconds between the looks, and the most that a replica may take for one answer.
APART_S = 0.5
ANSWER_S = 2
#: A model's ranks are summed, their caches averaged.
RUNNING, WAITING, KV_USED, GENERATED, PROMPT = "running", "waiting", "kv_used", "generated", "prompt"
#: Stands for an engine that has no such metrics, and whose health is well.
HEALTHY = "healthy"

_OURS = f"label=com.docker.compose.project={PROJECT}"
_FORMAT = (
    '{{index .Config.Labels "com.docker.compose.service"}} {{index .Config.Labels "ingot.model"}} {{.State.Status}} '
    '{{index .Config.Labels "ingot.port"}} {{index .Config.Labels "ingot.health"}} '
    # Of several hosts that serve together only the head answers.
    f'{{{{if eq (index .Config.Labels "ingot.health") "{SILENT}"}}}}{SILENT}{{{{else}}}}'
    '{{with index .Config.Labels "ingot.address"}}{{.}} {{else}}'
    "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}{{end}}{{end}}"
)


@dataclass(frozen=True, slots=True)
class ReplicaActivity:
    """One replica: Docker's word for its state, whether its metrics or its health answered, and what they said.

    `running` and `waiting` count requests, `kv_used` is a share from 0 to 1, tokens are per second between the looks.
    None: the engine has no such metric.
    """

    name: str
    model: str
    status: str
    address: str
    answers: bool = False
    running: int | None = None
    waiting: int | None = None
    kv_used: float | None = None
    generated_per_s: float | None = None
    prompt_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Activity:
    """A host's replicas by name, those that it holds out of its pool, and files of models that have rotted on its disk.

    `docker` says whether Docker answered.
    """

    docker: bool = False
    replicas: tuple[ReplicaActivity, ...] = ()
    holds: tuple[ReplicaHold, ...] = ()
    damage: tuple[Damage, ...] = ()


class EngineActivity(FactBase[Activity]):
    """Two looks at the metrics of every replica, in one command; nothing is asked of an engine but its counters."""

    def command(self) -> str:
        wanted = lines(RUNNING, WAITING, KV_USED, GENERATED, PROMPT)
        # All replicas at the same time: one that hangs costs no more than one. A line is written whole. What Docker
        # says of its own trouble is no replica; whether it answers, the containers tell.
        look = (
            f"date +'now %s.%N'; {{ docker inspect --format {shlex.quote(_FORMAT)} "
            f"$(docker ps --quiet --filter {_OURS}); }} 2>/dev/null | {{ while read -r name _ _ port health address _; "
            f"do ( said=$(curl --silent --noproxy '*' --max-time {ANSWER_S} http://$address:$port/metrics "
            f"| grep -E '{wanted}' | awk '{{ sub(/[{{].*/, \"\", $1); print $1 \"=\" $NF }}'); "
            '[ -n "$said" ] || [ "$(curl --silent --output /dev/null --write-out "%{http_code}" --noproxy "*" '
            f'--max-time {ANSWER_S} http://$address:$port$health)" != 200 ] || said={HEALTHY}=1; '
            "echo $name $said ) & done; wait; }"
        )
        return sections.compose(
            {
                "containers": f"ids=$(docker ps --all --quiet --filter {_OURS}) && "
                f'{{ [ -z "$ids" ] || docker inspect --format {shlex.quote(_FORMAT)} $ids; }}',
                "first": look,
                "between": f"sleep {APART_S}",
                "second": look,
                "holds": f"cat {HOLDS_FILE} 2>/dev/null",
                "damage": f"cat {DAMAGE} 2>/dev/null",
            }
        )

    @staticmethod
    def default() -> Activity:
        return Activity()

    def process(self, output: Iterable[str]) -> Activity:
        return parse_activity(output)


def parse_activity(output: Iterable[str]) -> Activity:
    """The answer of `EngineActivity`; one that was cut off is as if Docker had not answered."""
    try:
        found = sections.split(output)
        containers, first, second = (sections.answer(found, name) for name in ("containers", "first", "second"))
    except ParseError:
        return Activity()
    before, after = _look(first.output), _look(second.output)
    apart_s = after.at_s - before.at_s
    replicas = []
    for line in containers.output.splitlines() if containers.status == 0 else ():
        name, model, status, port, _, *addresses = line.split()
        silent = addresses == [SILENT]
        metrics = after.replicas.get(name, {})
        was = before.replicas.get(name, {})
        replicas.append(
            ReplicaActivity(
                name=name,
                model=f"{model} (part)" if silent else model,
                status=status,
                address=f"{addresses[0]}:{port}" if addresses and not silent else "",
                answers=bool(metrics) or (silent and status == "running"),
                running=_count(metrics.get(RUNNING)),
                waiting=_count(metrics.get(WAITING)),
                kv_used=_mean(metrics.get(KV_USED)),
                generated_per_s=_rate(was.get(GENERATED), metrics.get(GENERATED), apart_s),
                prompt_per_s=_rate(was.get(PROMPT), metrics.get(PROMPT), apart_s),
            )
        )
    holds = parse_holds(found["holds"].output) if "holds" in found else ()
    damage = parse_damage(found["damage"].output) if "damage" in found else ()
    return Activity(containers.status == 0, tuple(sorted(replicas, key=lambda one: one.name)), holds, damage)


@dataclass(frozen=True, slots=True)
class _Look:
    """When it was, in seconds since the epoch, and each replica's figures by name, a value for each rank."""

    at_s: float
    replicas: dict[str, dict[str, list[float]]]


def _look(text: str) -> _Look:
    at_s, replicas = 0.0, {}
    for line in text.splitlines():
        name, *said = line.split()
        if name == "now":
            at_s = float(said[0])
            continue
        metrics: dict[str, list[float]] = {}
        for one in said:
            metric, _, value = one.partition("=")
            metrics.setdefault(FIGURES.get(metric, metric), []).append(float(value))
        replicas[name] = metrics
    return _Look(at_s, replicas)


def _count(values: list[float] | None) -> int | None:
    return round(sum(values)) if values else None


def _mean(values: list[float] | None) -> float | None:
    return sum(values) / len(values) if values else None


def _rate(before: list[float] | None, after: list[float] | None, apart_s: float) -> float | None:
    # A counter that went down is of an engine that was started again between the looks.
    if not before or not after or apart_s <= 0 or sum(after) < sum(before):
        return None
    return (sum(after) - sum(before)) / apart_s
