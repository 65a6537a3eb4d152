"""The rules as the file that Prometheus reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from ingot.monitoring.rules.baseline import Baseline, baseline_group
from ingot.monitoring.rules.catalogue import groups
from ingot.monitoring.rules.rule import Group, Recording, Rule
from ingot.monitoring.rules.slo import Slo

#: Where a rule's runbook stands.
RUNBOOK = "docs/alerts.md"
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?<=\[)(\d+)([smhd])(?=\])|(?<=offset )(\d+)([smhd])\b")
#: A window needs two scrapes; a test that sets another pace scrapes every second.
_LEAST_WINDOW_S = 5


def rule_file(slo: Slo | None = None, known: Iterable[Baseline] = (), pace: float = 1) -> str:
    """The file's text, with what is `known` of benchmarks.

    `pace`: how many times faster than it should all windows and waits pass; for tests.
    """
    written = {"groups": [_group(group, pace) for group in (baseline_group(known), *groups(slo)) if group.rules]}
    header = "# Written by Ingot (roles/monitoring.py): changes made here are lost at the next deploy.\n"
    return header + yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=110)


def _group(group: Group, pace: float) -> dict[str, Any]:
    every = {} if group.interval_s is None else {"interval": f"{paced_s(group.interval_s, pace, 1)}s"}
    return {"name": group.name, **every, "rules": [_rule(one, pace) for one in group.rules]}


def _rule(rule: Rule | Recording, pace: float) -> dict[str, Any]:
    if isinstance(rule, Recording):
        labels = {"labels": dict(rule.labels)} if rule.labels else {}
        return {"record": rule.record, "expr": at_pace(rule.expr, pace), **labels}
    return {
        "alert": rule.name,
        "expr": at_pace(rule.expr, pace),
        **({"for": f"{paced_s(rule.for_s, pace, 1)}s"} if rule.for_s else {}),
        "labels": {"severity": str(rule.severity)},
        "annotations": {
            "summary": rule.summary,
            "action": rule.action,
            "runbook": f"{RUNBOOK}#{rule.name.lower()}",
        },
    }


def at_pace(expr: str, pace: float) -> str:
    """An expression whose windows pass `pace` times faster."""
    if pace == 1:
        return expr

    def shorter(found: re.Match[str]) -> str:
        number, unit = found.group(1) or found.group(3), found.group(2) or found.group(4)
        return f"{paced_s(int(number) * _UNITS_S[unit], pace, _LEAST_WINDOW_S)}s"

    return _DURATION.sub(shorter, expr)


def paced_s(seconds: int, pace: float, least_s: int) -> int:
    """So many seconds at a pace, not under `least_s`."""
    return seconds if pace == 1 else max(least_s, round(seconds / pace))
