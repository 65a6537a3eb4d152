"""GPUs: use, memory, heat, power, clocks, and errors that come before a loss."""

from __future__ import annotations

from ingot.monitoring.dashboards.panel import HOST, Dashboard, Row, Unit, number, one, table

_H = 'host=~"$host"'
_GPU = "{{host}} {{index}}"
_XIDS = f"ingot_gpu_xid_total{{{_H}}}"

GPU = Dashboard(
    "gpu",
    "GPU",
    "Readings of nvidia-smi; of DCGM where it is there.",
    (
        Row(
            "Now",
            (
                number("Expected", f"sum(ingot_gpu_expected{{{_H}}})"),
                number("Seen", f"sum(ingot_gpu_seen{{{_H}}})"),
                number("Average use", f"avg(ingot_gpu_utilization_ratio{{{_H}}})", Unit.SHARE),
                number("Power", f"sum(ingot_gpu_power_watts{{{_H}}})", Unit.WATTS),
                number("Hottest", f"max(ingot_gpu_temperature_celsius{{{_H}}})", Unit.CELSIUS),
                number("Slowed down", f"count(max by (host, uuid) (ingot_gpu_slowdown{{{_H}}}) == 1) or vector(0)"),
            ),
        ),
        Row(
            "Work",
            (
                one("Use", f"ingot_gpu_utilization_ratio{{{_H}}}", Unit.SHARE, _GPU),
                one(
                    "Memory used",
                    f"ingot_gpu_memory_used_bytes{{{_H}}} / ingot_gpu_memory_total_bytes{{{_H}}}",
                    Unit.SHARE,
                    _GPU,
                    "Full by design: vLLM takes what the plan gives it.",
                ),
                one("Clock", f"ingot_gpu_sm_clock_hertz{{{_H}}}", Unit.HERTZ, _GPU),
                one("Tensor cores", f"ingot_gpu_tensor_active_ratio{{{_H}}}", Unit.SHARE, _GPU, "DCGM only.", 12),
                one("Memory bandwidth", f"ingot_gpu_dram_active_ratio{{{_H}}}", Unit.SHARE, _GPU, "DCGM only.", 12),
            ),
        ),
        Row(
            "Heat and power",
            (
                one("Temperature", f"ingot_gpu_temperature_celsius{{{_H}}}", Unit.CELSIUS, _GPU),
                one("Temperature of memory", f"ingot_gpu_memory_temperature_celsius{{{_H}}}", Unit.CELSIUS, _GPU),
                one(
                    "Degrees left to its limit",
                    f"ingot_gpu_temperature_margin_celsius{{{_H}}}",
                    Unit.CELSIUS,
                    _GPU,
                    lowest=True,
                ),
                one("Power", f"ingot_gpu_power_watts{{{_H}}}", Unit.WATTS, _GPU),
                one(
                    "Share of the power limit",
                    f"ingot_gpu_power_watts{{{_H}}} / ingot_gpu_power_limit_watts{{{_H}}}",
                    Unit.SHARE,
                    _GPU,
                ),
                one(
                    "Slowed down",
                    f"avg_over_time(ingot_gpu_slowdown{{{_H}}}[10m])",
                    Unit.SHARE,
                    f"{_GPU} {{{{reason}}}}",
                    "Share of the last ten minutes, by reason.",
                ),
            ),
        ),
        Row(
            "Errors",
            (
                one(
                    "Xids, 1 h",
                    # A counter begins with its first Xid, which `increase` cannot see.
                    f"({_XIDS} unless {_XIDS} offset 1h) or increase({_XIDS}[1h])",
                    Unit.NONE,
                    "{{host}} {{uuid}} {{xid}}",
                ),
                one("Corrected errors", f"increase(ingot_gpu_ecc_corrected_total{{{_H}}}[1h])", Unit.NONE, _GPU),
                one("Uncorrectable errors", f"increase(ingot_gpu_ecc_uncorrected_total{{{_H}}}[1h])", Unit.NONE, _GPU),
                one("Rows remapped, correctable", f"ingot_gpu_remapped_rows_correctable{{{_H}}}", Unit.NONE, _GPU),
                one("Rows remapped, uncorrectable", f"ingot_gpu_remapped_rows_uncorrectable{{{_H}}}", Unit.NONE, _GPU),
                one("PCIe lanes", f"ingot_gpu_pcie_link_width{{{_H}}}", Unit.NONE, _GPU, lowest=True),
                table("Asks for", f"ingot_gpu_recovery_needed{{{_H}}} == 1", "What the driver wants done.", 12),
                table("Not in the fabric", f"ingot_gpu_fabric_up{{{_H}}} == 0", width=12),
            ),
        ),
    ),
    (HOST,),
)
