"""The metrics that a host's own collector writes for node exporter's textfile collector, every 15 s."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: Where node exporter reads what the collector writes.
TEXTFILE = "/var/lib/prometheus/node-exporter/ingot.prom"
#: Seconds between two runs of the collector, and between two scrapes.
INTERVAL_S = 15
#: Upper edges of the histogram of first answers, seconds: vLLM's own of its time to first token, from 0.1 s
#: (`vllm/v1/metrics/loggers.py`, 0.32), so that both can be laid over each other. An SLO's limit is one of them.
FIRST_BYTE_EDGES_S = (0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)


class Kind(StrEnum):
    """What Prometheus calls the type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. A histogram's series are `<name>_bucket`, `_sum` and `_count`. `source`: what the host reads it from.

    A reading that a device, a driver or an engine does not have is left out: it is never 0 instead.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    source: str

    @property
    def series(self) -> tuple[str, ...]:
        """The names that Prometheus stores."""
        if self.kind is Kind.HISTOGRAM:
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)


GPU = ("uuid", "index", "name")
REPLICA = ("model", "replica")
TEAM = ("team", "model")
_SMI = "nvidia-smi --query-gpu, "
_PLAN = "the stored plan"


def _gauge(name: str, labels: tuple[str, ...], text: str, source: str) -> Metric:
    return Metric(name, Kind.GAUGE, labels, text, source)


def _counter(name: str, labels: tuple[str, ...], text: str, source: str) -> Metric:
    return Metric(name, Kind.COUNTER, labels, text, source)


COLLECTOR = (
    _gauge("ingot_collector_last_run_seconds", (), "When the collector last ran, Unix time.", "the clock"),
    _gauge("ingot_collector_duration_seconds", (), "How long the collector took.", "the clock"),
    _gauge(
        "ingot_collector_part_up",
        ("part",),
        "1 where a part of the collector could read its source, 0 where not.",
        "the collector",
    ),
)

GPUS = (
    _gauge("ingot_gpu_expected", (), "GPUs that the host should have.", _PLAN),
    _gauge("ingot_gpu_seen", (), "GPUs that the driver lists and that answer.", _SMI + "uuid"),
    _gauge("ingot_gpu_up", GPU, "1 where a GPU answers, 0 where the driver calls it lost.", _SMI + "uuid"),
    _gauge(
        "ingot_gpu_utilization_ratio", GPU, "Share of time with a kernel running, 0 to 1.", _SMI + "utilization.gpu"
    ),
    _gauge("ingot_gpu_memory_total_bytes", GPU, "Memory of the GPU.", _SMI + "memory.total"),
    _gauge("ingot_gpu_memory_used_bytes", GPU, "Memory in use.", _SMI + "memory.used"),
    _gauge("ingot_gpu_temperature_celsius", GPU, "Temperature of the GPU.", _SMI + "temperature.gpu"),
    _gauge("ingot_gpu_memory_temperature_celsius", GPU, "Temperature of its memory.", _SMI + "temperature.memory"),
    _gauge(
        "ingot_gpu_temperature_margin_celsius",
        GPU,
        "Degrees left to the GPU's own limit, at which it slows down.",
        _SMI + "temperature.gpu.tlimit",
    ),
    _gauge("ingot_gpu_power_watts", GPU, "Power that it draws.", _SMI + "power.draw"),
    _gauge("ingot_gpu_power_limit_watts", GPU, "Power that it may draw now.", _SMI + "power.limit"),
    _gauge(
        "ingot_gpu_power_default_limit_watts", GPU, "Power that it may draw by default.", _SMI + "power.default_limit"
    ),
    _gauge("ingot_gpu_sm_clock_hertz", GPU, "Clock of its multiprocessors.", _SMI + "clocks.sm"),
    _gauge(
        "ingot_gpu_slowdown",
        (*GPU, "reason"),
        "1 while the GPU slows down for a reason: hw_slowdown, hw_thermal, sw_thermal or power_brake.",
        _SMI + "clocks_event_reasons.* (before 535: clocks_throttle_reasons.*)",
    ),
    _counter(
        "ingot_gpu_ecc_corrected_total", GPU, "Corrected errors since the driver loaded.", _SMI + "ecc.errors.corrected"
    ),
    _counter(
        "ingot_gpu_ecc_uncorrected_total",
        GPU,
        "Uncorrectable errors since the driver loaded.",
        _SMI + "ecc.errors.uncorrected",
    ),
    _gauge("ingot_gpu_remapped_rows_correctable", GPU, "Rows remapped for good.", _SMI + "remapped_rows.correctable"),
    _gauge(
        "ingot_gpu_remapped_rows_uncorrectable", GPU, "Rows remapped for good.", _SMI + "remapped_rows.uncorrectable"
    ),
    _gauge("ingot_gpu_row_remap_pending", GPU, "1 where a reset is needed to remap.", _SMI + "remapped_rows.pending"),
    _gauge("ingot_gpu_row_remap_failure", GPU, "1 where a remap failed.", _SMI + "remapped_rows.failure"),
    _gauge("ingot_gpu_pcie_link_width", GPU, "Lanes in use.", _SMI + "pcie.link.width.current"),
    _gauge("ingot_gpu_pcie_link_width_max", GPU, "Lanes that card and slot have.", _SMI + "pcie.link.width.max"),
    _gauge(
        "ingot_gpu_fabric_up", GPU, "1 where it joined the NVLink fabric; only where it has one.", _SMI + "fabric.state"
    ),
    _gauge(
        "ingot_gpu_recovery_needed",
        (*GPU, "action"),
        "1 for the action that the driver asks for, such as reset or reboot; absent where it asks for none.",
        _SMI + "gpu_recovery_action",
    ),
    _counter(
        "ingot_gpu_xid_total",
        ("uuid", "xid"),
        "Xids since boot; `uuid` is the PCI address of a GPU that the driver no longer lists.",
        "the kernel's log",
    ),
    _gauge("ingot_driver_up", (), "1 where nvidia-smi answered within its limit.", "nvidia-smi"),
    _gauge(
        "ingot_driver_mismatch",
        (),
        "1 where the loaded kernel module is of another version than the installed driver.",
        "/proc/driver/nvidia/version and the packages",
    ),
)

REPLICAS = (
    _gauge("ingot_replica_running", REPLICA, "1 where the container of a planned replica runs.", "docker inspect"),
    _gauge("ingot_replica_healthy", REPLICA, "1 where the replica answers /health with 200.", "GET /health"),
    _gauge("ingot_replica_in_pool", REPLICA, "1 where the gateway sends it requests.", "upstreams.json and the holds"),
    _gauge("ingot_replica_hung", REPLICA, "1 where the host's watch found it hung.", "the watch of replicas"),
    _counter("ingot_replica_restarts_total", REPLICA, "Restarts of its container.", "docker inspect, RestartCount"),
    _gauge(
        "ingot_replica_oom_killed", REPLICA, "1 where the kernel last ended it for memory.", "docker inspect, OOMKilled"
    ),
    _gauge("ingot_replica_max_sequences", REPLICA, "Requests that it runs at once.", _PLAN),
    _gauge(
        "ingot_model_plan",
        ("model", "engine", "gpu", "gpus", "plan"),
        "1 for what a model is served by: a benchmark with the same labels is of the same.",
        _PLAN,
    ),
)

GATEWAY = (
    _gauge("ingot_nginx_up", (), "1 where nginx answers its status page.", "stub_status"),
    _gauge(
        "ingot_nginx_connections",
        ("state",),
        "Connections by state: active, reading, writing, waiting.",
        "stub_status",
    ),
    _counter("ingot_nginx_requests_total", (), "Requests since nginx started.", "stub_status"),
    _counter("ingot_nginx_connections_accepted_total", (), "Connections accepted.", "stub_status"),
    _counter("ingot_nginx_connections_handled_total", (), "Connections handled.", "stub_status"),
    _counter(
        "ingot_gateway_requests_total",
        (*TEAM, "status"),
        "Requests that ended, by team, model and HTTP status; `team` is one of the host's teams, or empty.",
        "the access log",
    ),
    _counter(
        "ingot_gateway_draining_total",
        TEAM,
        "Requests answered 503 by the gateway itself, because no replica took them.",
        "the access log: status 503 without an upstream",
    ),
    Metric(
        "ingot_gateway_first_byte_seconds",
        Kind.HISTOGRAM,
        TEAM,
        "Seconds to the first byte of answers with status 200.",
        "the access log, first_byte_s",
    ),
    _gauge("ingot_certificate_not_after_seconds", ("file",), "When a certificate ends, Unix time.", "the file"),
    _gauge(
        "ingot_team_budget_tokens", ("team", "period"), "Tokens that a team may use per minute, day or month.", "teams"
    ),
    _gauge(
        "ingot_team_budget_used_tokens",
        ("team", "period"),
        "Tokens that it used in this period.",
        "the filter's ledger",
    ),
)

HOST = (
    _gauge(
        "ingot_cache_mounted", (), "1 where the cache's directory is there and on its disk.", "/proc/self/mountinfo"
    ),
    _gauge("ingot_cache_size_bytes", (), "Size of the cache's file system.", "statvfs"),
    _gauge("ingot_cache_free_bytes", (), "Bytes free on the cache's file system.", "statvfs"),
    _gauge(
        "ingot_disk_forced_readonly",
        ("device", "mountpoint"),
        "1 where errors made a disk read-only, 0 where not, or where it is mounted so on purpose.",
        "/proc/1/mountinfo",
    ),
    _gauge("ingot_clock_synchronized", (), "1 where the kernel's clock is kept by a time service.", "adjtimex"),
    _gauge("ingot_clock_offset_seconds", (), "Estimated error of the clock.", "adjtimex"),
    _gauge("ingot_unit_failed", ("unit",), "1 for each failed unit of systemd.", "systemctl list-units --failed"),
    _gauge(
        "ingot_host_held",
        ("purpose",),
        "1 while a run of this purpose holds the host, such as deploy or acceptance.",
        "the lock",
    ),
    _gauge("ingot_deploy_end_seconds", (), "When the last deploy ended, Unix time.", "the audit"),
    _gauge("ingot_deploy_succeeded", (), "1 where the last deploy was done, 0 where it failed.", "the audit"),
    _gauge("ingot_drift_found", (), "Differences that the last look for drift found.", "the stored result"),
    _gauge("ingot_drift_checked_seconds", (), "When drift was last looked for, Unix time.", "the stored result"),
    _gauge("ingot_acceptance_passed", (), "1 where the last acceptance passed, 0 where it failed.", "its evidence"),
    _gauge("ingot_acceptance_end_seconds", (), "When the last acceptance ended, Unix time.", "its evidence"),
)

#: Every metric that the collector writes.
CATALOGUE = COLLECTOR + GPUS + REPLICAS + GATEWAY + HOST

#: Where NVIDIA's DCGM exporter is scraped (job `gpu`), recording rules give its fields these names for a GPU that the
#: host's own collector has no such reading of: name -> (DCGM's field, factor to our unit).
#: Source of the fields: NVIDIA/dcgm-exporter, etc/default-counters.csv. MiB, W, °C, MHz, percent there.
FROM_DCGM: dict[str, tuple[str, float]] = {
    "ingot_gpu_utilization_ratio": ("DCGM_FI_DEV_GPU_UTIL", 0.01),
    "ingot_gpu_memory_used_bytes": ("DCGM_FI_DEV_FB_USED", 1048576),
    "ingot_gpu_temperature_celsius": ("DCGM_FI_DEV_GPU_TEMP", 1),
    "ingot_gpu_memory_temperature_celsius": ("DCGM_FI_DEV_MEMORY_TEMP", 1),
    "ingot_gpu_power_watts": ("DCGM_FI_DEV_POWER_USAGE", 1),
    "ingot_gpu_sm_clock_hertz": ("DCGM_FI_DEV_SM_CLOCK", 1_000_000),
    "ingot_gpu_ecc_corrected_total": ("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", 1),
    "ingot_gpu_ecc_uncorrected_total": ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", 1),
    "ingot_gpu_remapped_rows_correctable": ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", 1),
    "ingot_gpu_remapped_rows_uncorrectable": ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", 1),
    "ingot_gpu_row_remap_failure": ("DCGM_FI_DEV_ROW_REMAP_FAILURE", 1),
    "ingot_gpu_row_remap_pending": ("DCGM_FI_DEV_ROW_REMAP_PENDING", 1),
}
#: What only DCGM knows, under a name of ours: name -> (DCGM's field, factor).
ONLY_FROM_DCGM: dict[str, tuple[str, float]] = {
    "ingot_gpu_pcie_replays_total": ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", 1),
    "ingot_gpu_tensor_active_ratio": ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", 1),
    "ingot_gpu_dram_active_ratio": ("DCGM_FI_PROF_DRAM_ACTIVE", 1),
}
#: A reading that a card does not have arrives as a very large number: NVIDIA/dcgm-exporter, 9223372036854775794.
DCGM_ABSENT_ABOVE = 1e15
