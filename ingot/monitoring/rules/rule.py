"""What a rule is: an alert or a recording, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """Whom an alert is for."""

    #: Wakes somebody: callers are hurt, or will be within hours.
    CRITICAL = "critical"
    #: Somebody looks in working hours.
    WARNING = "warning"
    #: No notice: it explains others.
    INFO = "info"


class Purpose(StrEnum):
    """Why a run holds a host, as the host's lock says it."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    ACCEPTANCE = "accept"
    DECOMMISSION = "decommission"
    BENCH = "bench"


#: A run of these replaces replicas, and may reload the driver, restart nginx or reboot the host.
CHANGE = frozenset({Purpose.DEPLOY, Purpose.ROLLBACK, Purpose.DECOMMISSION})
#: Besides, replicas stand still while an acceptance burns in the GPUs.
REPLACED = CHANGE | {Purpose.ACCEPTANCE}
#: A bench asks for as much as the engines can do.
LOADED = frozenset({Purpose.BENCH})


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert.

    `expr` is PromQL of Prometheus 2.42; durations in it stand in brackets or after `offset` only, where `rendered`
    may set them to another pace. It holds for `for_s` seconds before the alert fires. `summary` is a sentence that
    names the host, and the model where there is one; `action` what to do next. `hushed_by`: no notice while a run of
    such a purpose holds the host.
    """

    name: str
    severity: Severity
    expr: str
    for_s: int
    summary: str
    action: str
    hushed_by: frozenset[Purpose] = frozenset()


@dataclass(frozen=True, slots=True)
class Recording:
    """A series that Prometheus keeps of an expression, under a name of its own, with labels of its own besides."""

    record: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together, one after the other, every `interval_s` seconds (None: as often as all)."""

    name: str
    rules: tuple[Rule | Recording, ...]
    interval_s: int | None = None
