"""The benchmark's figures on published starts of real vLLM, held to their targets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import GIB  # noqa: F401  (puts benchmarks on the path)

import sizing_accuracy  # isort: skip
import sizing_halves  # isort: skip
from sizing_cases import load_cases  # isort: skip

pytestmark = pytest.mark.sizing

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def judged() -> list[sizing_accuracy.Judged]:
    cases = load_cases(DATA / "vllm_starts.json", DATA / "model_configs.json")
    return [sizing_accuracy.judge(case) for case in cases]


@pytest.fixture(scope="module")
def figures(judged: list[sizing_accuracy.Judged]) -> dict[str, object]:
    return sizing_accuracy.report(judged)


def test_every_case_is_judged_or_says_why_not(judged: list[sizing_accuracy.Judged]) -> None:
    assert len(judged) == 131
    for one in judged:
        assert one.capacity_error is not None or one.capacity_reason
        assert one.available_error_pct is not None or one.available_reason
        assert one.fits is not None or one.verdict_reason


def test_capacity_is_within_half_a_percent(figures: dict[str, dict[str, int]]) -> None:
    capacity = figures["kv_capacity"]
    assert capacity["cases"] >= 70
    assert capacity["within_half_pct"] >= 0.97 * capacity["cases"], capacity["misses"]


def test_available_memory_is_predicted_within_its_band(figures: dict[str, dict[str, float]]) -> None:
    available = figures["available"]
    assert available["cases"] >= 40
    assert available["median_abs_error_pct"] <= 2
    assert available["band_holds"] >= 0.90


def test_nothing_that_was_refused_is_said_to_fit(figures: dict[str, dict[str, list[str]]]) -> None:
    verdict = figures["verdict"]
    assert verdict["false_fit"] == []
    assert len(verdict["false_refuse"]) <= verdict["served"] / 50  # type: ignore[operator]


def test_refusals_are_of_the_right_kind(judged: list[sizing_accuracy.Judged]) -> None:
    kinds = {one.case.id: one.kind for one in judged}
    assert kinds["v0-llama31-8b-3090-29k"] == "R5"
    assert kinds["v1-refused-qwen25-7b-a10g-0.6125"] == "R4"
    assert kinds["v1-refused-qwen3coder480b-dp8-h20-095"] == "R5"
    assert kinds["llmd-refused-deepseek-r1-tp1"] == "R2"


def test_other_estimators_are_worse_on_the_same_cases(
    figures: dict[str, dict[str, dict[str, dict[str, float]]]],
) -> None:
    own = figures["available"]["median_abs_error_pct"]
    for peer in figures["peers"].values():
        assert peer["available"]["median_abs_error_pct"] > own  # type: ignore[operator]


def test_json_is_one_object_with_the_agreed_keys(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(DATA / "vllm_starts.json"), str(DATA / "model_configs.json")]
    assert sizing_accuracy.main([*files, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"kv_capacity", "available", "verdict", "peers"}
    assert set(printed["kv_capacity"]) == {"cases", "within_half_pct", "misses"}
    assert set(printed["available"]) == {"cases", "median_abs_error_pct", "band_holds"}
    assert set(printed["verdict"]) == {"served", "refused", "false_fit", "false_refuse"}
    assert all(set(peer) == set(printed) - {"peers"} for peer in printed["peers"].values())


def test_the_text_report_shows_tier_c_apart(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(DATA / "vllm_starts.json"), str(DATA / "model_configs.json")]
    sizing_accuracy.main(files)
    counted, _, shown = capsys.readouterr().out.partition("Tier C: shown, never counted")
    assert "v0-llama31-8b-3090-29k" in counted
    assert "v1-kimi-k2-thinking-tp8-dcp8" not in counted
    assert "v1-kimi-k2-thinking-tp8-dcp8" in shown


def test_no_model_stands_in_both_halves_that_constants_are_judged_by() -> None:
    sides = sizing_halves.halves(load_cases(DATA / "vllm_starts.json", DATA / "model_configs.json"))
    models = [{case.raw.get("config_id") or case.id for case in side} for side in sides]
    assert not models[0] & models[1]
    assert min(len(side) for side in sides) >= 40
    assert all(case.asserted for side in sides for case in side)


def test_other_constants_are_worse_and_are_put_back(judged: list[sizing_accuracy.Judged]) -> None:
    cases = [one.case for one in judged if one.case.asserted and one.available_error_gib is not None]
    shipped = sizing_halves.loss(cases, {})
    assert sizing_halves.loss(cases, {"HIDDEN_ROWS": 40.0}) > 1.5 * shipped
    assert sizing_halves.loss(cases, {}) == shipped
