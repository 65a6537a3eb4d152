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
from ingot.facts.engine_metrics import BUSY_AWK
from ingot.facts.probe import CURL, ask, lines_of
from ingot.gateway.upstreams import parse_upstreams

#: Everything measured or proven on a host lies below this directory.
STATE = "/var/lib/ingot"
PROJECT = "ingot-engine"
#: The unit that starts its replicas at boot, or supervises the one that a host serves together with others.
UNIT = "ingot-engine.service"
#: Below it: how fast the disk reads, and how long starts took.
STARTS = "engine/starts.json"

#: The health route of a container that answers nobody.
SILENT = "none"

_OURS = f"label=com.docker.compose.project={PROJECT}"


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
    """What one look found: `docker` says whether Docker answered, `files` are JSON files below STATE by path.

    `free_memory_bytes` of the host's memory are free, or hold only what is on its disks as well.
    """

    docker: bool = False
    containers: tuple[Container, ...] = ()
    files: Mapping[str, Any] = field(default_factory=dict)
    compose: str = ""
    free_memory_bytes: int | None = None

    @property
    def marked(self) -> frozenset[str]:
        """Replicas (`address:port`) that get no new requests, since a run was replacing them."""
        pool, _ = parse_upstreams(json.dumps(self.files.get("upstreams.json", [])))
        return frozenset(address for one in pool for address in one.draining)


class EngineLook(FactBase[EngineState]):
    """Containers, their health, the stored plan and measurements, in one command.

    A running container is healthy when its health route says 200 and, if no request runs or waits, it does what it
    is for (a completion, an embedding, an order, a transcript): vLLM's API server goes on saying 200 after its engine
    stalled. A busy engine is not asked, because queueing behind real work is not a fault.
    """

    def command(self, probe: bool = True) -> str:
        listed = f"docker ps --all --quiet --no-trunc --filter {_OURS}"
        labels = (
            '{{.Name}} {{with index .Config.Labels "ingot.address"}}{{.}} {{else}}'
            "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}{{end}}"
            '{{index .Config.Labels "ingot.port"}} {{index .Config.Labels "ingot.model"}} '
            '{{index .Config.Labels "ingot.health"}} {{or (index .Config.Labels "ingot.kind") "generate"}}'
        )
        each = (
            f"for id in $(docker ps --quiet --filter {_OURS}); do "
            f"set -- $(docker inspect --format {shlex.quote(labels)} $id); endpoint=$2:$3; model=$4; kind=$6; "
            # Of several hosts that serve together only the head answers; its answers are those of all.
            f'[ "$5" != {SILENT} ] || {{ echo "$1 200"; continue; }}; '
            f"code=$({CURL} --max-time 10 http://$endpoint$5); "
            'busy=$(curl --silent --noproxy "*" --max-time 10 "http://$endpoint/metrics" '
            f"| awk '{BUSY_AWK}'); "
            # Who does not say is asked: it may have nothing to do.
            f'case "$code $busy" in "200 0" | "200 none") code=$({ask(30)});; esac; echo "$1 $code"; done'
        )
        questions = {
            "containers": f"ids=$({listed}) && [ -z \"$ids\" ] && echo '[]' || docker inspect $ids",
            "now": "date +%s",
            "files": stored(
                "plan.json",
                "measured.json",
                "upstreams.json",
                "replica-holds.json",
                "engine/last-good/*.json",
                STARTS,
                "engine/group.json",
            ),
            "free_memory": "awk '/^MemAvailable:/ {printf \"%.0f\", $2 * 1024}' /proc/meminfo",
            "compose": "cat /etc/ingot/engine/compose.yaml 2>/dev/null",
        }
        if probe:
            questions["probes"] = each
        return sections.Question.of(questions)

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
    codes = dict(line.split()[:2] for line in lines_of(found, "probes") if len(line.split()) >= 2)
    files = parse_stored(found)
    compose = found["compose"].output if "compose" in found else ""
    free = found["free_memory"].line if "free_memory" in found else ""
    containers = tuple(_container(one, now, codes) for one in inspected)
    return EngineState(docker, containers, files, compose, int(free) if free.isdigit() else None)


def stored(*patterns: str) -> str:
    """A question for JSON files below STATE; `parse_stored` reads its answer, whose name is `files`."""
    return (
        f"cd {STATE} 2>/dev/null && for file in {' '.join(patterns)}; "
        'do if [ -f "$file" ]; then echo "$file $(base64 -w0 "$file")"; fi; done'
    )


def parse_stored(found: Mapping[str, sections.Section]) -> dict[str, Any]:
    """The stored files by path below STATE; one that is not JSON (power was lost) counts as absent."""
    files = {}
    for line in lines_of(found, "files"):
        path, _, encoded = line.partition(" ")
        try:
            files[path] = json.loads(base64.b64decode(encoded))
        except ValueError:
            continue
    return files


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
        address=labels.get("ingot.address") or next((str(one["IPAddress"]) for one in networks.values()), ""),
        devices=tuple(device for request in requests for device in request.get("DeviceIDs") or ()),
        healthy=codes.get(one["Name"]) == "200",
    )


def _epoch(stamp: str) -> int:
    # Docker writes nanoseconds, which datetime does not read.
    return int(datetime.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())
