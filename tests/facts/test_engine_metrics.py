"""The same figure by the names of several engines, read by the tools of a host."""

from __future__ import annotations

import subprocess

import pytest

from ingot.facts.engine_metrics import BUSY_AWK, FIGURES, NAMES, lines

pytestmark = pytest.mark.engines

#: As engines write them: vLLM 0.33, llama.cpp b11669, SGLang 0.5.23, TGI 3.3.7.
BUSY = {
    "vllm": 'vllm:num_requests_running{engine="0"} 2.0\nvllm:num_requests_waiting{engine="0"} 1.0',
    "llama.cpp": "llamacpp:requests_processing 2\nllamacpp:requests_deferred 1\nllamacpp:n_decode_total 9",
    "sglang": 'sglang:num_running_reqs{model_name="m"} 2.0\nsglang:num_queue_reqs{model_name="m"} 1.0',
    "tgi": "# TYPE tgi_queue_size gauge\ntgi_queue_size 1\ntgi_batch_current_size 2\ntgi_batch_current_max_tokens 90",
}


def awk(text: str) -> str:
    return subprocess.run(["awk", BUSY_AWK], input=text, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("engine", BUSY)
def test_how_many_requests_run_or_wait(engine: str) -> None:
    assert awk(BUSY[engine]) == "3"


def test_who_does_not_say_is_told_from_who_has_none() -> None:
    assert awk("vllm:num_requests_running 0.0\nstatus 200") == "0"
    assert awk('[{"iter": 1}]\nstatus 200') == "none"
    assert awk("\nstatus 503") == "unknown"


def test_each_name_is_of_one_figure() -> None:
    assert len(FIGURES) == sum(map(len, NAMES.values()))
    # No engine has its own cache's share by another's name.
    assert lines("kv_used") == "^(vllm:kv_cache_usage_perc|sglang:token_usage)[{ ]"
