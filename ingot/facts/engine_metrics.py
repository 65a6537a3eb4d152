"""What each engine calls the same figure in its metrics; a figure that an engine does not have is in no list of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Figure -> its names. Sources: vLLM 0.32 and 0.33 (vllm/v1/metrics/loggers.py), llama.cpp b11669
#: (tools/server/server.cpp), SGLang 0.5.23 (srt/metrics), TGI 3.3.7 (router/src/server.rs). TensorRT-LLM's /metrics is
#: no text of this kind, and Ollama has none.
NAMES: Mapping[str, tuple[str, ...]] = {
    "running": (
        "vllm:num_requests_running",
        "llamacpp:requests_processing",
        "sglang:num_running_reqs",
        "tgi_batch_current_size",
    ),
    "waiting": (
        "vllm:num_requests_waiting",
        "llamacpp:requests_deferred",
        "sglang:num_queue_reqs",
        "tgi_queue_size",
    ),
    "kv_used": ("vllm:kv_cache_usage_perc", "sglang:token_usage"),
    "generated": (
        "vllm:generation_tokens_total",
        "llamacpp:tokens_predicted_total",
        "sglang:generation_tokens_total",
    ),
    "prompt": ("vllm:prompt_tokens_total", "llamacpp:prompt_tokens_total", "sglang:prompt_tokens_total"),
    "prefix_queries": ("vllm:prefix_cache_queries_total",),
    "prefix_hits": ("vllm:prefix_cache_hits_total",),
    "ttft_sum": ("vllm:time_to_first_token_seconds_sum", "sglang:time_to_first_token_seconds_sum"),
    "ttft_count": ("vllm:time_to_first_token_seconds_count", "sglang:time_to_first_token_seconds_count"),
    "preemptions": ("vllm:num_preemptions_total",),
}
#: Name -> figure.
FIGURES: Mapping[str, str] = {name: figure for figure, names in NAMES.items() for name in names}


def lines(*figures: str) -> str:
    """A grep -E expression for the lines of these figures."""
    return f"^({'|'.join(re.escape(name) for figure in figures for name in NAMES[figure])})[{{ ]"


#: Of the text of an engine's metrics, awk prints how many requests run or wait; "none" where they do not say, and
#: "unknown" where a line says that the answer was an error (`status 503`).
BUSY_AWK = (
    '/^status 5/ {n = "unknown"; exit} '
    f"/{lines('running', 'waiting')}/ {{n += $NF; told = 1}} "
    'END {print n == "unknown" ? n : told ? n + 0 : "none"}'
)
