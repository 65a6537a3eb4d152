"""Engines besides vLLM: their arithmetic on published starts, held to its targets.

`data/engine_starts.json` names the source of each start: repository and issue or file, where known.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import GIB  # noqa: F401  (puts benchmarks on the path)

import engine_accuracy  # isort: skip
from engine_cases import Case, in_words, load_cases  # isort: skip

pytestmark = pytest.mark.engines

STARTS = Path(__file__).parent / "data" / "engine_starts.json"


@pytest.fixture(scope="module")
def judged() -> dict[str, engine_accuracy.Judged]:
    return {case.id: engine_accuracy.judge(case) for case in load_cases(STARTS)}


@pytest.fixture(scope="module")
def figures(judged: dict[str, engine_accuracy.Judged]) -> dict[str, Any]:
    return engine_accuracy.report(list(judged.values()))


def test_the_cache_is_exact(figures: dict[str, Any]) -> None:
    assert figures["kv"]["cases"] >= 20
    assert figures["kv"]["exact"] >= 0.95 * figures["kv"]["cases"], figures["kv"]["misses"]


def test_device_memory_is_within_five_percent(figures: dict[str, Any]) -> None:
    assert figures["total"]["cases"] >= 10
    assert figures["total"]["within_5_pct"] >= 0.8 * figures["total"]["cases"], figures["total"]["misses"]


def test_nothing_that_did_not_fit_is_said_to(figures: dict[str, Any]) -> None:
    assert figures["false_fit"] == []
    assert figures["false_refuse"] == []


def test_what_did_not_fit_is_refused(judged: dict[str, engine_accuracy.Judged]) -> None:
    """One start that --fit had to shrink, and one that Ollama half served from the processor."""
    refused = {name for name, one in judged.items() if one.fit is False}
    assert refused == {"lc-qwen3-30b-a3b-f16-4090-fit", "ol-phi4-partial-8g"}


def test_every_start_is_judged_or_says_why_not(judged: dict[str, engine_accuracy.Judged], figures: Any) -> None:
    for name, one in judged.items():
        assert (name in figures["not_judged"]) != bool(one.kv and one.total), name
        assert all(figures["not_judged"].values())


def test_it_prints_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert engine_accuracy.main([str(STARTS), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"kv", "total", "false_fit", "false_refuse", "not_judged"}
    assert set(found["kv"]) == {"cases", "exact", "misses"}
    assert set(found["total"]) == {"cases", "within_5_pct", "misses"}


def case(**more: Any) -> Case:
    """A start that llama.cpp logged, of a model of 32 layers on one card."""
    raw: dict[str, Any] = {
        "id": "x",
        "tier": "A",
        "engine": "llama.cpp",
        "engine_version": "b8000",
        "gpu": "RTX 3090",
        "gpu_count": 1,
        "flags": {"-c": 8192, "-ngl": 99, "-fa": "on"},
        "geometry": {"n_layer": 32, "n_head_kv": 8, "head_dim": 128, "n_embd": 4096, "n_vocab": 32000},
        "observed": {"outcome": "served", "model_gpu_mib": 8000, "kv_gpu_mib": 1024, "compute_gpu_mib": 80},
    }
    return Case({**raw, **more})


def test_a_wrong_figure_is_a_miss() -> None:
    """The benchmark can fail: a log of another model is no match."""
    observed = {"outcome": "served", "model_gpu_mib": 1000, "kv_gpu_mib": 900, "compute_gpu_mib": 80}
    found = engine_accuracy.report([engine_accuracy.judge(case(observed=observed))])
    assert found["kv"]["misses"][0]["error_pct"] == 13.78
    assert found["total"]["within_5_pct"] == 0


@pytest.mark.parametrize(
    ("outcome", "weights", "verdict"),
    [
        ("served", 8000, (True, [], [])),
        ("failed: out of memory", 24000, (False, [], [])),
        ("failed: out of memory", 8000, (True, ["x"], [])),
        ("served", 24000, (False, [], ["x"])),
        ("failed: unknown tokenizer", 8000, (None, [], [])),
    ],
)
def test_verdicts(outcome: str, weights: int, verdict: tuple[bool | None, list[str], list[str]]) -> None:
    observed = {"outcome": outcome, "model_gpu_mib": weights}
    judged = engine_accuracy.judge(case(observed=observed))
    found = engine_accuracy.report([judged])
    assert (judged.fit, found["false_fit"], found["false_refuse"]) == verdict


def test_a_start_that_was_told_to_use_the_processor_is_no_verdict() -> None:
    flags = {"-c": 8192, "-ngl": 10}
    assert engine_accuracy.judge(case(flags=flags, observed={"outcome": "served", "model_gpu_mib": 99999})).fit is None


@pytest.mark.parametrize("name", ["ncmoe", "-ot"])
def test_flags_are_read_with_and_without_dashes(name: str) -> None:
    assert case(flags={name: "4"}).told_to_split


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (4096, 4096),
        ("auto (4)", 4),
        ("0 (model: 2048)", 2048),
        ("unset, reduced by --fit from 40960 to 4096", 4096),
        ("65536 per slot (4 slots)", 65536),
        ("32k", 32768),
        ("0.85", 0.85),
        ("default", None),
        (True, None),
    ],
)
def test_settings_in_words(words: object, number: float | None) -> None:
    assert in_words(words) == number


def test_windows_follow_the_models_name() -> None:
    geometry = {"n_layer": 48, "n_head_kv": 8, "head_dim": 256, "n_swa": 1024}
    named = engine_accuracy.judge(case(geometry=geometry, model="ggml-org/gemma-3-12b-it-GGUF"))
    assert named.kv and named.kv[0] == 2 * 2 * 8 * 256 * (8 * 8192 + 40 * 1536)


def test_settings_that_the_log_repeats() -> None:
    lines = "llama_kv_cache: size = 1 MiB ( 8192 cells, 32 layers, 4/1 seqs), K (q8_0): 0.5 MiB, V (q8_0): 0.5 MiB"
    judged = engine_accuracy.judge(case(verbatim=lines))
    assert judged.kv and judged.kv[0] == 544 * 2**20
    assert engine_accuracy.llama_settings(case(verbatim=lines)).unified


@pytest.mark.parametrize(("build", "elements"), [("b5000", 2 * 32 * 128), ("b6000", 576 + 512), ("b9000", 576)])
def test_latent_attention_by_build(build: str, elements: int) -> None:
    geometry = {"n_layer": 61, "n_head_kv": 32, "head_dim": 128, "kv_lora_rank": 512, "qk_rope_head_dim": 64}
    judged = engine_accuracy.judge(case(geometry=geometry, engine_version=build))
    assert judged.kv and judged.kv[0] == 2 * 61 * elements * 8192


@pytest.mark.parametrize("name", ["llama.cpp", "llama_cpp", "TensorRT-LLM", "trtllm", "SGLang", "Ollama"])
def test_engines_in_any_spelling(name: str) -> None:
    assert Case({"id": "x", "engine": name}).engine in engine_accuracy.JUDGES


def test_windows_of_some_layers_need_to_be_named() -> None:
    geometry = {"n_layer": 48, "n_head_kv": 8, "head_dim": 256, "n_swa": 1024}
    unnamed = engine_accuracy.judge(case(geometry=geometry))
    assert unnamed.kv is None and "which layers have a window" in unnamed.reasons[0]
    named = engine_accuracy.judge(case(geometry={**geometry, "sliding_window_pattern": 6}))
    assert named.kv and named.kv[0] == 2 * 2 * 8 * 256 * (8 * 8192 + 40 * 1536)


@pytest.mark.parametrize("part", ["flags", "geometry", "observed"])
@pytest.mark.parametrize("value", [None, "x", [1], {"-c": {}, "n_layer": "many", "kv_gpu_mib": [1, None]}])
def test_one_case_that_is_written_otherwise_stops_no_other(part: str, value: object) -> None:
    judged = [engine_accuracy.judge(case(**{part: value})), engine_accuracy.judge(case())]
    found = engine_accuracy.report(judged)
    assert found["kv"]["cases"] >= 1
    assert judged[0].kv is None or part == "flags"
