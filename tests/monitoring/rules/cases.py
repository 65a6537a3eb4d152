"""What fires each rule, and what is just on the other side of its threshold, as input for promtool.

A series is written with a macro for its labels: GPU, GPU2 … (one of the host's), NODE, REPLICA (scraped from the
engine), PLAN (a replica, as the host's collector says it), MONITOR. Values change by so much a minute.
"""

from __future__ import annotations

from dataclasses import dataclass

Series = dict[str, str]

#: Minutes that the short cases last; those of service levels and of days last longer than their longest window.
SHORT_MIN, LONG_MIN = 60, 3 * 1440 + 240
#: When something happens in a short case: late enough to be in a window of 10 minutes, early enough for a wait of 5.
AT_MIN = 54


def always(value: float) -> str:
    """One value for as long as the case lasts, which is what ALL stands for."""
    return f"{value}xALL"


def rises(per_minute: float, start: float = 0) -> str:
    return f"{start}{per_minute:+}xALL"


def steps(before: float | str, after: float) -> str:
    """A value that changes once, late; `_` for none before."""
    return f"{before}x{AT_MIN - 1} {after}x60"


@dataclass(frozen=True)
class Case:
    """`fires`, and each of `silent` on a host of its own."""

    rule: str
    fires: Series
    silent: tuple[Series, ...]
    long: bool = False


def both(rule: str, series: str, fires: str, silent: str, long: bool = False) -> Case:
    """One series decides."""
    return Case(rule, {series: fires}, ({series: silent},), long)


def flag(rule: str, series: str, fires: int = 1) -> Case:
    """A series that is 0 or 1."""
    return both(rule, series, always(fires), always(1 - fires))


_BUSY = {f"ingot_gpu_utilization_ratio{{GPU{n}}}": always(0.9) for n in (1, 2, 3, 4)}


def _powers(watts: float, busy: Series = _BUSY) -> Series:
    like = {f"ingot_gpu_power_watts{{GPU{n}}}": always(300) for n in (2, 3, 4)}
    return {**busy, **like, "ingot_gpu_power_watts{GPU1}": always(watts)}


GPU = (
    Case(
        "IngotGpuLost",
        {"ingot_gpu_expected{NODE}": always(8), "ingot_gpu_seen{NODE}": always(7)},
        (
            {"ingot_gpu_expected{NODE}": always(8), "ingot_gpu_seen{NODE}": always(8)},
            {"ingot_gpu_expected{NODE}": always(0)},
        ),
    ),
    flag("IngotDriverDown", "ingot_driver_up{NODE}", 0),
    flag("IngotDriverMismatch", "ingot_driver_mismatch{NODE}"),
    flag("IngotGpuRecoveryNeeded", 'ingot_gpu_recovery_needed{GPU,action="reset"}'),
    *(
        Case(
            rule,
            {f'ingot_gpu_xid_total{{NODE,uuid="GPU-1",xid="{xid}"}}': steps("_", 1)},
            (
                # It happened an hour ago and is over: nothing latches.
                {f'ingot_gpu_xid_total{{NODE,uuid="GPU-1",xid="{xid}"}}': always(1)},
                {'ingot_gpu_xid_total{NODE,uuid="GPU-1",xid="14"}': steps("_", 1)},
            ),
        )
        for rule, xid in (
            ("IngotXidReboot", 79),
            ("IngotXidReset", 119),
            ("IngotXidLink", 74),
            ("IngotXidMemoryRepaired", 63),
        )
    ),
    both("IngotXidOfProgram", 'ingot_gpu_xid_total{NODE,uuid="GPU-1",xid="31"}', rises(0.2), rises(0.07)),
    # The counter begins with the first report: all of it counts.
    both("IngotXidOfProgram", 'ingot_gpu_xid_total{NODE,uuid="GPU-1",xid="13"}', steps("_", 6), steps("_", 5)),
    both("IngotGpuEccUncorrected", "ingot_gpu_ecc_uncorrected_total{GPU}", steps(3, 4), always(3)),
    both("IngotGpuEccCorrectedMany", "ingot_gpu_ecc_corrected_total{GPU}", rises(1.8), rises(1.6)),
    flag("IngotGpuRowRemapFailed", "ingot_gpu_row_remap_failure{GPU}"),
    flag("IngotGpuRowRemapPending", "ingot_gpu_row_remap_pending{GPU}"),
    both("IngotGpuRowsUncorrectable", "ingot_gpu_remapped_rows_uncorrectable{GPU}", steps(0, 1), always(1)),
    both(
        "IngotGpuRowsCorrectableMany",
        "ingot_gpu_remapped_rows_correctable{GPU}",
        rises(9 / 1440),
        rises(7 / 1440),
        long=True,
    ),
    both("IngotGpuHot", "ingot_gpu_temperature_margin_celsius{GPU}", always(0), always(1)),
    Case(
        "IngotGpuHot",
        {"ingot_gpu_temperature_celsius{GPU}": always(93)},
        (
            {"ingot_gpu_temperature_celsius{GPU}": always(92)},
            # Its own limit decides where it tells one.
            {"ingot_gpu_temperature_celsius{GPU}": always(93), "ingot_gpu_temperature_margin_celsius{GPU}": always(4)},
        ),
    ),
    Case(
        # DCGM's field under our name, for a GPU that the host has no reading of; what a card lacks is a huge number.
        "IngotGpuHot",
        {"DCGM_FI_DEV_GPU_TEMP{DCGM}": always(93)},
        (
            {"DCGM_FI_DEV_GPU_TEMP{DCGM}": always(92)},
            {"DCGM_FI_DEV_GPU_TEMP{DCGM}": always(93), "ingot_gpu_temperature_celsius{GPU}": always(50)},
            {"DCGM_FI_DEV_GPU_TEMP{DCGM}": always(9223372036854775794)},
        ),
    ),
    both("IngotGpuWarm", "ingot_gpu_temperature_margin_celsius{GPU}", always(5), always(6)),
    both("IngotGpuWarm", "ingot_gpu_temperature_celsius{GPU}", always(86), always(85)),
    both("IngotGpuMemoryHot", "ingot_gpu_memory_temperature_celsius{GPU}", always(96), always(95)),
    Case(
        "IngotGpuSlowdown",
        {'ingot_gpu_slowdown{GPU,reason="hw_thermal"}': always(1)},
        (
            {'ingot_gpu_slowdown{GPU,reason="hw_thermal"}': always(0)},
            {'ingot_gpu_slowdown{GPU,reason="power_brake"}': always(1)},
        ),
    ),
    flag("IngotGpuPowerBrake", 'ingot_gpu_slowdown{GPU,reason="power_brake"}'),
    Case(
        "IngotGpuPowerLimitLowered",
        {"ingot_gpu_power_limit_watts{GPU}": always(300), "ingot_gpu_power_default_limit_watts{GPU}": always(350)},
        ({"ingot_gpu_power_limit_watts{GPU}": always(340), "ingot_gpu_power_default_limit_watts{GPU}": always(350)},),
    ),
    Case(
        "IngotGpuPowerOdd",
        _powers(170),
        (_powers(190), _powers(170, _BUSY | {"ingot_gpu_utilization_ratio{GPU1}": always(0.1)})),
    ),
    Case(
        "IngotGpuPcieNarrow",
        {"ingot_gpu_pcie_link_width{GPU}": always(8), "ingot_gpu_pcie_link_width_max{GPU}": always(16)},
        ({"ingot_gpu_pcie_link_width{GPU}": always(16), "ingot_gpu_pcie_link_width_max{GPU}": always(16)},),
    ),
    both("IngotGpuPcieReplays", "DCGM_FI_DEV_PCIE_REPLAY_COUNTER{DCGM}", rises(11), rises(9)),
    flag("IngotGpuFabricDown", "ingot_gpu_fabric_up{GPU}", 0),
)

_RUNS = "vllm:num_requests_running{REPLICA}"
_WAITS = "vllm:num_requests_waiting{REPLICA}"
_TOKENS = "vllm:generation_tokens_total{REPLICA}"
_KV = "vllm:kv_cache_usage_perc{REPLICA}"
_SLOTS = {"ingot_replica_max_sequences{PLAN}": always(16)}
_WAIT_SUM, _WAIT_COUNT = (
    "vllm:request_queue_time_seconds_sum{REPLICA}",
    "vllm:request_queue_time_seconds_count{REPLICA}",
)
_ERROR = 'vllm:request_success_total{REPLICA,finished_reason="error"}'
_STOP = 'vllm:request_success_total{REPLICA,finished_reason="stop"}'
_DRAFTED, _ACCEPTED = (f"vllm:spec_decode_num_{kind}_tokens_total{{REPLICA}}" for kind in ("draft", "accepted"))

ENGINE = (
    Case(
        "IngotModelNotServed",
        {"ingot_replica_in_pool{PLAN}": always(0), "ingot_replica_in_pool{PLAN2}": always(0)},
        ({"ingot_replica_in_pool{PLAN}": always(0), "ingot_replica_in_pool{PLAN2}": always(1)},),
    ),
    flag("IngotReplicaOutOfPool", "ingot_replica_in_pool{PLAN}", 0),
    flag("IngotReplicaDown", "ingot_replica_running{PLAN}", 0),
    Case(
        "IngotReplicaUnhealthy",
        {"ingot_replica_healthy{PLAN}": always(0), "ingot_replica_running{PLAN}": always(1)},
        (
            {"ingot_replica_healthy{PLAN}": always(1), "ingot_replica_running{PLAN}": always(1)},
            {"ingot_replica_healthy{PLAN}": always(0), "ingot_replica_running{PLAN}": always(0)},
        ),
    ),
    flag("IngotReplicaHung", "ingot_replica_hung{PLAN}"),
    Case(
        "IngotEngineStuck",
        {_RUNS: always(3), _TOKENS: always(900)},
        ({_RUNS: always(3), _TOKENS: rises(1)}, {_RUNS: always(0), _TOKENS: always(900)}),
    ),
    both("IngotReplicaRestarts", "ingot_replica_restarts_total{PLAN}", rises(0.21), rises(0.12)),
    Case(
        "IngotReplicaRestarts",
        {"process_start_time_seconds{REPLICA}": rises(300)},
        ({"process_start_time_seconds{REPLICA}": steps(1, 2)},),
    ),
    flag("IngotReplicaOomKilled", "ingot_replica_oom_killed{PLAN}"),
    Case(
        "IngotKvCacheFull",
        {_KV: always(0.96), _WAITS: always(1)},
        ({_KV: always(0.96), _WAITS: always(0)}, {_KV: always(0.94), _WAITS: always(1)}),
    ),
    both("IngotPreemptions", "vllm:num_preemptions_total{REPLICA}", rises(3.3), rises(2.7)),
    Case("IngotQueueLong", {_WAITS: always(17), **_SLOTS}, ({_WAITS: always(15), **_SLOTS},)),
    Case(
        "IngotQueueGrows",
        {_WAITS: rises(0.7)},
        ({_WAITS: rises(0.5)}, {_WAITS: always(30)}),
    ),
    Case(
        "IngotQueueWait",
        {_WAIT_SUM: rises(51), _WAIT_COUNT: rises(10)},
        ({_WAIT_SUM: rises(49), _WAIT_COUNT: rises(10)},),
    ),
    Case(
        "IngotEngineErrors",
        {_ERROR: rises(0.6), _STOP: rises(50)},
        ({_ERROR: rises(0.6), _STOP: rises(70)}, {_ERROR: rises(0.4), _STOP: rises(1)}),
    ),
    Case(
        "IngotSpeculationUseless",
        {_DRAFTED: rises(100), _ACCEPTED: rises(19)},
        ({_DRAFTED: rises(100), _ACCEPTED: rises(21)},),
        long=True,
    ),
)


def _histogram(name: str, edge: str, bad: float, per_minute: float = 100) -> Series:
    return {
        f'{name}_bucket{{REPLICA,le="{edge}"}}': rises(per_minute * (1 - bad)),
        f"{name}_count{{REPLICA}}": rises(per_minute),
    }


def _answers(bad: float, per_minute: float = 100, drained: float = 0) -> Series:
    labels = 'host="HOST",job="node",team="sales",model="qwen"'
    return {
        f'ingot_gateway_requests_total{{{labels},status="200"}}': rises(per_minute * (1 - bad)),
        f'ingot_gateway_requests_total{{{labels},status="502"}}': rises(per_minute * bad),
        f"ingot_gateway_draining_total{{{labels}}}": rises(per_minute * drained),
    }


#: A share just over what each pair of windows allows of a budget of 5 % and of 1 %, and one just under it.
_FACTORS = {"Fast": 14.4, "Steady": 6, "Slow": 3, "Creeping": 1}
SLO = tuple(
    case
    for burn, factor in _FACTORS.items()
    for case in (
        Case(
            f"IngotTtftBurn{burn}",
            _histogram("vllm:time_to_first_token_seconds", "2.5", factor * 0.0505),
            (
                _histogram("vllm:time_to_first_token_seconds", "2.5", factor * 0.0495),
                # Three requests an hour, all slow: nobody is woken for the first ones.
                _histogram("vllm:time_to_first_token_seconds", "2.5", factor * 0.0505, 0.05),
            ),
            long=True,
        ),
        Case(
            f"IngotItlBurn{burn}",
            _histogram("vllm:inter_token_latency_seconds", "0.1", factor * 0.0505),
            (_histogram("vllm:inter_token_latency_seconds", "0.1", factor * 0.0495),),
            long=True,
        ),
        Case(
            f"IngotErrorBurn{burn}",
            _answers(factor * 0.0101),
            (_answers(factor * 0.0099), _answers(factor * 0.0101, drained=factor * 0.005)),
            long=True,
        ),
    )
)

_OF = 'model="qwen",engine="vllm 0.32.0",gpu="L4",gpus="1"'


def _beside_bench(
    itl_s: float, at_once: float = 8, prompts: float = 4, plan: str = "HOST", per_s: float = 10
) -> Series:
    """A model at so much a token; its benchmark had 14 ms with 8 of at most 16 at once, at 4 prompt tokens for one."""
    known = f'{{NODE,{_OF},plan="HOST"}}'
    return {
        f'ingot_model_plan{{NODE,{_OF},plan="{plan}"}}': always(1),
        f"ingot:bench:itl_base_seconds{known}": always(0.01),
        f"ingot:bench:itl_each_seconds{known}": always(0.0005),
        f"ingot:bench:at_once_most{known}": always(16),
        f"ingot:bench:prompt_ratio{known}": always(4),
        _RUNS: always(at_once),
        "vllm:inter_token_latency_seconds_sum{REPLICA}": rises(60 * per_s * itl_s),
        "vllm:inter_token_latency_seconds_count{REPLICA}": rises(60 * per_s),
        _TOKENS: rises(60 * per_s),
        "vllm:prompt_tokens_total{REPLICA}": rises(60 * per_s * prompts),
    }


BENCH = (
    Case(
        "IngotSlowerThanBenchmark",
        _beside_bench(0.018),
        (
            _beside_bench(0.017),
            # More at once, or longer prompts, than were measured: nobody knows how fast that should be.
            _beside_bench(0.1, at_once=17),
            _beside_bench(0.1, prompts=5),
            _beside_bench(0.1, plan="other"),
            _beside_bench(0.1, per_s=0.5),
        ),
        long=True,
    ),
)

_TEAM = 'host="HOST",job="node",team="sales",model="qwen"'
_OK, _LIMITED = (f'ingot_gateway_requests_total{{{_TEAM},status="{status}"}}' for status in (200, 429))
_ACCEPTED_C, _HANDLED_C = (f"ingot_nginx_connections_{kind}_total{{NODE}}" for kind in ("accepted", "handled"))
_BUDGET, _USED = (f'ingot_team_budget_{kind}{{NODE,team="sales",period="day"}}' for kind in ("tokens", "used_tokens"))
_CERTIFICATE = 'ingot_certificate_not_after_seconds{NODE,file="server.crt"}'
_DAY_S = 86400

GATEWAY = (
    flag("IngotNginxDown", "ingot_nginx_up{NODE}", 0),
    Case(
        "IngotConnectionsDropped",
        {_ACCEPTED_C: rises(10), _HANDLED_C: rises(9)},
        ({_ACCEPTED_C: rises(10), _HANDLED_C: rises(10)},),
    ),
    Case(
        "IngotTeamRefusedOften",
        {_OK: rises(9), _LIMITED: rises(3)},
        ({_OK: rises(13), _LIMITED: rises(3)}, {_OK: rises(1), _LIMITED: rises(1.9)}),
    ),
    both(
        "IngotKeysTried",
        'ingot_gateway_requests_total{NODE,team="",model="",status="401"}',
        rises(11),
        rises(9),
    ),
    both("IngotCertificateEnds", _CERTIFICATE, always(2.9 * _DAY_S), always(3.1 * _DAY_S)),
    both("IngotCertificateEndsSoon", _CERTIFICATE, always(20 * _DAY_S), always(25 * _DAY_S), long=True),
    Case(
        "IngotBudgetUsedUp",
        {_BUDGET: always(1000), _USED: always(1000)},
        ({_BUDGET: always(1000), _USED: always(999)},),
    ),
    Case(
        "IngotBudgetNearEnd",
        {_BUDGET: always(1000), _USED: always(901)},
        ({_BUDGET: always(1000), _USED: always(900)}, {_BUDGET: always(1000), _USED: always(1000)}),
    ),
)

_DISK_LABELS = 'NODE,device="/dev/sda1",fstype="ext4",mountpoint="/"'
_AVAILABLE, _SIZE, _FILES_FREE, _FILES, _DEVICE_ERROR = (
    f"node_filesystem_{name}{{{_DISK_LABELS}}}"
    for name in ("avail_bytes", "size_bytes", "files_free", "files", "device_error")
)
_MD = 'NODE,device="md0"'

HOST = (
    flag("IngotCacheUnmounted", "ingot_cache_mounted{NODE}", 0),
    both("IngotCacheNearlyFull", "ingot_cache_free_bytes{NODE}", always(19e9), always(21e9)),
    Case(
        "IngotDiskNearlyFull",
        {_AVAILABLE: always(4), _SIZE: always(100)},
        (
            {_AVAILABLE: always(6), _SIZE: always(100)},
            # The disk of the models is full by design.
            {_AVAILABLE: always(4), _SIZE: always(100), "ingot_cache_size_bytes{NODE}": always(100)},
        ),
    ),
    Case(
        "IngotDiskFillsUp",
        {_AVAILABLE: rises(-150, 1.9e5 + 150 * LONG_MIN), _SIZE: always(4e6)},
        (
            {_AVAILABLE: rises(-150, 1.9e6 + 150 * LONG_MIN), _SIZE: always(4e6)},
            {_AVAILABLE: rises(-10, 1.9e5 + 10 * LONG_MIN), _SIZE: always(4e6)},
        ),
        long=True,
    ),
    Case(
        "IngotInodesNearlyGone",
        {_FILES_FREE: always(4), _FILES: always(100)},
        ({_FILES_FREE: always(6), _FILES: always(100)},),
    ),
    flag("IngotDiskReadOnly", 'ingot_disk_forced_readonly{NODE,device="/dev/sda1",mountpoint="/"}'),
    flag("IngotMountUnreadable", _DEVICE_ERROR),
    Case(
        "IngotRaidDegraded",
        {f"node_md_disks_required{{{_MD}}}": always(2), f'node_md_disks{{{_MD},state="active"}}': always(1)},
        ({f"node_md_disks_required{{{_MD}}}": always(2), f'node_md_disks{{{_MD},state="active"}}': always(2)},),
    ),
    both("IngotMemoryKilled", "node_vmstat_oom_kill{NODE}", steps(1, 2), always(2)),
    Case(
        "IngotMemoryLow",
        {"node_memory_MemAvailable_bytes{NODE}": always(4), "node_memory_MemTotal_bytes{NODE}": always(100)},
        ({"node_memory_MemAvailable_bytes{NODE}": always(6), "node_memory_MemTotal_bytes{NODE}": always(100)},),
    ),
    both("IngotClockOff", "ingot_clock_offset_seconds{NODE}", always(-0.06), always(0.04)),
    both("IngotClockApart", "node_time_seconds{NODE}", rises(60, 3), rises(60, 1)),
    flag("IngotClockUnsynchronised", "ingot_clock_synchronized{NODE}", 0),
    flag("IngotUnitFailed", 'ingot_unit_failed{NODE,unit="docker.service"}'),
    both("IngotHostRebooted", "node_boot_time_seconds{NODE}", steps(100, 5000), always(100)),
    Case(
        "IngotNetworkErrors",
        {
            'node_network_receive_errs_total{NODE,device="eth0"}': rises(11),
            'node_network_receive_packets_total{NODE,device="eth0"}': rises(1000),
        },
        (
            {
                'node_network_receive_errs_total{NODE,device="eth0"}': rises(9),
                'node_network_receive_packets_total{NODE,device="eth0"}': rises(1000),
            },
        ),
    ),
    flag("IngotDriftFound", "ingot_drift_found{NODE}"),
    flag("IngotDeployFailed", "ingot_deploy_succeeded{NODE}", 0),
    flag("IngotAcceptanceFailed", "ingot_acceptance_passed{NODE}", 0),
    Case(
        "IngotHostHeldLong",
        {'ingot_host_held{NODE,purpose="deploy"}': always(1)},
        ({'ingot_host_held{NODE,purpose="deploy"}': f"_x{LONG_MIN - 300} 1x400"},),
        long=True,
    ),
    flag("IngotHostHeld", 'ingot_host_held{NODE,purpose="deploy"}'),
    Case(
        # It reboots under the run, and says nothing meanwhile.
        "IngotHostHeld",
        {'ingot_host_held{NODE,purpose="deploy"}': "1x53 stale", "up{NODE}": steps(1, 0)},
        ({'ingot_host_held{NODE,purpose="deploy"}': "1x53 stale", "up{NODE}": always(1)},),
    ),
)

WATCHING = (
    flag("IngotHostUnreachable", "up{NODE}", 0),
    Case(
        "IngotReplicaUnseen",
        {"up{REPLICA}": always(0), "ingot_replica_in_pool{PLAN}": always(1)},
        (
            {"up{REPLICA}": always(1), "ingot_replica_in_pool{PLAN}": always(1)},
            {"up{REPLICA}": always(0), "ingot_replica_in_pool{PLAN}": always(0)},
        ),
    ),
    flag("IngotDcgmDown", "up{DCGM}", 0),
    both("IngotMetricsStale", "ingot_collector_last_run_seconds{NODE}", always(100), rises(60)),
    Case(
        "IngotMetricsMissing",
        {"up{NODE}": always(1)},
        ({"up{NODE}": always(1), "ingot_collector_last_run_seconds{NODE}": rises(60)}, {"up{NODE}": always(0)}),
    ),
    flag("IngotCollectorPartFailed", 'ingot_collector_part_up{NODE,part="gpus"}', 0),
    flag("IngotTextfileBroken", "node_textfile_scrape_error{NODE}"),
    Case(
        "IngotEngineMetricMissing",
        {"up{REPLICA}": always(1)},
        ({"up{REPLICA}": always(1), _KV: always(0)}, {"up{REPLICA}": always(0)}),
    ),
    both("IngotRulesFail", 'prometheus_rule_evaluation_failures_total{MONITOR,rule_group="x"}', rises(1), always(3)),
    both(
        "IngotRulesLate", 'prometheus_rule_group_iterations_missed_total{MONITOR,rule_group="x"}', rises(1), always(3)
    ),
    both("IngotPrometheusDisk", "prometheus_tsdb_wal_writes_failed_total{MONITOR}", rises(1), always(3)),
    both("IngotPrometheusDisk", "prometheus_tsdb_compactions_failed_total{MONITOR}", steps(0, 1), always(1)),
    flag("IngotConfigurationNotTaken", "prometheus_config_last_reload_successful{MONITOR}", 0),
    flag("IngotConfigurationNotTaken", "alertmanager_config_last_reload_successful{MONITOR}", 0),
    flag("IngotAlertmanagerAway", "prometheus_notifications_alertmanagers_discovered{MONITOR}", 0),
    both("IngotAlertmanagerAway", "prometheus_notifications_errors_total{MONITOR}", rises(1), always(3)),
    both(
        "IngotNoticesFail",
        'alertmanager_notifications_failed_total{MONITOR,integration="webhook"}',
        rises(1),
        always(3),
    ),
)

CASES = GPU + ENGINE + BENCH + SLO + GATEWAY + HOST + WATCHING
