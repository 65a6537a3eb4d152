"""All rules of a fleet, in the order of their subjects."""

from __future__ import annotations

from ingot.monitoring.rules import baseline, engine, gateway, gpu, host, watching
from ingot.monitoring.rules.rule import Group, Rule
from ingot.monitoring.rules.slo import Slo, slo_groups


def groups(slo: Slo | None = None) -> tuple[Group, ...]:
    """Every group of rules; service levels as promised, or as by default."""
    subjects = (gateway, host, watching)
    promised = slo_groups(slo or Slo())
    return (
        *gpu.GROUPS,
        *engine.GROUPS,
        *baseline.GROUPS,
        *promised,
        *(one for each in subjects for one in each.GROUPS),
    )


def alerts(slo: Slo | None = None) -> tuple[Rule, ...]:
    """Every alert."""
    return tuple(rule for group in groups(slo) for rule in group.rules if isinstance(rule, Rule))
