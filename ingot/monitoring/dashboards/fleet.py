"""The fleet: is everything well, who waits, which host is ill, when is it full."""

from __future__ import annotations

from ingot.monitoring.dashboards.panel import Dashboard, Panel, Query, Row, Shape, Unit, number, one, quantiles, table

FLEET = Dashboard(
    "fleet",
    "Fleet",
    "All hosts of the inventory on one screen.",
    (
        Row(
            "Now",
            (
                number("Hosts seen", 'sum(up{job="node"})'),
                number("GPUs that answer", "sum(ingot_gpu_seen)"),
                number("Replicas in the pool", "sum(ingot_replica_in_pool)"),
                number("Requests that run", "sum(vllm:num_requests_running)"),
                number("Requests that wait", "sum(vllm:num_requests_waiting)"),
                number("Critical alerts", 'count(ALERTS{alertstate="firing", severity="critical"}) or vector(0)'),
                table(
                    "Alerts",
                    'ALERTS{alertstate="firing", severity=~"critical|warning"}',
                    "docs/alerts.md says what each means, and what to do.",
                ),
            ),
        ),
        Row(
            "Load",
            (
                one(
                    "Tokens written",
                    "sum by (model) (rate(vllm:generation_tokens_total[$__rate_interval]))",
                    Unit.NONE,
                    "{{model}}",
                    "Per second.",
                ),
                one(
                    "Requests by status",
                    "sum by (status) (rate(ingot_gateway_requests_total[$__rate_interval]))",
                    Unit.PER_S,
                    "{{status}}",
                ),
                one("Waiting by model", "sum by (model) (vllm:num_requests_waiting)", Unit.NONE, "{{model}}"),
                quantiles("First token by model", "vllm:time_to_first_token_seconds", "model", ""),
                one("KV cache by host", "max by (host) (vllm:kv_cache_usage_perc)", Unit.SHARE, "{{host}}"),
                Panel(
                    "Error budget burnt, 1 h",
                    (
                        Query("ingot:errors:bad_ratio_1h", "{{host}} {{model}} 5xx"),
                        Query("ingot:ttft:bad_ratio_1h", "{{host}} {{model}} first token"),
                        Query("ingot:itl:bad_ratio_1h", "{{host}} {{model}} later tokens"),
                    ),
                    Unit.SHARE,
                ),
            ),
        ),
        Row(
            "Hosts",
            (
                one("GPU use by host", "avg by (host) (ingot_gpu_utilization_ratio)", Unit.SHARE, "{{host}}"),
                one("Power by host", "sum by (host) (ingot_gpu_power_watts)", Unit.WATTS, "{{host}}"),
                Panel(
                    "Room for models",
                    (Query("ingot_cache_free_bytes", "{{host}}"),),
                    Unit.BYTES,
                    Shape.BARS,
                    lowest=True,
                ),
                table("Held by a run", "ingot_host_held == 1", width=12),
                table("Last deploy failed", "ingot_deploy_succeeded == 0", width=12),
            ),
        ),
    ),
)
