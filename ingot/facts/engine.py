"""The engine's containers on a host: what runs, whether it answers, and what it said about its memory."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyinfra.api.facts import FactBase

from ingot.facts import sections

#: Everything measured or proven on a host lies below this directory.
STATE = "/var/lib/ingot"
PROJECT = "ingot-engine"

_OURS = f"label=com.docker.compose.project={PROJECT}"
_CURL = "curl --silent --noproxy '*' --output /dev/null --write-out '%{http_code}'"


def _ask(seconds: int) -> str:
    """A completion of one token from $model at $endpoint: prints the HTTP status, 000 when none came in time."""
    return (
        f"{_CURL} --max-time {seconds} --header 'Content-Type: application/json' "
        '--data "{\\"model\\":\\"$model\\",\\"prompt\\":\\"1\\",\\"max_tokens\\":1,\\"temperature\\":0}" '
        '"http://$endpoint/v1/completions"'
    )


@dataclass(frozen=True, slots=True)
class Container:
    """One container of the engine project, running or not; `age_s` is 0 when it does not run."""

    service: str
    digest: str
    image_id: str
    status: str
    exit_code: int
    restarts: int
    age_s: int
    address: str
    devices: tuple[str, ...]
    healthy: bool = False


@dataclass(frozen=True, slots=True)
class EngineState:
    """What one look found: `docker` says whether Docker answered, `files` are JSON files below STATE by path."""

    docker: bool = False
    containers: tuple[Container, ...] = ()
    files: Mapping[str, Any] = field(default_factory=dict)
    compose: str = ""


class EngineLook(FactBase[EngineState]):
    """Containers, their health, the stored plan and measurements, in one command.

    A running container is healthy when its health route says 200 and, if no request runs or waits, a completion
    of one token succeeds: vLLM's API server goes on saying 200 after its engine stalled. A busy engine is not
    asked for a completion, because queueing behind real work is not a fault.
    """

    def command(self, probe: bool = True) -> str:
        listed = f"docker ps --all --quiet --no-trunc --filter {_OURS}"
        labels = (
            "{{.Name}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
            '{{index .Config.Labels "ingot.port"}} {{index .Config.Labels "ingot.model"}} '
            '{{index .Config.Labels "ingot.health"}}'
        )
        each = (
            f"for id in $(docker ps --quiet --filter {_OURS}); do "
            f"set -- $(docker inspect --format {shlex.quote(labels)} $id); endpoint=$2:$3; model=$4; "
            f"code=$({_CURL} --max-time 10 http://$endpoint$5); "
            'busy=$(curl --silent --noproxy "*" --max-time 10 "http://$endpoint/metrics" '
            "| awk '/num_requests_(running|waiting)[{ ]/ {n += $NF} END {print n + 0}'); "
            f'if [ "$code$busy" = 2000 ]; then code=$({_ask(30)}); fi; echo "$1 $code"; done'
        )
        questions = {
            "containers": f"ids=$({listed}) && [ -z \"$ids\" ] && echo '[]' || docker inspect $ids",
            "now": "date +%s",
            "files": (
                f"cd {STATE} 2>/dev/null && for file in plan.json measured.json upstreams.json "
                'engine/last-good/*.json; do if [ -f "$file" ]; then echo "$file $(base64 -w0 "$file")"; fi; done'
            ),
            "compose": "cat /etc/ingot/engine/compose.yaml 2>/dev/null",
        }
        if probe:
            questions["probes"] = each
        return sections.compose(questions)

    @staticmethod
    def default() -> EngineState:
        return EngineState()

    def process(self, output: list[str]) -> EngineState:
        return parse_look(output)


def parse_look(output: Iterable[str]) -> EngineState:
    """The answer of `EngineLook`. A stored file that is not JSON (power was lost) counts as absent."""
    found = sections.split(output)
    inspected, docker = [], False
    if "containers" in found and found["containers"].status == 0:
        try:
            inspected, docker = json.loads(found["containers"].output), True
        except json.JSONDecodeError:
            docker = False
    now = int(found["now"].line) if "now" in found else 0
    codes = dict(line.split()[:2] for line in _lines(found, "probes") if len(line.split()) >= 2)
    files = {}
    for line in _lines(found, "files"):
        path, _, encoded = line.partition(" ")
        try:
            files[path] = json.loads(base64.b64decode(encoded))
        except ValueError:
            continue
    compose = found["compose"].output if "compose" in found else ""
    return EngineState(docker, tuple(_container(one, now, codes) for one in inspected), files, compose)


def _lines(found: Mapping[str, sections.Section], name: str) -> list[str]:
    return found[name].output.splitlines() if name in found else []


def _container(one: Mapping[str, Any], now: int, codes: Mapping[str, str]) -> Container:
    labels, state = one["Config"]["Labels"], one["State"]
    networks = one["NetworkSettings"]["Networks"] or {}
    requests = one["HostConfig"].get("DeviceRequests") or []
    return Container(
        service=labels.get("com.docker.compose.service", one["Name"].lstrip("/")),
        digest=labels.get("ingot.digest", ""),
        image_id=one["Image"],
        status=state["Status"],
        exit_code=int(state["ExitCode"]),
        restarts=int(one["RestartCount"]),
        age_s=max(now - _epoch(state["StartedAt"]), 0) if state["Status"] == "running" else 0,
        address=next((str(network["IPAddress"]) for network in networks.values()), ""),
        devices=tuple(device for request in requests for device in request.get("DeviceIDs") or ()),
        healthy=codes.get(one["Name"]) == "200",
    )


def _epoch(stamp: str) -> int:
    # Docker writes nanoseconds, which datetime does not read.
    return int(datetime.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True)
class Glance:
    """One slice of waiting: Docker's word for the container, its restarts and exit code, what its health route and
    a completion answered ("000" is no answer, "" not asked), and its last log line."""

    status: str
    restarts: int = 0
    exit_code: int = 0
    health: str = "000"
    completion: str = ""
    last_line: str = ""

    @property
    def ready(self) -> bool:
        """It is healthy and has produced a token."""
        return self.status == "running" and self.health == "200" and self.completion == "200"


class ReplicaGlance(FactBase[Glance]):
    """Watch one starting replica for at most `seconds`; returns as soon as it serves, stops or has restarted."""

    def command(self, container: str, endpoint: str, model: str, health: str, seconds: int, restarts: int = 0) -> str:
        inspect = "docker inspect --format '{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}'"
        return (
            f"container={shlex.quote(container)}; endpoint={shlex.quote(endpoint)}; model={shlex.quote(model)}; "
            f"end=$(($(date +%s) + {seconds})); while :; do "
            f'state=$({inspect} "$container" 2>/dev/null) || state="missing 0 0"; '
            f"health=000; completion=; "
            f'case "$state" in "running {restarts} "*) ;; *) break ;; esac; '
            f'health=$({_CURL} --max-time 10 "http://$endpoint{health}"); '
            f'if [ "$health" = 200 ]; then completion=$({_ask(60)}); break; fi; '
            "if [ $(date +%s) -ge $end ]; then break; fi; sleep 1; done; "
            'echo "$state $health ${completion:--}"; docker logs --tail 1 "$container" 2>&1 | cut -c 1-200'
        )

    @staticmethod
    def default() -> Glance:
        return Glance("unknown")

    def process(self, output: list[str]) -> Glance:
        return parse_glance(output)


def parse_glance(output: Iterable[str]) -> Glance:
    """The answer of `ReplicaGlance`."""
    lines = list(output)
    status, restarts, exit_code, health, completion = lines[0].split()
    return Glance(
        status,
        int(restarts),
        int(exit_code),
        health,
        "" if completion == "-" else completion,
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
                "health": f"{_CURL} --max-time 10 http://{endpoint}{health}",
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
        tuple(_lines(found, "metrics")),
        tuple(_lines(found, "log")),
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


@dataclass(frozen=True, slots=True)
class EngineImage:
    """An image on the host: Docker's id and the digests that registries know it by; `present` is False without."""

    present: bool = False
    image_id: str = ""
    digests: tuple[str, ...] = ()
    archive_bytes: int | None = None


class ImageLook(FactBase[EngineImage]):
    """Whether an image (by id, or by name and digest) is on the host, and the size of its archive there."""

    def command(self, reference: str, archive: str = "") -> str:
        return sections.compose(
            {
                "image": f"docker image inspect {shlex.quote(reference)}",
                "archive": f"stat --format %s {shlex.quote(archive)}" if archive else "false",
            }
        )

    @staticmethod
    def default() -> EngineImage:
        return EngineImage()

    def process(self, output: list[str]) -> EngineImage:
        return parse_image(output)


def parse_image(output: Iterable[str]) -> EngineImage:
    """The answer of `ImageLook`."""
    found = sections.split(output)
    archive = int(found["archive"].line) if found["archive"].status == 0 else None
    if found["image"].status != 0:
        return EngineImage(archive_bytes=archive)
    (image,) = json.loads(found["image"].output)
    digests = tuple(name.partition("@")[2] for name in image.get("RepoDigests") or ())
    return EngineImage(True, image["Id"], digests, archive)
