"""What was measured of the models of a plan: benchmarks stand in for estimates where the plan is the same."""

from __future__ import annotations

from collections.abc import Sequence

from ingot.bench.record import Record, newest_of
from ingot.bench.served import subject
from ingot.sizing import HostPlan


def benchmarked(plan: HostPlan, known: Sequence[Record]) -> dict[str, str]:
    """The models of a plan that were benchmarked as it serves them, each with its measured speed in a sentence."""
    found = {}
    for model in dict.fromkeys(one.model for one in plan.replicas):
        replicas = [one for one in plan.replicas if one.model == model]
        record = newest_of(known, subject(model, plan.engine, replicas, len(replicas)))
        if record:
            found[model] = words(record)
    return found


def words(record: Record) -> str:
    """The speed at the level with the most tokens per second, in a sentence. Raises: ValueError where none is."""
    if record.best is None:
        raise ValueError("no level was measured")
    load, measured = record.best
    return (
        f"{measured.output_tokens_per_s:,.0f} tokens/s with {load.level} ({load.lengths}), first token after "
        f"{measured.ttft.p50_s * 1000:,.0f} ms, then one every {measured.itl.p50_s * 1000:,.3g} ms; measured on "
        f"{record.host} at {record.at}"
    )
