"""Alerts of replicas and their engines. Names of vLLM's metrics: `vllm/v1/metrics/loggers.py`, 0.32."""

from __future__ import annotations

from ingot.monitoring.rules.rule import LOADED, REPLACED, Group, Rule, Severity

#: One series for each replica: an engine has one per data-parallel rank.
_BY = "sum by (host, model, replica)"
_REPLICA = "Replica {{ $labels.replica }} of {{ $labels.model }} on {{ $labels.host }}"
_SLOTS = "max by (host, model, replica) (ingot_replica_max_sequences)"

ALERTS = (
    Rule(
        "IngotModelNotServed",
        Severity.CRITICAL,
        "sum by (host, model) (ingot_replica_in_pool) == 0",
        60,
        "No replica of {{ $labels.model }} on {{ $labels.host }} takes requests.",
        "Run `ingot status`; read `docker logs` of its replicas; deploy again, or `ingot rollback HOST`.",
        REPLACED,
    ),
    Rule(
        "IngotReplicaOutOfPool",
        Severity.WARNING,
        "ingot_replica_in_pool == 0",
        300,
        f"{_REPLICA} gets no requests.",
        "`ingot status` says why: a mark of a run that died, a hold of the host's watch, a failed GPU.",
        REPLACED,
    ),
    Rule(
        "IngotReplicaDown",
        Severity.CRITICAL,
        "ingot_replica_running == 0",
        120,
        f"{_REPLICA} does not run.",
        "Read `docker logs` and /var/lib/ingot for what it last said; deploy again.",
        REPLACED,
    ),
    Rule(
        "IngotReplicaUnhealthy",
        Severity.WARNING,
        "ingot_replica_healthy == 0 and ingot_replica_running == 1",
        900,
        f"{_REPLICA} runs and does not answer /health.",
        "A large model takes minutes to load. Else read `docker logs`; `docker restart` ends a hang.",
        REPLACED,
    ),
    Rule(
        "IngotReplicaHung",
        Severity.CRITICAL,
        "ingot_replica_hung == 1",
        0,
        f"{_REPLICA} hangs, says the host's watch.",
        "The watch holds it out and restarts it. If it returns, read `docker logs`, and the Xids.",
        REPLACED,
    ),
    Rule(
        "IngotEngineStuck",
        Severity.CRITICAL,
        f"{_BY} (vllm:num_requests_running) > 0 and {_BY} (rate(vllm:generation_tokens_total[2m])) == 0",
        180,
        f"{_REPLICA} has requests and makes no tokens.",
        "Its health answers 200 all the same. Look at Xids, then `docker restart` it.",
    ),
    Rule(
        "IngotReplicaRestarts",
        Severity.WARNING,
        "increase(ingot_replica_restarts_total[15m]) > 2 "
        'or changes(process_start_time_seconds{job="replica"}[15m]) > 2',
        0,
        f"{_REPLICA} starts again and again.",
        "Read `docker logs`; memory that does not suffice says so at the start. `ingot plan` shows the arithmetic.",
        REPLACED,
    ),
    Rule(
        "IngotReplicaOomKilled",
        Severity.WARNING,
        "ingot_replica_oom_killed == 1",
        0,
        f"{_REPLICA} was ended for want of host memory.",
        "Look at `free -h` and at what else runs; lower CPU offload, or add memory.",
    ),
    Rule(
        "IngotKvCacheFull",
        Severity.WARNING,
        # Full alone is a busy, healthy engine: only with requests that wait.
        f"max by (host, model, replica) (vllm:kv_cache_usage_perc) > 0.95 and {_BY} (vllm:num_requests_waiting) > 0",
        300,
        f"The KV cache of {_REPLICA} is full and requests wait.",
        "Add a replica, shorten the context or use an FP8 cache; `ingot plan` shows what fits.",
        LOADED,
    ),
    Rule(
        "IngotPreemptions",
        Severity.WARNING,
        f"{_BY} (rate(vllm:num_preemptions_total[10m])) > 0.05",
        600,
        f"{_REPLICA} throws away work for want of cache.",
        "Lower `max_num_seqs`, or give it more memory; `ingot bench HOST --users-at` finds what holds.",
        LOADED,
    ),
    Rule(
        "IngotQueueLong",
        Severity.WARNING,
        f"{_BY} (avg_over_time(vllm:num_requests_waiting[10m])) > on (host, model, replica) {_SLOTS}",
        300,
        f"More requests wait before {_REPLICA} than it runs at once.",
        "Add replicas or a host, or limit teams; `ingot usage` shows who asks.",
        LOADED,
    ),
    Rule(
        "IngotQueueGrows",
        Severity.WARNING,
        # Per second: 3 more in five minutes, for fifteen.
        f"{_BY} (deriv(vllm:num_requests_waiting[10m])) > 0.01 and {_BY} (vllm:num_requests_waiting) > 5",
        900,
        f"The queue of {_REPLICA} grows.",
        "More is asked than it serves: add replicas, or limit teams, before callers run into their timeouts.",
        LOADED,
    ),
    Rule(
        "IngotQueueWait",
        Severity.WARNING,
        f"{_BY} (rate(vllm:request_queue_time_seconds_sum[5m])) "
        f"/ {_BY} (rate(vllm:request_queue_time_seconds_count[5m])) > 5",
        300,
        f"Requests to {_REPLICA} wait {{{{ $value | humanizeDuration }}}} on average before they run.",
        "Add replicas or a host, or limit teams.",
        LOADED,
    ),
    Rule(
        "IngotEngineErrors",
        Severity.WARNING,
        f'{_BY} (increase(vllm:request_success_total{{finished_reason="error"}}[10m])) > 5 and '
        f'{_BY} (increase(vllm:request_success_total{{finished_reason="error"}}[10m])) > '
        f"0.01 * {_BY} (increase(vllm:request_success_total[10m]))",
        0,
        f"{_REPLICA} ends requests with errors.",
        "Read `docker logs` for the first error; deploy again or `ingot rollback HOST` if it began with a change.",
    ),
    Rule(
        "IngotSpeculationUseless",
        Severity.INFO,
        f"{_BY} (rate(vllm:spec_decode_num_accepted_tokens_total[1h])) < "
        f"0.2 * {_BY} (rate(vllm:spec_decode_num_draft_tokens_total[1h]))",
        3600,
        f"Fewer than one of five drafted tokens of {_REPLICA} are accepted.",
        "Turn speculation off for this model, or draft fewer tokens: it costs more than it gives.",
    ),
)

GROUPS = (Group("ingot-engine", ALERTS),)
