"""Speed estimates: held to published figures, and to what must be true of any of them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ingot.catalog import load_gpus, load_models, peaks
from ingot.sizing.pace import Pace, Peak
from ingot.sizing.split import Parallel
from ingot.sizing.throughput import Load, estimate, output_rate

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import throughput_accuracy  # isort: skip
from throughput_cases import Entry, architecture_of, load_entries  # isort: skip

pytestmark = pytest.mark.sizing

DATA = Path(__file__).parent / "data" / "throughput.json"


def pace(
    model: str = "qwen3-8b", gpu: str = "h100", *, scheme: str = "none", tensor: int = 1, nvlink: bool = True
) -> Pace:
    found = load_models()[model].variants[0].architecture
    peak = peaks()[load_gpus()[gpu].name]
    return Pace(found, scheme, Parallel(tensor), peak, nvlink=nvlink, batch=8192)


@pytest.fixture(scope="module")
def judged() -> list[throughput_accuracy.Judged]:
    return [throughput_accuracy.judge(entry) for entry in load_entries(DATA)]


def test_published_figures_are_met_within_their_targets(judged: list[throughput_accuracy.Judged]) -> None:
    figures = throughput_accuracy.report(judged)
    assert figures["cases"] >= 50
    assert figures["within_35_pct"] >= 0.8 * figures["cases"], figures["misses"]
    assert figures["median_abs_error_pct"] <= 20


def test_each_half_of_the_figures_meets_the_targets_by_itself(judged: list[throughput_accuracy.Judged]) -> None:
    counted = [one for one in judged if not one.reason]
    groups = sorted({(str(one.entry.raw["gpu"]), str(one.entry.raw["model"])) for one in counted})
    for half in (0, 1):
        chosen = {group for at, group in enumerate(groups) if at % 2 == half}
        own = [one for one in counted if (one.entry.raw["gpu"], one.entry.raw["model"]) in chosen]
        figures = throughput_accuracy.report(own)
        assert figures["within_35_pct"] >= 0.8 * figures["cases"], figures["misses"]
        assert figures["median_abs_error_pct"] <= 20


def test_a_large_mixture_of_experts_is_met_at_every_concurrency(judged: list[throughput_accuracy.Judged]) -> None:
    own = [one for one in judged if one.entry.raw["model"] == "openai/gpt-oss-120b"]
    assert {one.entry.raw["concurrency"] for one in own} >= {1, 2, 4, 8, 16, 32, 64}
    assert all(not one.reason and abs(one.error_pct) <= throughput_accuracy.WITHIN_PCT for one in own)


def test_every_figure_is_judged_or_says_why_not(judged: list[throughput_accuracy.Judged]) -> None:
    assert len(judged) == 99
    assert all(one.reason or (one.estimated > 0 and one.measured > 0) for one in judged)


def test_json_is_one_object_with_the_agreed_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert throughput_accuracy.main([str(DATA), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"cases", "within_35_pct", "median_abs_error_pct", "misses", "not_judged"}
    assert printed["cases"] + len(printed["not_judged"]) == 99
    assert all(isinstance(reason, str) and reason for reason in printed["not_judged"].values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gpu": "abacus"}, "not in the catalog"),
        ({"weights": "UNSET"}, "no number format"),
        ({"engine": "tensorrt-llm"}, "does not describe"),
        ({"model": "nobody/knows-9b"}, "does not know the shape"),
        ({"load": "open"}, "offered"),
        ({"load": "closed", "concurrency": None}, "in flight"),
        ({"isl": None}, "lengths"),
        ({"output_tok_s": None, "total_tok_s": None}, "neither output"),
        ({"tier": "C"}, "tier C"),
        ({"gpu_count": 2, "tp": None}, "several GPUs"),
    ],
)
def test_what_decides_a_figure_and_is_not_stated_is_a_reason(change: dict[str, object], words: str) -> None:
    entry = next(one for one in load_entries(DATA) if one.id == "gpustack-qwen3-32b-h100-1996x100")
    assert not throughput_accuracy.judge(entry).reason
    assert words in throughput_accuracy.judge(Entry({**entry.raw, **change})).reason


def test_models_are_found_by_their_repositories_and_other_sizes_are_not() -> None:
    assert architecture_of("Qwen/Qwen3-30B-A3B-FP8") == architecture_of("Qwen/Qwen3-30B-A3B")
    assert isinstance(architecture_of("deepseek-ai/DeepSeek-V3.2"), str)
    assert isinstance(architecture_of("Qwen/Qwen3-9000B"), str)


def test_more_sequences_give_more_tokens_and_each_fewer() -> None:
    rates = [output_rate(pace(), Load(512, 256, count)) for count in (1, 4, 16, 64, 256)]
    assert rates == sorted(rates)
    each = [rate / count for rate, count in zip(rates, (1, 4, 16, 64, 256), strict=True)]
    assert each == sorted(each, reverse=True)


def test_longer_prompts_cost_answers() -> None:
    assert output_rate(pace(), Load(8192, 256, 32)) < output_rate(pace(), Load(512, 256, 32)) / 2


def test_gpus_that_talk_over_pcie_are_slower_than_over_nvlink() -> None:
    linked, bus = pace(tensor=4), pace(tensor=4, nvlink=False)
    assert bus.decode_s(32, 2048) > linked.decode_s(32, 2048)
    assert bus.prefill_s(8192) > 1.5 * linked.prefill_s(8192)
    assert linked.decode_s(1, 2048) < pace().decode_s(1, 2048)


def test_one_stream_of_a_mixture_reads_few_experts_and_many_streams_most() -> None:
    mixture = pace("gpt-oss-120b", scheme="mxfp4")
    one, many = mixture.decode_s(1, 1024), mixture.decode_s(256, 1024)
    assert 200 < 1 / one < 600  # measured: up to 511
    assert many > 4 * one


def test_four_bit_weights_help_one_stream_and_not_prefill() -> None:
    assert pace(scheme="awq-int4").decode_s(1, 1024) < 0.6 * pace().decode_s(1, 1024)
    assert pace(scheme="awq-int4").prefill_s(8192) == pytest.approx(pace().prefill_s(8192), rel=0.05)


def test_a_plan_s_estimate_says_what_bounds_it() -> None:
    assert estimate(pace(), context=4096, sequences=8).bound == "memory bandwidth"
    slow = replace(pace("qwen2.5-0.5b-instruct"), peak=Peak(8e12, 2e15))
    assert estimate(slow, context=256, sequences=1).bound == "overhead of each step"
    rates = estimate(pace(), context=4096, sequences=8)
    assert rates.output_tokens_per_s < rates.decode_tokens_per_s
    assert rates.token_s == pytest.approx(8 / rates.decode_tokens_per_s, rel=0.01)
