"""Counters of engines, summed over them."""

from __future__ import annotations

import pytest

from ingot.facts.engine_counters import HITS, QUERIES, TTFT_COUNT, TTFT_SUM, EngineCounters, parse_counters

pytestmark = pytest.mark.observe

#: As vLLM 0.32 writes them.
METRICS = """
vllm:prefix_cache_queries_total{engine="0",model_name="tiny-qwen3"} 147.0
vllm:prefix_cache_queries_created{engine="0",model_name="tiny-qwen3"} 1.7959513966441403e+09
vllm:prefix_cache_hits_total{engine="0",model_name="tiny-qwen3"} 16.0
vllm:external_prefix_cache_queries_total{engine="0",model_name="tiny-qwen3"} 9.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="tiny-qwen3"} 2.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="tiny-qwen3"} 0.03384590148925781
""".splitlines()


def test_engines_are_summed_and_other_metrics_left_out() -> None:
    assert parse_counters([*METRICS, *METRICS]) == {
        QUERIES: 294.0,
        HITS: 32.0,
        TTFT_COUNT: 4.0,
        TTFT_SUM: pytest.approx(0.0676918),
    }


def test_what_was_cut_off_or_is_not_there_is_absent() -> None:
    assert parse_counters(["vllm:prefix_cache_hits_total{engine=", "vllm:prefix_cache_hits_total{} x", ""]) == {}


def test_every_engine_is_asked_by_itself() -> None:
    asked = EngineCounters().command(["172.31.213.10:8000", "172.31.213.11:8000"])
    assert asked.count("curl") == 2 and "http://172.31.213.11:8000/metrics" in asked
