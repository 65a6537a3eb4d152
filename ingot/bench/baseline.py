"""What the kept benchmarks say of how fast models should be, for the alert of one that is slower."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ingot.bench.record import Record, newest_of
from ingot.monitoring.rules.baseline import Baseline


def baselines(known: Sequence[Record]) -> tuple[Baseline, ...]:
    """One of each model, engine, GPU and plan: its newest benchmark that came to its end."""
    newest = (newest_of(known, subject) for subject in dict.fromkeys(one.subject for one in known))
    return tuple(found for record in newest if record and (found := baseline(record)))


def baseline(record: Record) -> Baseline | None:
    """What a benchmark says; None where it has no level with so many requests at once, or no GPU did the work.

    The line is of the least squares, moved up until no level is above it: a level that was measured is never slow.
    """
    subject = record.subject
    levels = [
        (load.at_once, one.itl.mean_s, one.input_tokens / one.output_tokens)
        for load, one in record.measured
        if load.per_s is None and one.itl.mean_s > 0 and one.output_tokens
    ]
    if not levels or not subject.gpus:
        return None
    each = max(_slope([(float(at_once), itl) for at_once, itl, _ in levels]), 0.0)
    return Baseline(
        subject.model,
        subject.engine,
        subject.gpu,
        subject.gpus,
        subject.plan,
        base_s=max(itl - each * at_once for at_once, itl, _ in levels),
        each_s=each,
        at_once=max(at_once for at_once, _, _ in levels),
        prompt_ratio=max(ratio for _, _, ratio in levels),
    )


def _slope(points: Iterable[tuple[float, float]]) -> float:
    """Of the line of the least squares; 0 where there is one x alone."""
    found = list(points)
    x_mean, y_mean = (sum(values) / len(found) for values in zip(*found, strict=True))
    spread = sum((x - x_mean) ** 2 for x, _ in found)
    return sum((x - x_mean) * (y - y_mean) for x, y in found) / spread if spread else 0.0
