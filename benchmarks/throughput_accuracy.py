"""How true the speed estimates are: judged on published throughput of real engines.

    benchmarks/throughput_accuracy.py CASES.json [--json]

Each entry is estimated from GPU, model, split, lengths and load alone. Tier C is shown apart and never counted. What
cannot be judged is listed with its reason.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from throughput_cases import Entry, load_entries

from ingot.sizing.pace import REACHED, Reached
from ingot.sizing.throughput import output_rate

WITHIN_PCT = 35.0


@dataclass(frozen=True)
class Judged:
    """One entry with the estimate of its output tokens/s and the measured ones, or the reason why there is none."""

    entry: Entry
    estimated: float = 0.0
    measured: float = 0.0
    reason: str = ""

    @property
    def error_pct(self) -> float:
        """How much too high (or, below zero, too low) the estimate is."""
        return (self.estimated / self.measured - 1) * 100


def judge(entry: Entry, reached: Reached = REACHED) -> Judged:
    """The estimate of one entry beside its figure."""
    measured = entry.measured()
    if isinstance(measured, str):
        return Judged(entry, reason=measured)
    if entry.raw.get("tier") == "C":
        return Judged(entry, reason="tier C: one figure that its collector does not assert")
    pace = entry.pace(reached)
    if isinstance(pace, str):
        return Judged(entry, reason=pace)
    load = entry.load(pace)
    if isinstance(load, str):
        return Judged(entry, reason=load)
    if entry.raw.get("measures") == "decode":
        rate = load.sequences / pace.decode_s(load.sequences, load.prompt + load.answer / 2)
    else:
        rate = output_rate(pace, load)
    return Judged(entry, rate * entry.replicas(), measured)


def report(judged: Sequence[Judged]) -> dict[str, Any]:
    """The figures over all entries that can be judged."""
    counted = [one for one in judged if not one.reason]
    errors = [abs(one.error_pct) for one in counted]
    return {
        "cases": len(counted),
        "within_35_pct": sum(1 for error in errors if error <= WITHIN_PCT),
        "median_abs_error_pct": round(statistics.median(errors), 1) if errors else None,
        "misses": [one.entry.id for one in counted if abs(one.error_pct) > WITHIN_PCT],
        "not_judged": {one.entry.id: one.reason for one in judged if one.reason},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge every entry of a file and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parent.parent / "tests" / "sizing" / "data" / "throughput.json"
    parser.add_argument("cases", type=Path, nargs="?", default=here)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args(arguments)
    try:
        judged = [judge(entry) for entry in load_entries(chosen.cases)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        parser.error(f"{chosen.cases} cannot be read as throughput figures ({error!r}); see tests/sizing/data")
    figures = report(judged)
    if chosen.json:
        json.dump(figures, sys.stdout, indent=1)
        print()
        return 0
    for one in judged:
        if not one.reason:
            mark = "" if abs(one.error_pct) <= WITHIN_PCT else "  MISS"
            print(f"{one.entry.id[:56]:56} {one.estimated:9,.1f} {one.measured:9,.1f} {one.error_pct:+7.1f} %{mark}")
    print("\nNot judged")
    for name, reason in figures["not_judged"].items():
        print(f"{name[:56]:56} {reason}")
    print(
        f"\n{figures['within_35_pct']} of {figures['cases']} within {WITHIN_PCT:g} %, "
        f"median of absolute errors {figures['median_abs_error_pct']} %"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
