"""The judgement of an acceptance, from what was measured: pure, every finding with its reason."""

from __future__ import annotations

from collections.abc import Sequence

from ingot.acceptance.finding import Finding, Measured, Verdict
from ingot.acceptance.health import health
from ingot.acceptance.speed import Medians, speed


def judge(measured: Measured, fleet: Sequence[Medians] = ()) -> tuple[Verdict, tuple[Finding, ...]]:
    """The verdict with its findings, failures first. `fleet`: the medians of other hosts."""
    found = [
        *(Finding(Verdict.FAIL, sentence) for sentence in (*measured.differences, *measured.undone)),
        *(Finding(Verdict.WARN, sentence) for sentence in measured.missing),
        *health(measured),
        *speed(measured, fleet),
    ]
    order = (Verdict.FAIL, Verdict.WARN)
    findings = tuple(sorted(found, key=lambda one: order.index(one.verdict)))
    return (findings[0].verdict if findings else Verdict.PASS), findings
