"""Whether the constants of memory hold on starts that they were not fitted on.

    benchmarks/sizing_halves.py [CASES.json MODELS.json]

Starts are split in two by model, so that no model stands on both sides. The constants that a start's memory depends on
most are fitted on one half and judged on the other, and the other way round; the shipped ones stand beside.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import sizing_accuracy
from sizing_cases import Case, load_cases

from ingot.sizing import overheads, start

#: What is fitted: the name of each constant in ingot/sizing/overheads.py, and the factors that are tried on it.
FITTED = ("HIDDEN_ROWS", "HIDDEN_ROWS_EAGER", "EXPERT_FACTOR", "GRAPH_BASE_GIB", "GRAPH_MIB_PER_LAYER_AND_SIZE")
FACTORS = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.33, 2.0, 4.0)
ROUNDS = 2


@contextmanager
def constants(values: Mapping[str, float]) -> Iterator[None]:
    """The planner with other constants."""
    before = {name: getattr(overheads, name) for name in values}
    try:
        for name, value in values.items():
            setattr(overheads, name, value)
        start.demand.cache_clear()
        yield
    finally:
        for name, value in before.items():
            setattr(overheads, name, value)
        start.demand.cache_clear()


def figures(cases: Sequence[Case], values: Mapping[str, float]) -> tuple[float, float, int]:
    """Median of absolute errors of the available memory in percent, the share in the band, and false fits."""
    with constants(values):
        summary = sizing_accuracy.summary([sizing_accuracy.judge(case) for case in cases])
    available = summary["available"]
    return available["median_abs_error_pct"], available["band_holds"], len(summary["verdict"]["false_fit"])


def loss(cases: Sequence[Case], values: Mapping[str, float]) -> float:
    """What a fit makes small: the mean of absolute errors in GiB, each counted up to 2."""
    with constants(values):
        errors = [sizing_accuracy.judge(case).available_error_gib for case in cases]
    return statistics.fmean(min(abs(error), 2.0) for error in errors if error is not None)


def fitted(cases: Sequence[Case]) -> dict[str, float]:
    """The constants that fit these starts best, one after the other, from far off the shipped ones."""
    shipped = {name: float(getattr(overheads, name)) for name in FITTED}
    values = {name: value * 2 for name, value in shipped.items()}
    for _ in range(ROUNDS):
        for name in FITTED:
            tried = {factor: {**values, name: shipped[name] * factor} for factor in FACTORS}
            values = min(tried.values(), key=lambda one: loss(cases, one))
    return values


def halves(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """The starts that may be asserted, split by model."""
    models = sorted({str(case.raw.get("config_id") or case.id) for case in cases if case.asserted})
    second = set(models[1::2])
    asserted = [case for case in cases if case.asserted]
    sides: tuple[list[Case], list[Case]] = ([], [])
    for case in asserted:
        sides[str(case.raw.get("config_id") or case.id) in second].append(case)
    return sides


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit each half, judge the other, and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parent.parent / "tests" / "sizing" / "data"
    parser.add_argument("cases", type=Path, nargs="?", default=here / "vllm_starts.json")
    parser.add_argument("models", type=Path, nargs="?", default=here / "model_configs.json")
    chosen = parser.parse_args(arguments)
    one, two = halves(load_cases(chosen.cases, chosen.models))
    for name, here_, there in (("first", one, two), ("second", two, one)):
        values = fitted(here_)
        print(
            f"fitted on the {name} half ({len(here_)} starts): " + ", ".join(f"{k} {v:.3g}" for k, v in values.items())
        )
        for label, cases, used in (
            ("on that half", here_, values),
            ("on the other half", there, values),
            ("shipped constants, on the other half", there, {}),
        ):
            median, band, wrong = figures(cases, used)
            print(f"  {label:38} median {median:.1f} %, in band {band:.0%}, false fits {wrong}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
