"""A model: what its engines do, from vLLM's own metrics (names of 0.32)."""

from __future__ import annotations

from ingot.monitoring.dashboards.panel import HOST, Dashboard, Row, Unit, number, one, quantiles, table
from ingot.monitoring.dashboards.panel import MODEL as MODEL_VARIABLE

_M = 'host=~"$host", model=~"$model"'
_R = "{{host}} {{replica}}"


def _rate(name: str) -> str:
    return f"sum by (host, replica) (rate({name}{{{_M}}}[$__rate_interval]))"


MODEL = Dashboard(
    "model",
    "Model",
    "Engines of a model: speed, queues, cache.",
    (
        Row(
            "Now",
            (
                number("Replicas in the pool", f"sum(ingot_replica_in_pool{{{_M}}})"),
                number("Running", f"sum(vllm:num_requests_running{{{_M}}})"),
                number("Waiting", f"sum(vllm:num_requests_waiting{{{_M}}})"),
                number("Fullest cache", f"max(vllm:kv_cache_usage_perc{{{_M}}})", Unit.SHARE),
                number("Tokens written per s", f"sum(rate(vllm:generation_tokens_total{{{_M}}}[$__rate_interval]))"),
                number("Prompt tokens per s", f"sum(rate(vllm:prompt_tokens_total{{{_M}}}[$__rate_interval]))"),
            ),
        ),
        Row(
            "What callers feel",
            (
                quantiles("First token", "vllm:time_to_first_token_seconds", "model", _M),
                quantiles("Between tokens", "vllm:inter_token_latency_seconds", "model", _M),
                quantiles("Whole answer", "vllm:e2e_request_latency_seconds", "model", _M),
                quantiles("In the queue", "vllm:request_queue_time_seconds", "model", _M),
                quantiles("Prefill", "vllm:request_prefill_time_seconds", "model", _M),
                one(
                    "Ended as",
                    f"sum by (model, finished_reason) (rate(vllm:request_success_total{{{_M}}}[$__rate_interval]))",
                    Unit.PER_S,
                    "{{model}} {{finished_reason}}",
                ),
            ),
        ),
        Row(
            "Engines",
            (
                one("Running", f"sum by (host, replica) (vllm:num_requests_running{{{_M}}})", Unit.NONE, _R),
                one("Waiting", f"sum by (host, replica) (vllm:num_requests_waiting{{{_M}}})", Unit.NONE, _R),
                one("KV cache", f"max by (host, replica) (vllm:kv_cache_usage_perc{{{_M}}})", Unit.SHARE, _R),
                one("Tokens written", _rate("vllm:generation_tokens_total"), Unit.NONE, _R, "Per second."),
                one("Prompt tokens read", _rate("vllm:prompt_tokens_total"), Unit.NONE, _R, "Per second."),
                one("Preemptions", _rate("vllm:num_preemptions_total"), Unit.NONE, _R, "Per second."),
                one(
                    "Found in the prefix cache",
                    f"{_rate('vllm:prefix_cache_hits_total')} / {_rate('vllm:prefix_cache_queries_total')}",
                    Unit.SHARE,
                    _R,
                ),
                one(
                    "Drafted tokens accepted",
                    f"{_rate('vllm:spec_decode_num_accepted_tokens_total')} / "
                    f"{_rate('vllm:spec_decode_num_draft_tokens_total')}",
                    Unit.SHARE,
                    _R,
                ),
                one("Restarts, 1 h", f"increase(ingot_replica_restarts_total{{{_M}}}[1h])", Unit.NONE, _R),
                table("Out of the pool", f"ingot_replica_in_pool{{{_M}}} == 0", width=12),
                table(
                    "Hangs or was ended for memory",
                    f"ingot_replica_hung{{{_M}}} == 1 or ingot_replica_oom_killed{{{_M}}} == 1",
                    width=12,
                ),
            ),
        ),
    ),
    (HOST, MODEL_VARIABLE),
)
