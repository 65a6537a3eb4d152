"""Which notices Alertmanager holds back while a run holds a host, and which others say the same already."""

from __future__ import annotations

from typing import Any

from ingot.monitoring.rules.catalogue import alerts
from ingot.monitoring.rules.rule import Purpose

#: An alert that says the same of the same thing more urgently -> those it makes needless, and what tells the thing.
LOUDER: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("IngotGpuHot", ("IngotGpuWarm",), ("host", "uuid")),
    ("IngotCertificateEnds", ("IngotCertificateEndsSoon",), ("host", "file")),
    ("IngotModelNotServed", ("IngotReplicaOutOfPool",), ("host", "model")),
    ("IngotHostUnreachable", ("IngotReplicaUnseen", "IngotDcgmDown"), ("host",)),
    *(
        (f"Ingot{promise}Burn{fast}", tuple(f"Ingot{promise}Burn{one}" for one in slower), ("host", "model"))
        for promise in ("Ttft", "Itl", "Error")
        for fast, slower in (("Fast", ("Steady", "Slow", "Creeping")), ("Steady", ("Slow", "Creeping")))
    ),
)


def inhibitions() -> list[dict[str, Any]]:
    """`inhibit_rules` of an Alertmanager from 0.22 on."""
    held = [
        _rule(
            ['alertname="IngotHostHeld"', f'purpose="{purpose}"'],
            tuple(rule.name for rule in alerts() if purpose in rule.hushed_by),
            ("host",),
        )
        for purpose in Purpose
    ]
    return held + [_rule([f'alertname="{loud}"'], needless, equal) for loud, needless, equal in LOUDER]


def _rule(source: list[str], targets: tuple[str, ...], equal: tuple[str, ...]) -> dict[str, Any]:
    return {
        "source_matchers": source,
        "target_matchers": [f'alertname=~"{"|".join(sorted(targets))}"'],
        "equal": list(equal),
    }
