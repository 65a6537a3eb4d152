"""How each rule's fault is brought about on a test host, or why it cannot be."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

from tests.monitoring.rules.cases import CASES, Case
from tests.monitoring.rules.test_rules import labels

NODE, DCGM, NOTICES = "127.0.0.1:9100", "127.0.0.1:9400", "127.0.0.1:9401"
#: By the state of the monitor or of a target, not by a figure: what the test does.
BY_STATE = {
    "IngotHostUnreachable": "nothing answers on the port of node exporter",
    "IngotReplicaUnseen": "an engine in the pool answers 503",
    "IngotDcgmDown": "the DCGM exporter answers 503",
    "IngotMetricsMissing": "node exporter answers without the collector's file",
    "IngotRulesFail": "a rule that finds two series for one is added",
    "IngotConfigurationNotTaken": "Prometheus is told to read a broken configuration",
    "IngotAlertmanagerAway": "Alertmanager is stopped",
    "IngotNoticesFail": "the webhook answers 500",
    "IngotPrometheusDisk": "a disk of 64 MB is put below its figures, and filled",
    "IngotRulesLate": "Prometheus is stopped for some seconds, and goes on",
}
#: Why the others cannot be had on a test host; promtool tries them.
CANNOT = {
    "IngotWatchdog": "always fires",
}
#: Labels that cases have in common, and that tell them apart here.
_SHARED = r"GPU-\d|qwen(?:-\d)?|sales|card of HOST|/dev/sda1|md0|eth0|server.crt"
#: How much faster than in `CASES` values rise: windows of days pass in a minute.
FASTER = 6000
#: Where stand-in engines answer, by the number of their replica; 0 and 1 are the fixture's own.
FIRST, ENGINES = 2, "172.31.213.{}:8000"


@dataclass
class Faults:
    """Series by address, and the replicas of the targets' list: number -> (model, replica)."""

    series: dict[str, list[tuple[str, Any, Any, float]]] = field(default_factory=dict)
    replicas: dict[int, tuple[str, str]] = field(default_factory=dict)
    rules: set[str] = field(default_factory=set)


def replica_address(number: int) -> str:
    return ENGINES.format(10 + number)


def faults() -> Faults:
    """Every case that figures bring about, each with labels of its own on the one host."""
    found = Faults({NODE: [], DCGM: []})
    for number, case in enumerate(CASES):
        if case.rule not in BY_STATE | CANNOT.keys() and "stale" not in " ".join(case.fires.values()):
            _add(found, number, case)
            found.rules.add(case.rule)
    return found


def _add(found: Faults, number: int, case: Case) -> None:
    asked = sorted({int(n or 1) for name in case.fires for n in re.findall(r"REPLICA(\d*)", name)})
    places = {n: FIRST + len(found.replicas) + place for place, n in enumerate(asked)}
    found.replicas |= {place: (f"m{number}", f"m{number}-{n}") for n, place in places.items()}
    for name, values in case.fires.items():
        macro = re.search(r"(?<=[{,])(GPU|DCGM|NODE|REPLICA|PLAN)(\d*)(?=[,}])", name)
        address = NODE
        if macro and macro[1] == "REPLICA":
            address = replica_address(places[int(macro[2] or 1)])
        elif macro and macro[1] == "DCGM":
            address = DCGM
        series = (_own(name, number, macro), *_value(name, values))
        target = found.series.setdefault(address, [])
        # Prometheus itself says whether a target is up.
        if series not in target and not name.startswith("up{"):
            target.append(series)


def _own(name: str, number: int, macro: re.Match[str] | None) -> str:
    """The series with labels that no other case has; host and job, and an engine's model, are its target's."""
    if macro:
        name = name[: macro.start()] + labels(macro[0], "HOST") + name[macro.end() :]
    name = re.sub(r'(host|job)="[^"]*",?', "", name)
    if macro and macro[1] == "REPLICA":
        name = re.sub(r'(model|replica)="[^"]*",?', "", name)
    name = re.sub(rf'="({_SHARED})"', rf'="\1-{number}"', name)
    name = re.sub(r'"qwen(?:-(\d))?-(\d+)"', lambda one: f'"m{one[2]}{f"-{one[1]}" if one[1] else ""}"', name)
    name = name.replace('mountpoint="/"', f'mountpoint="/m{number}"')
    return re.sub(r",(?=\})|\{\}", "", name)


def _value(name: str, values: str) -> tuple[Any, Any, float]:
    step = re.fullmatch(r"(_|[\d.]+)x\d+ ([\d.]+)x\d+", values)
    if step:
        return None if step[1] == "_" else float(step[1]), float(step[2]), 0
    ramp = re.fullmatch(r"(-?[\d.e+]+?)(?:([+-][\d.e+-]+))?xALL", values)
    assert ramp, values
    start = float(ramp[1]) + (time.time() if "not_after" in name else 0)
    return start, start, float(ramp[2] or 0) * FASTER / 60
