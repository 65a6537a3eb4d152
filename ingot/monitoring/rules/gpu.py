"""Alerts of GPUs and their driver.

Sources of limits: NVIDIA's Xid catalog (`ingot/facts/xid.py`); leptonai/gpud's for slowdown and heat (margin to the
card's own limit); NVIDIA's GPU memory error management for row remaps.
"""

from __future__ import annotations

from ingot.facts.xid import CATALOG, Action
from ingot.monitoring.metrics import DCGM_ABSENT_ABOVE, FROM_DCGM, ONLY_FROM_DCGM
from ingot.monitoring.rules.rule import CHANGE, Group, Purpose, Recording, Rule, Severity

_GPU = "GPU {{ $labels.index }} ({{ $labels.name }}) of {{ $labels.host }}"
_ACCEPTANCE = frozenset({Purpose.ACCEPTANCE})
#: Xids that tell of memory that was repaired, and which a person watches: NVIDIA's catalog, "row remapping".
WATCHED_XIDS = (63, 92, 94)
#: Xids that a program causes by itself.
PROGRAM_XIDS = (13, 31, 43, 45)


def _xids(*actions: Action) -> str:
    return "|".join(str(number) for number, (_, action) in sorted(CATALOG.items()) if action in actions)


def _new_xids(numbers: str) -> str:
    """Counts that rose in 10 minutes, also from nothing: the counter of a number begins with its first report, which
    `increase` cannot see, and ends with it, so that nothing latches."""
    xids = f'ingot_gpu_xid_total{{xid=~"{numbers}"}}'
    return f"{xids} > 0 unless ({xids} == {xids} offset 10m)"


def _xids_of_an_hour(numbers: str) -> str:
    """How many in an hour: all of a counter that was not there before it, of which `increase` misses the first."""
    xids = f'ingot_gpu_xid_total{{xid=~"{numbers}"}}'
    return f"({xids} unless {xids} offset 1h) or increase({xids}[1h])"


def _xid_rule(name: str, severity: Severity, numbers: str, says: str, action: str) -> Rule:
    return Rule(
        name,
        severity,
        _new_xids(numbers),
        0,
        "GPU {{ $labels.uuid }} of {{ $labels.host }} reported Xid {{ $labels.xid }}: " + says,
        action,
    )


def from_dcgm(name: str, field: str, factor: float) -> Recording:
    """A name of ours for a field of DCGM's, for a GPU that the host's own collector has no such reading of."""
    value = f"{field} < {DCGM_ABSENT_ABOVE:.0f}"
    for ours, theirs in (("uuid", "UUID"), ("index", "gpu"), ("name", "modelName")):
        value = f'label_replace({value}, "{ours}", "$1", "{theirs}", "(.+)")'
    scaled = f"max by (host, uuid, index, name) ({value})" + (f" * {factor:g}" if factor != 1 else "")
    own = f' unless on (host, uuid) {name}{{job="node"}}' if name in FROM_DCGM else ""
    return Recording(name, scaled + own)


RECORDINGS = tuple(from_dcgm(name, *field) for name, field in (FROM_DCGM | ONLY_FROM_DCGM).items())

ALERTS = (
    Rule(
        "IngotGpuLost",
        Severity.CRITICAL,
        # Also when nothing is seen at all; never by absence alone, which an exporter that died looks like too.
        "ingot_gpu_expected - (ingot_gpu_seen or 0 * ingot_gpu_expected) > 0",
        60,
        "{{ $labels.host }} has {{ $value }} GPUs fewer than its plan expects.",
        "Run `nvidia-smi -L` and `dmesg | grep -i nvrm` there; reboot the host, and power-cycle it where the GPU stays "
        "away. `ingot probe` shows what is left.",
        CHANGE,
    ),
    Rule(
        "IngotDriverDown",
        Severity.CRITICAL,
        "ingot_driver_up == 0",
        120,
        "The NVIDIA driver of {{ $labels.host }} does not answer.",
        "Run `nvidia-smi` there and read what it says; deploy again, which repairs driver and module, or reboot.",
        CHANGE,
    ),
    Rule(
        "IngotDriverMismatch",
        Severity.CRITICAL,
        "ingot_driver_mismatch == 1",
        300,
        "{{ $labels.host }} runs another version of the NVIDIA module than is installed.",
        "Deploy the host again: it drains, reboots and comes back with one version. Hold the driver's packages if "
        "something else upgraded them.",
        CHANGE,
    ),
    Rule(
        "IngotGpuRecoveryNeeded",
        Severity.CRITICAL,
        "ingot_gpu_recovery_needed == 1",
        60,
        f"The driver asks for {{{{ $labels.action }}}} of {_GPU}.",
        "Drain the host, then do what the driver asks for; `ingot accept` proves the GPU afterwards.",
    ),
    _xid_rule(
        "IngotXidReboot",
        Severity.CRITICAL,
        _xids(Action.POWER_CYCLE, Action.REBOOT, Action.RESTART_VM, Action.CHECK_POWER),
        "the host has to be restarted.",
        "Drain the host and power-cycle it (79: fell off the bus; 54: power cable). If it returns, have card, power "
        "and riser checked.",
    ),
    _xid_rule(
        "IngotXidReset",
        Severity.CRITICAL,
        _xids(Action.RESET, Action.DRAIN_AND_RESET),
        "the GPU computes nothing right until it is reset.",
        "Drain the host, stop what uses the GPU, `nvidia-smi --gpu-reset -i UUID`; reboot where that fails.",
    ),
    _xid_rule(
        "IngotXidLink",
        Severity.CRITICAL,
        _xids(Action.RESET_LINKED),
        "an NVLink failed.",
        "Reset the GPUs that NVLink joins, or reboot; if it returns, have bridge or baseboard checked.",
    ),
    _xid_rule(
        "IngotXidMemoryRepaired",
        Severity.WARNING,
        "|".join(map(str, WATCHED_XIDS)),
        "memory was found bad and set aside.",
        "Nothing at once. Look at the alerts of row remaps; a GPU that does it weekly is to be replaced.",
    ),
    Rule(
        "IngotXidOfProgram",
        Severity.INFO,
        f"sum by (host, uuid) ({_xids_of_an_hour('|'.join(map(str, PROGRAM_XIDS)))}) > 5",
        0,
        "Programs on GPU {{ $labels.uuid }} of {{ $labels.host }} failed again and again.",
        "Read the engine's log around the Xids of `dmesg`; it is nearly always the program, seldom the card.",
    ),
    Rule(
        "IngotGpuEccUncorrected",
        Severity.CRITICAL,
        "increase(ingot_gpu_ecc_uncorrected_total[10m]) > 0",
        0,
        f"{_GPU} had uncorrectable memory errors.",
        "Drain the host and reset the GPU; `ingot accept` afterwards. If it returns, replace the card.",
    ),
    Rule(
        "IngotGpuEccCorrectedMany",
        Severity.WARNING,
        "increase(ingot_gpu_ecc_corrected_total[1h]) > 100",
        0,
        f'{_GPU} corrected {{{{ $value | printf "%.0f" }}}} memory errors in an hour.',
        "Watch row remaps; plan a replacement where the number grows.",
    ),
    Rule(
        "IngotGpuRowRemapFailed",
        Severity.CRITICAL,
        "ingot_gpu_row_remap_failure == 1",
        0,
        f"{_GPU} could not set bad memory aside.",
        "Take the GPU out and have the card replaced: NVIDIA's own condition for a return.",
    ),
    Rule(
        "IngotGpuRowRemapPending",
        Severity.WARNING,
        "ingot_gpu_row_remap_pending == 1",
        300,
        f"{_GPU} sets bad memory aside at its next reset.",
        "Drain and reset the GPU, or reboot, when it suits.",
    ),
    Rule(
        "IngotGpuRowsUncorrectable",
        Severity.CRITICAL,
        "delta(ingot_gpu_remapped_rows_uncorrectable[10m]) > 0",
        0,
        f"{_GPU} set aside memory after an uncorrectable error.",
        "Drain and reset the GPU; what ran on it may have computed wrong.",
    ),
    Rule(
        "IngotGpuRowsCorrectableMany",
        Severity.WARNING,
        "delta(ingot_gpu_remapped_rows_correctable[1d]) > 8",
        0,
        f'{_GPU} set aside {{{{ $value | printf "%.0f" }}}} rows of memory in a day.',
        "Plan a replacement: cards that do so were seen to vanish weeks later.",
    ),
    Rule(
        "IngotGpuHot",
        Severity.CRITICAL,
        "ingot_gpu_temperature_margin_celsius <= 0 or "
        "(ingot_gpu_temperature_celsius > 92 unless on (host, uuid) ingot_gpu_temperature_margin_celsius)",
        120,
        f"{_GPU} is at its limit of temperature.",
        "Look at fans, dust and the room; lower `nvidia-smi -pl` until the cause is found.",
    ),
    Rule(
        "IngotGpuWarm",
        Severity.WARNING,
        "ingot_gpu_temperature_margin_celsius <= 5 or "
        "(ingot_gpu_temperature_celsius > 85 unless on (host, uuid) ingot_gpu_temperature_margin_celsius)",
        300,
        f"{_GPU} is within a few degrees of slowing down.",
        "Look at fans, dust and the room before the next hot day.",
        _ACCEPTANCE,
    ),
    Rule(
        "IngotGpuMemoryHot",
        Severity.WARNING,
        "ingot_gpu_memory_temperature_celsius > 95",
        300,
        f"The memory of {_GPU} is at {{{{ $value }}}} °C.",
        "Look at cooling; memory this hot ages and slows down.",
        _ACCEPTANCE,
    ),
    Rule(
        "IngotGpuSlowdown",
        Severity.WARNING,
        # Idle (0x1) and the power cap (0x4) are normal and not among the reasons.
        "sum by (host, uuid, index, name) "
        '(avg_over_time(ingot_gpu_slowdown{reason=~"hw_slowdown|hw_thermal|sw_thermal"}[10m])) > 0.1',
        600,
        f"{_GPU} slows itself down.",
        "Look at its temperature and at `nvidia-smi -q -d PERFORMANCE`; it serves more slowly than its like.",
        _ACCEPTANCE,
    ),
    Rule(
        "IngotGpuPowerBrake",
        Severity.WARNING,
        'avg_over_time(ingot_gpu_slowdown{reason="power_brake"}[10m]) > 0.1',
        300,
        f"The power supply holds {_GPU} back.",
        "Look at the host's power supplies and cables, and at the rack's budget of power.",
    ),
    Rule(
        "IngotGpuPowerLimitLowered",
        Severity.WARNING,
        "ingot_gpu_power_limit_watts < 0.95 * ingot_gpu_power_default_limit_watts",
        600,
        f'The power limit of {_GPU} was lowered to {{{{ $value | printf "%.0f" }}}} W.',
        "If nobody meant it: `nvidia-smi -pl WATTS` with the default that `nvidia-smi -q -d POWER` shows.",
    ),
    Rule(
        "IngotGpuPowerOdd",
        Severity.WARNING,
        # A median needs like to compare with: four busy GPUs of the same name.
        "(ingot_gpu_power_watts and on (host, uuid) ingot_gpu_utilization_ratio > 0.8) < on (name) group_left () "
        "(0.6 * quantile by (name) (0.5, ingot_gpu_power_watts and on (host, uuid) ingot_gpu_utilization_ratio > 0.8) "
        "and on (name) count by (name) "
        "(ingot_gpu_power_watts and on (host, uuid) ingot_gpu_utilization_ratio > 0.8) >= 4)",
        900,
        f"{_GPU} is busy at far less power than its like.",
        "Compare clocks with `nvidia-smi -q -d CLOCK`; run `ingot accept`, which measures what it computes.",
        _ACCEPTANCE,
    ),
    Rule(
        "IngotGpuPcieNarrow",
        Severity.WARNING,
        "ingot_gpu_pcie_link_width < ingot_gpu_pcie_link_width_max",
        900,
        f"{_GPU} uses {{{{ $value }}}} PCIe lanes, fewer than card and slot have.",
        "Reseat card or riser at the next stop; loading models and traffic between GPUs are slower.",
    ),
    Rule(
        "IngotGpuPcieReplays",
        Severity.WARNING,
        "increase(ingot_gpu_pcie_replays_total[10m]) > 100",
        0,
        f"{_GPU} repeats transfers over PCIe.",
        "Reseat card or riser; such links end in Xid 79.",
    ),
    Rule(
        "IngotGpuFabricDown",
        Severity.CRITICAL,
        "ingot_gpu_fabric_up == 0",
        120,
        f"{_GPU} is not part of the NVLink fabric.",
        "Read `systemctl status nvidia-fabricmanager` there; its version must be the driver's. Deploy again, "
        "then reboot.",
        CHANGE,
    ),
)

GROUPS = (Group("ingot-gpu-readings", RECORDINGS), Group("ingot-gpu", ALERTS))
