"""What benchmarks say of how fast a model should be: no level that was measured is slow by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.bench.baseline import baseline, baselines
from ingot.bench.load import Load
from ingot.bench.measured import Measured
from ingot.bench.record import Level
from tests.report.test_bench import RECORD, WELL

pytestmark = pytest.mark.observe


def measured(itl_s: float, prompts: int = 512) -> Measured:
    return replace(WELL, itl=replace(WELL.itl, mean_s=itl_s), input_tokens=100 * prompts, output_tokens=12_800)


def level(at_once: int, itl_s: float, **load: float) -> Level:
    return Level(Load(200, at_once, **load), 30.0, measured(itl_s))  # type: ignore[arg-type]


LEVELS = (level(1, 0.010), level(4, 0.011), level(16, 0.018), level(32, 0.024))


def test_the_line_is_of_the_levels_and_none_is_above_it() -> None:
    found = baseline(replace(RECORD, levels=LEVELS))
    assert found and (found.model, found.engine, found.gpus, found.plan) == ("chat", "vllm 0.33.0", 2, "ab12cd34")
    assert (found.at_once, found.prompt_ratio) == (32, 4.0)
    for one in LEVELS:
        assert one.measured
        line = found.base_s + found.each_s * one.load.at_once
        assert one.measured.itl.mean_s <= line + 1e-12 <= 1.2 * one.measured.itl.mean_s


def test_one_level_stands_for_all_below_it_and_faster_with_more_is_level() -> None:
    one = baseline(replace(RECORD, levels=(level(8, 0.02),)))
    assert one and (one.base_s, one.each_s, one.at_once) == (0.02, 0.0, 8)
    falling = baseline(replace(RECORD, levels=(level(1, 0.03), level(8, 0.02))))
    assert falling and (falling.base_s, falling.each_s) == (0.03, 0.0)


def test_what_says_nothing_of_requests_at_once_is_no_baseline() -> None:
    assert baseline(replace(RECORD, levels=(level(2048, 0.02, per_s=2.5),))) is None
    assert baseline(replace(RECORD, levels=(Level(Load(20, 32), 3.0, why="6 of 9 requests failed"),))) is None
    # An address from outside: nobody knows what serves there.
    assert baseline(replace(RECORD, levels=LEVELS, subject=replace(RECORD.subject, gpus=0))) is None


def test_the_newest_that_came_to_its_end_counts_for_each_plan() -> None:
    old = replace(RECORD, levels=LEVELS, why=None)
    new = replace(old, at="2026-11-30T10:00:00+00:00", levels=(level(8, 0.02),))
    stopped = replace(new, at="2026-12-01T10:00:00+00:00", levels=(level(8, 0.5),), why="stopped")
    other = replace(old, subject=replace(old.subject, plan="ffff0000"))
    found = baselines((old, other, new, stopped))
    assert [(one.plan, one.at_once) for one in found] == [("ab12cd34", 8), ("ffff0000", 32)]
