"""Plans shown to people: the same numbers in terminal and HTML, each with its formula."""

from __future__ import annotations

import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser

import pytest
from rich.console import Console

from ingot.catalog import hardware_from_name, peaks
from ingot.report.plan_page import render_page
from ingot.report.plan_terminal import BAR_WIDTH, bar, misfit, print_plan
from ingot.sizing import (
    Calibration,
    CalibrationKey,
    DoesNotFit,
    HostPlan,
    Loading,
    ModelRequest,
    Workload,
    plan_host,
    vllm,
)
from ingot.sizing.units import show_gib
from tests.sizing.conftest import GIB, model

pytestmark = pytest.mark.sizing


@pytest.fixture
def found() -> HostPlan:
    request = ModelRequest(model(), Workload(8192, 8), replicas=2)
    return plan_host(hardware_from_name("a10gx4"), [request], engine=vllm("0.32.0"), peaks=peaks())


@pytest.fixture
def refused() -> DoesNotFit:
    with pytest.raises(DoesNotFit) as error:
        plan_host(hardware_from_name("t4"), [ModelRequest(model(), Workload(8192, 8))], engine=vllm("0.32.0"))
    return error.value


def measured(found: HostPlan) -> Calibration:
    replica = found.replicas[0]
    key = CalibrationKey(
        replica.repository, replica.quantization, found.engine, "cuda", replica.gpu_name,
        replica.tensor_parallel_size, replica.pipeline_parallel_size, replica.max_num_seqs,
        replica.max_num_batched_tokens,
    )  # fmt: skip
    blocks = 10 * replica.sequence_blocks
    return Calibration(
        key,
        weights_bytes=replica.memory.weights.bytes + GIB,
        num_gpu_blocks=blocks,
        kv_cache_tokens=10 * replica.max_model_len,
    )


def printed(found: HostPlan, **options: object) -> str:
    console = Console(width=200, record=True, quiet=False, file=None, force_terminal=False)
    with console.capture() as capture:
        print_plan(found, console=console, **options)  # type: ignore[arg-type]
    return capture.get()


def test_the_terminal_shows_every_term_and_alike_replicas_once(found: HostPlan) -> None:
    text = printed(found)
    replica = found.replicas[0]
    for name in ("weights", "KV cache", "activation", "CUDA graphs", "non-torch", "margin", "free"):
        assert name in text
    assert show_gib(replica.memory.weights.bytes) in text
    assert text.count("█" * 40) == 1
    assert "and 1 more like it on GPU 2, 3" in text
    assert "estimate: from peak figures" in text
    assert replica.memory.weights.formula not in text


def test_formulas_and_sources_are_shown_on_request(found: HostPlan) -> None:
    text = re.sub(r"\s+", " ", printed(found, formulas=True))
    for _, term in found.replicas[0].memory.items():
        if term.bytes:
            assert term.formula in text
            assert term.source in text


def test_the_bar_is_full_and_in_proportion(found: HostPlan) -> None:
    text = bar(found.replicas[0])
    assert len(text.plain) == BAR_WIDTH
    memory = found.replicas[0].memory
    cells = {span.style: span.end - span.start for span in text.spans}
    assert cells["#4269d0"] == pytest.approx(memory.weights.bytes / memory.total.bytes * BAR_WIDTH, abs=2)


def test_prediction_and_measurement_stand_side_by_side(found: HostPlan) -> None:
    text = printed(found, measured=[measured(found)])
    assert "predicted and measured" in text
    assert "+1.00 GiB" in text
    exact = next(line for line in text.splitlines() if "tokens in" in line).split()
    assert exact[-3:] == ["81,920", "81,920", "+0"]


def test_a_benchmark_stands_in_for_the_estimate(found: HostPlan) -> None:
    name = found.replicas[0].model
    text = re.sub(r"\s+", " ", printed(found, benchmarks={name: "99 tokens/s; measured"}))
    page = render_page([found], benchmarks={found.host: {name: "99 tokens/s; measured"}})
    for shown in (text, page):
        assert "99 tokens/s; measured" in shown and "estimate: from peak figures" not in shown
    assert "estimate: from peak figures" in printed(found, benchmarks={"another": "1 token/s"})


@pytest.mark.cache
def test_how_weights_are_read_is_stated_beside_what_the_last_start_took(found: HostPlan) -> None:
    chosen = Loading("prefetch", 16 * GIB, 100 * GIB)
    plan = replace(found, replicas=tuple(replace(one, loading=chosen) for one in found.replicas))
    real = replace(measured(found), loading_s=9.4, loading="prefetch")
    said = "16.00 GiB of files read ahead, 100.00 GiB of the host's memory free; the last start took 9.4 s (read ahead)"
    assert said in printed(plan, measured=[real])
    assert escape(said) in render_page([plan], measured={plan.host: [real]})
    mapped = replace(plan, replicas=(replace(plan.replicas[0], loading=replace(chosen, way="lazy")),))
    assert "mapped and read as used: 16.00 GiB of files, 100.00 GiB of the host's memory free" in printed(mapped)
    assert "the last start took 9.4 s (the engine's own way)" in printed(found, measured=[replace(real, loading=None)])
    assert "loading" not in printed(found)


def test_a_misfit_shows_its_arithmetic_and_what_would_fit(refused: DoesNotFit) -> None:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(misfit(refused))
    text = capture.get()
    for row in refused.table:
        assert row[1] in text
    assert refused.binding in text
    assert all(one in text for one in refused.nearest)


class Page(HTMLParser):
    """What a page refers to and how its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(found: HostPlan, refused: DoesNotFit) -> None:
    html = render_page([found], {"gpu-02": refused}, {found.host: [measured(found)]})
    page = Page()
    page.feed(html)
    assert page.open == []
    assert page.references == []
    assert "url(" not in html
    assert html.count("<details>") >= 6
    assert found.replicas[0].memory.weights.formula in html
    assert "What would fit" in html


def test_names_cannot_break_the_page(found: HostPlan) -> None:
    html = render_page([HostPlan("<script>", found.engine, found.replicas)])
    assert "<script>" not in html
