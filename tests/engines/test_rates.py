"""What an engine says of its own speed: read from its answer, or left out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ingot.engines import ENGINES, LLAMA_CPP, Replica, Values
from ingot.engines.rates import Rates, of_timings, question
from ingot.report.plan_rows import measurement, speed
from ingot.sizing import Calibration, CalibrationKey, HostPlan
from ingot.sizing.calibration import dump, load
from tests.engines.conftest import plan
from tests.sizing.test_processor import KNOWN, planned

pytestmark = pytest.mark.engines

#: In the form of b11434 (tools/server/server-task.cpp, result_timings).
TIMINGS = {
    "cache_n": 0, "prompt_n": 512, "prompt_ms": 92.1, "prompt_per_token_ms": 0.18, "prompt_per_second": 5559.2,
    "predicted_n": 16, "predicted_ms": 21.4, "predicted_per_token_ms": 1.3375, "predicted_per_second": 747.7,
}  # fmt: skip


def test_rates_are_those_of_its_timings() -> None:
    assert of_timings(json.dumps({"choices": [], "timings": TIMINGS})) == Rates(5559.2, 747.7)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"timings": {}}', json.dumps({"timings": {**TIMINGS, "predicted_per_second": None}}),
     json.dumps({"timings": {**TIMINGS, "prompt_per_second": 0}}),
     json.dumps({"timings": {**TIMINGS, "predicted_per_second": float("inf")}})],
)  # fmt: skip
def test_an_answer_without_rates_gives_none(text: str) -> None:
    assert of_timings(text) is None


@pytest.mark.parametrize("context", [256, 8192])
def test_the_question_fits_the_context(replica: Replica, values: Values, context: int) -> None:
    on_host = replace(replica, plan=plan(gpu_uuids=(), engine="llama.cpp"), file="tiny.gguf")
    asked = question(LLAMA_CPP.service(on_host, values), context)
    assert len(str(asked.body["prompt"])) + int(asked.body["max_tokens"]) < context


def test_a_plan_shows_what_its_start_measured_instead_of_the_estimate() -> None:
    one = planned(KNOWN)
    whole = HostPlan("cpu-01", "llama.cpp", (one,))
    key = CalibrationKey(
        one.repository, one.quantization, "llama.cpp", "cpu", "processor", 1, 1, one.max_num_seqs,
        one.max_num_batched_tokens,
    )  # fmt: skip
    stored = dump([Calibration(key, measured_at="2026-11-29T22:00:00+00:00", prefill_tokens_per_s=88.2,
                               decode_tokens_per_s=7.25)])  # fmt: skip
    found = measurement(whole, one, load(json.loads(json.dumps(stored))))
    assert speed(one, {}, found) == (
        "7.25 tokens/s for one sequence, 88.2 tokens/s prefill; measured by its start at 2026-11-29T22:00:00+00:00"
    )
    assert "estimate: from 205 GB/s" in speed(one, {}, None)
    # Beside vLLM it is still llama.cpp's.
    assert measurement(replace(whole, engine="vllm 0.32.0"), one, load(stored)) == found


def test_measurements_without_rates_are_written_as_before() -> None:
    key = CalibrationKey("r", "none", "vllm", "cuda", "A10G", 1, 1, 1, 1)
    assert not any("tokens_per_s" in name for name in Calibration(key).to_dict())


def test_only_what_tells_is_asked() -> None:
    assert [name for name, engine in ENGINES.items() if engine.rates] == ["llama.cpp", "llama.cpp-cuda"]
