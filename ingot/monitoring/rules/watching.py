"""Alerts of the monitoring itself: what is not seen cannot be well.

Targets have the jobs `node`, `gpu` and `replica`; Prometheus and Alertmanager scrape themselves as `prometheus` and
`alertmanager`, with the monitor's name as `host`.
"""

from __future__ import annotations

from ingot.monitoring.rules.rule import CHANGE, REPLACED, Group, Purpose, Rule, Severity

_DECOMMISSION = frozenset({Purpose.DECOMMISSION})

ALERTS = (
    Rule(
        "IngotHostUnreachable",
        Severity.CRITICAL,
        'up{job="node"} == 0',
        120,
        "Nothing is known of {{ $labels.host }}: its metrics cannot be read.",
        "`ingot status HOST`: where it answers, look at nginx and node exporter there; else at power and network.",
        CHANGE,
    ),
    Rule(
        "IngotReplicaUnseen",
        Severity.WARNING,
        'up{job="replica"} == 0 and on (host, model, replica) ingot_replica_in_pool == 1',
        180,
        "Replica {{ $labels.replica }} of {{ $labels.model }} on {{ $labels.host }} takes requests and gives no "
        "metrics.",
        "It may be too busy to answer within 5 s: look at `ingot status HOST`, then at `docker logs`.",
        REPLACED,
    ),
    Rule(
        "IngotDcgmDown",
        Severity.WARNING,
        'up{job="gpu"} == 0',
        300,
        "The DCGM exporter of {{ $labels.host }} does not answer.",
        "Run `systemctl status nvidia-dcgm-exporter` there. Readings of nvidia-smi go on without it.",
        REPLACED,
    ),
    Rule(
        "IngotMetricsStale",
        Severity.CRITICAL,
        # By change, not by time: no clock has to agree with another. node exporter serves an old file for ever.
        "changes(ingot_collector_last_run_seconds[5m]) == 0 and ingot_collector_last_run_seconds",
        60,
        "{{ $labels.host }} repeats old figures: its collector does not run.",
        "Run `systemctl status ingot-metrics.timer ingot-metrics.service` there. What other alerts say of it is old.",
        _DECOMMISSION,
    ),
    Rule(
        "IngotMetricsMissing",
        Severity.CRITICAL,
        'up{job="node"} == 1 unless on (host) ingot_collector_last_run_seconds',
        300,
        "{{ $labels.host }} gives no figures of GPUs, replicas and gateway.",
        "Deploy it: the collector is missing, or its file cannot be read.",
        CHANGE,
    ),
    Rule(
        "IngotCollectorPartFailed",
        Severity.WARNING,
        "ingot_collector_part_up == 0",
        600,
        "The collector of {{ $labels.host }} cannot read its {{ $labels.part }}.",
        "`journalctl -u ingot-metrics` there says why; the figures of that part are missing, not zero.",
        CHANGE,
    ),
    Rule(
        "IngotTextfileBroken",
        Severity.WARNING,
        "node_textfile_scrape_error == 1",
        300,
        "node exporter of {{ $labels.host }} cannot read a file of metrics.",
        "`journalctl -u prometheus-node-exporter` names the file; one of another program's may be broken.",
    ),
    Rule(
        "IngotEngineMetricMissing",
        Severity.INFO,
        'up{job="replica"} == 1 unless on (host, model, replica) vllm:kv_cache_usage_perc',
        300,
        "Replica {{ $labels.replica }} of {{ $labels.model }} on {{ $labels.host }} does not say how full its "
        "cache is.",
        "Its engine is of another kind or version: the rules that need this metric are silent for it.",
        REPLACED,
    ),
    Rule(
        "IngotRulesFail",
        Severity.WARNING,
        "increase(prometheus_rule_evaluation_failures_total[5m]) > 0",
        300,
        "Prometheus on {{ $labels.host }} cannot evaluate rules of {{ $labels.rule_group }}.",
        "Its log names rule and cause; deploy the monitor again.",
    ),
    Rule(
        "IngotRulesLate",
        Severity.WARNING,
        "increase(prometheus_rule_group_iterations_missed_total[5m]) > 0",
        300,
        "Prometheus on {{ $labels.host }} is late with the rules of {{ $labels.rule_group }}.",
        "It has too little processor or disk for its targets: look at the host, lower `monitoring_keep_days`.",
    ),
    Rule(
        "IngotPrometheusDisk",
        Severity.CRITICAL,
        # A full disk takes no figure of itself either: what was there and comes no more tells it, by any name.
        "increase(prometheus_tsdb_wal_writes_failed_total[10m]) > 0 "
        "or increase(prometheus_tsdb_compactions_failed_total[3h]) > 0 "
        'or last_over_time(up{job="prometheus"}[7d]) unless on (job) last_over_time(up{job="prometheus"}[2m])',
        60,
        "Prometheus on {{ $labels.host }} cannot write what it reads.",
        "Its disk is full or broken: `df -h /var/lib/prometheus` there. Hosts serve on; figures of now are lost, and "
        "without them every other alert ends within minutes, whatever is wrong.",
    ),
    Rule(
        "IngotConfigurationNotTaken",
        Severity.WARNING,
        "prometheus_config_last_reload_successful == 0 or alertmanager_config_last_reload_successful == 0",
        300,
        "The {{ $labels.job }} of {{ $labels.host }} runs with an older configuration than its file.",
        "Its log says what is wrong with the new one; deploy the monitor again.",
    ),
    Rule(
        "IngotAlertmanagerAway",
        Severity.CRITICAL,
        "prometheus_notifications_alertmanagers_discovered < 1 "
        "or increase(prometheus_notifications_errors_total[5m]) > 0",
        300,
        "Prometheus on {{ $labels.host }} does not reach Alertmanager: nobody gets notices.",
        "Run `systemctl status prometheus-alertmanager` there; `ingot alerts` still reads what fires.",
    ),
    Rule(
        "IngotNoticesFail",
        Severity.CRITICAL,
        "increase(alertmanager_notifications_failed_total[10m]) > 0",
        300,
        "Alertmanager on {{ $labels.host }} cannot deliver notices by {{ $labels.integration }}.",
        "Its log says why: address, login or network of the webhook or mail server.",
    ),
    Rule(
        "IngotWatchdog",
        Severity.INFO,
        "vector(1)",
        0,
        "The alerts of this fleet are alive; a receiver that misses this one should say so.",
        "Nothing: it always fires, and `ingot alerts` says where it does not. A service outside that alarms when it "
        "stops can be given it by a route of Alertmanager's: a dead man's switch.",
    ),
)

GROUPS = (Group("ingot-watching", ALERTS),)
