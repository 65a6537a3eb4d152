"""Replicas: whether they run, answer and are in the pool, and where the monitor finds their own figures."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingot.monitoring.collector.calls import answers, run
from ingot.monitoring.collector.figures import Figures
from ingot.monitoring.collector.stored import replace, stored

#: Where NVIDIA's DCGM exporter answers.
_DCGM = ("127.0.0.1", 9400)
#: What the host's watch says of an engine that hangs, and of one that it has started again for that.
_HUNG = ("short question", "does nothing for", "has not answered since")
_INSPECTED = "{{.Name}} {{.State.Running}} {{.RestartCount}} {{.State.OOMKilled}}"


@dataclass(frozen=True)
class Replica:
    """A replica as the rollout proved it last; `number` tells its address in the engines' network."""

    name: str
    model: str
    address: str
    health: str
    number: int


def proven(state: str, first: str) -> list[Replica]:
    """The replicas that the rollout proved, out of their services' files."""
    found = []
    for path in sorted(Path(state, "engine/last-good").glob("*.json")):
        content = stored(path, {})
        try:
            # Older versions wrote the service alone.
            service = content.get("service", content)
            # Of several hosts that serve together only the head answers, and on no address of the engines' network.
            if service.get("group") and service["health_path"] == "none":
                continue
            number = int(ipaddress.ip_address(service["address"])) - int(ipaddress.ip_address(first))
            found.append(
                Replica(
                    service["name"],
                    service["model"],
                    f"{service['address']}:{service['port']}",
                    service["health_path"],
                    number,
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return sorted(found, key=lambda one: one.number)


def collect(figures: Figures, settings: Mapping[str, Any]) -> bool:
    """Every proven replica; returns whether Docker answered, or there is none to ask it of."""
    replicas = proven(settings["state"], settings["first_engine"])
    upstreams = stored(settings["upstreams"], [])
    pool = {address for one in upstreams for address in one.get("replicas", ())}
    pool -= {address for one in upstreams for address in one.get("draining", ())}
    holds = stored(settings["holds"], {})
    inspected = _containers(settings["project"], replicas)
    plan = stored(Path(settings["state"], "plan.json"), {}).get("plan", {}).get("replicas", [])
    for one in replicas:
        labels = {"model": one.model, "replica": one.name}
        state = inspected.get(f"{settings['project']}-{one.name}") if inspected is not None else None
        if inspected is not None:
            running, restarts, oom = state or (False, None, False)
            figures.add("ingot_replica_running", float(running), **labels)
            figures.add("ingot_replica_restarts_total", restarts, **labels)
            figures.add("ingot_replica_oom_killed", float(oom), **labels)
        figures.add("ingot_replica_healthy", float(answers(f"http://{one.address}{one.health}")), **labels)
        in_pool = one.address in pool and one.address not in holds
        figures.add("ingot_replica_in_pool", float(in_pool), **labels)
        why = str(holds.get(one.address, {}).get("why", ""))
        figures.add("ingot_replica_hung", float(any(words in why for words in _HUNG)), **labels)
        if 0 <= one.number < len(plan):
            figures.add("ingot_replica_max_sequences", plan[one.number].get("max_num_seqs"), **labels)
    _list_targets(settings["targets"], replicas, Path(settings["dcgm_unit"]))
    return inspected is not None or not replicas


def _containers(project: str, replicas: list[Replica]) -> dict[str, tuple[bool, int, bool]] | None:
    """Of each container by name: whether it runs, its restarts, whether it was ended for memory."""
    if not replicas:
        return {}
    answer = run("docker", "inspect", "--format", _INSPECTED, *(f"{project}-{one.name}" for one in replicas))
    if answer is None or "Cannot connect to the Docker daemon" in answer[1]:
        return None
    found = {}
    for line in answer[1].splitlines():
        words = line.split()
        if len(words) == 4 and words[0].startswith("/") and words[2].isdigit():
            found[words[0][1:]] = (words[1] == "true", int(words[2]), words[3] == "true")
    return found


def _list_targets(directory: str, replicas: list[Replica], dcgm_unit: Path) -> None:
    """The targets of this host as Prometheus' http_sd reads them; whose they are, the monitor says itself."""
    listed = [
        {
            "targets": ["here"],
            "labels": {"__metrics_path__": f"/replica/{one.number}", "model": one.model, "replica": one.name},
        }
        for one in replicas
        if one.number >= 0
    ]
    # Where it is installed and silent, Prometheus shall see that.
    has_dcgm = dcgm_unit.exists() or _listens(*_DCGM)
    gpu = [{"targets": ["here"], "labels": {"__metrics_path__": "/gpu"}}] if has_dcgm else []
    for name, targets in (("replica", listed), ("gpu", gpu)):
        replace(Path(directory, f"{name}.json"), json.dumps(targets) + "\n")


def _listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False
