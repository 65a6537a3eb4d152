"""One host: processor, memory, disks, network, gateway, units, and how its last changes went."""

from __future__ import annotations

from ingot.monitoring.dashboards.panel import HOST as HOST_VARIABLE
from ingot.monitoring.dashboards.panel import Dashboard, Panel, Query, Row, Unit, number, one, table

_H = 'host=~"$host"'
_DISK = f'{_H}, fstype!~"tmpfs|ramfs|overlay|squashfs|nsfs"'

HOST = Dashboard(
    "host",
    "Host",
    "A host below its engines.",
    (
        Row(
            "Now",
            (
                number("Seen", f'min(up{{job="node", {_H}}})'),
                number("GPUs missing", f"sum(ingot_gpu_expected{{{_H}}}) - sum(ingot_gpu_seen{{{_H}}})"),
                number("Failed units", f"count(ingot_unit_failed{{{_H}}} == 1) or vector(0)"),
                number("Drift", f"sum(ingot_drift_found{{{_H}}})"),
                number("Last deploy", f"max(ingot_deploy_end_seconds{{{_H}}}) * 1000", Unit.SINCE),
                number(
                    "Certificate ends in", f"min(ingot_certificate_not_after_seconds{{{_H}}}) - time()", Unit.SECONDS
                ),
            ),
        ),
        Row(
            "Machine",
            (
                one(
                    "Processor",
                    f'1 - avg by (host) (rate(node_cpu_seconds_total{{mode="idle", {_H}}}[$__rate_interval]))',
                    Unit.SHARE,
                    "{{host}}",
                ),
                one("Memory left", f"node_memory_MemAvailable_bytes{{{_H}}}", Unit.BYTES, "{{host}}", lowest=True),
                one("Load", f"node_load5{{{_H}}}", Unit.NONE, "{{host}}"),
                one(
                    "Disks free",
                    f"node_filesystem_avail_bytes{{{_DISK}}} / node_filesystem_size_bytes{{{_DISK}}}",
                    Unit.SHARE,
                    "{{host}} {{mountpoint}}",
                    lowest=True,
                ),
                one("Room for models", f"ingot_cache_free_bytes{{{_H}}}", Unit.BYTES, "{{host}}", lowest=True),
                one(
                    "Disk busy",
                    f"rate(node_disk_io_time_seconds_total{{{_H}}}[$__rate_interval])",
                    Unit.SHARE,
                    "{{host}} {{device}}",
                ),
                Panel(
                    "Network",
                    (
                        Query(
                            f"rate(node_network_receive_bytes_total{{{_H}}}[$__rate_interval])",
                            "{{host}} {{device}} in",
                        ),
                        Query(
                            f"rate(node_network_transmit_bytes_total{{{_H}}}[$__rate_interval])",
                            "{{host}} {{device}} out",
                        ),
                    ),
                    Unit.BYTES_PER_S,
                ),
                one("Clock", f"ingot_clock_offset_seconds{{{_H}}}", Unit.SECONDS, "{{host}}"),
                table("Failed units", f"ingot_unit_failed{{{_H}}} == 1", width=8),
            ),
        ),
        Row(
            "Gateway",
            (
                one("Connections", f"ingot_nginx_connections{{{_H}}}", Unit.NONE, "{{host}} {{state}}"),
                one(
                    "Requests by status",
                    f"sum by (host, status) (rate(ingot_gateway_requests_total{{{_H}}}[$__rate_interval]))",
                    Unit.PER_S,
                    "{{host}} {{status}}",
                ),
                one(
                    "Answered 503 while replicas were replaced",
                    f"sum by (host) (rate(ingot_gateway_draining_total{{{_H}}}[$__rate_interval]))",
                    Unit.PER_S,
                    "{{host}}",
                ),
            ),
        ),
        Row(
            "Monitoring",
            (
                one("Age of figures", f"time() - ingot_collector_last_run_seconds{{{_H}}}", Unit.SECONDS, "{{host}}"),
                one("The collector takes", f"ingot_collector_duration_seconds{{{_H}}}", Unit.SECONDS, "{{host}}"),
                table("Parts that cannot be read", f"ingot_collector_part_up{{{_H}}} == 0", width=8),
            ),
        ),
    ),
    (HOST_VARIABLE,),
)
