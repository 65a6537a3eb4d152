"""A benchmark for people: its table, its sentences and its page."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from rich.console import Console

from ingot.bench.load import Load
from ingot.bench.measured import Measured, Spread
from ingot.bench.record import Level, Record
from ingot.bench.served import Subject
from ingot.facts.engine_counters import HITS, QUERIES
from ingot.report.bench import Bars, cells, sentences
from ingot.report.bench_page import render
from tests.report.test_plans import Page

pytestmark = pytest.mark.observe

WELL = Measured(
    200, 1, 30.0, Spread(0.25, 0.2, 0.5, None), Spread(0.02, 0.0125, None, None), Spread(1.0, 1.5, 2.0, 3.0),
    4.0, 1234.5, 5000.0, 25_600, 6_400, 0.975, 3.9,
)  # fmt: skip
LEVELS = (
    Level(Load(200, 4), 30.0, WELL, counters={QUERIES: 1000.0, HITS: 250.0}),
    Level(Load(20, 16), 30.0, replace(WELL, within=None, goodput_per_s=None)),
    Level(Load(20, 32), 3.0, why="6 of 9 requests failed"),
)
RECORD = Record(
    "gpu-01", "2026-11-29T10:00:00+00:00", "ops@desk", "gpu-02", "https://llm.example",
    Subject("chat", "ab12cd34", "vllm 0.33.0", "bf16", "org/chat", "NVIDIA A10G", 2, 2), LEVELS,
    {"ttft": 1.0, "itl": 0.05}, users=12, why="32 at once: 6 of 9 requests failed",
)  # fmt: skip


def test_a_row_has_what_was_measured_and_a_dash_where_nothing_is_known() -> None:
    assert cells(LEVELS[0]) == (
        "4 at once", "200", "1", "1,234", "200 / 500", "12.5", "1.5 / 2 / 3", "98%", "3.9", "25%",
    )  # fmt: skip
    assert cells(LEVELS[1])[-3:] == ("-", "-", "-")
    assert cells(LEVELS[2]) == ("32 at once, stopped", *["-"] * 9)


def test_sentences_say_what_was_asked_what_holds_and_why_it_ended() -> None:
    said = list(sentences(RECORD, None))
    assert said == [
        "chat (bf16) on vllm 0.33.0, 2 replicas on 2 x NVIDIA A10G, asked at https://llm.example from gpu-02",
        "prompts of 512 tokens, answers of 128; a time is p50 / p95 / p99, where enough requests were made to tell",
        "ttft 1 s, itl 50 ms holds for 12 users at once (95 % of their requests)",
        "stopped: 32 at once: 6 of 9 requests failed",
    ]
    assert "at least 12 users" in list(sentences(replace(RECORD, users_at_least=True), None))[2]


def test_the_page_needs_nothing_from_elsewhere_and_escapes_what_it_shows() -> None:
    text = render(replace(RECORD, host="<b>", why="<script>alert(1)</script>"), RECORD)
    page = Page()
    page.feed(text)
    assert page.open == [] and page.references == []
    assert "<script" not in text and "&lt;b&gt;" in text
    assert len(re.findall(r'<svg [^>]*role="img" aria-label="[^"]+"', text)) == 4
    assert "1,234" in text and "requests at once" in text and text.count("<circle") == 4 * 2 * 2


def test_an_open_loop_is_plotted_over_its_rate() -> None:
    levels = (Level(Load(20, 2048, per_s=2.5), 30.0, WELL),)
    assert "over requests per second" in render(replace(RECORD, levels=levels), None)
    # A record without one level has a page too.
    assert "<svg" not in render(replace(RECORD, levels=LEVELS[2:]), None)


def test_where_nobody_watches_each_level_is_said_once() -> None:
    console = Console(width=100)
    with console.capture() as out, Bars(console) as bars:
        for done in range(3):
            bars.say("4 at once", done, 9, 0)
        bars.say("8 at once", 0, 9, 0)
    assert out.get().splitlines() == ["4 at once …", "8 at once …"]
