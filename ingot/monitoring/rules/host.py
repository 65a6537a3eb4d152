"""Alerts of the host below: disks, memory, clock, units, and how its last changes went.

Sources of limits: node exporter's mixin (`docs/node-mixin/alerts`), but for disks of models, which are full by design.
"""

from __future__ import annotations

from ingot.monitoring.rules.rule import CHANGE, Group, Purpose, Rule, Severity

_REAL = '{fstype!~"tmpfs|ramfs|overlay|squashfs|nsfs|fuse.*|iso9660", mountpoint!~"/run.*|/var/lib/docker/.+"}'
#: Shares of the disk that holds models say nothing: it is named by its size, which nothing else has on a host.
_NOT_CACHE = "unless on (host, device) (node_filesystem_size_bytes == on (host) group_left () ingot_cache_size_bytes)"
_FREE = f"node_filesystem_avail_bytes{_REAL} / node_filesystem_size_bytes{_REAL}"
_DISK = "{{ $labels.mountpoint }} of {{ $labels.host }}"

ALERTS = (
    Rule(
        "IngotCacheUnmounted",
        Severity.CRITICAL,
        "ingot_cache_mounted == 0",
        120,
        "The disk for models of {{ $labels.host }} is not mounted.",
        "Run `findmnt` and `dmesg` there; mount it before replicas restart, or they do not start.",
    ),
    Rule(
        "IngotCacheNearlyFull",
        Severity.WARNING,
        "ingot_cache_free_bytes < 20e9",
        600,
        "The disk for models of {{ $labels.host }} has {{ $value | humanize1024 }}B left.",
        "`ingot models prune HOST` says what nothing needs any more, then deletes it.",
    ),
    Rule(
        "IngotDiskNearlyFull",
        Severity.CRITICAL,
        f"{_FREE} < 0.05 {_NOT_CACHE}",
        600,
        f"{_DISK} is nearly full: {{{{ $value | humanizePercentage }}}} are free.",
        "Look at `docker system df`, /var/log and /var/lib; nginx and Docker stop when nothing is left.",
    ),
    Rule(
        "IngotDiskFillsUp",
        Severity.WARNING,
        f"({_FREE} < 0.2 and predict_linear(node_filesystem_avail_bytes{_REAL}[6h], 86400) < 0) {_NOT_CACHE}",
        3600,
        f"{_DISK} will be full within a day.",
        "Find what grows with `du -x`; logs of nginx rotate, those of other programs may not.",
    ),
    Rule(
        "IngotInodesNearlyGone",
        Severity.WARNING,
        f"node_filesystem_files_free{_REAL} / node_filesystem_files{_REAL} < 0.05",
        600,
        f"{_DISK} has few inodes left.",
        "Find the directory with very many files: `find / -xdev -printf '%h\\n' | sort | uniq -c | sort -n | tail`.",
    ),
    Rule(
        "IngotDiskReadOnly",
        Severity.CRITICAL,
        "ingot_disk_forced_readonly == 1",
        120,
        f"{_DISK} was made read-only by the kernel.",
        "It does so after errors, and nothing is written any more: read `dmesg`, have the disk checked, then remount.",
    ),
    Rule(
        "IngotMountUnreadable",
        Severity.WARNING,
        f"node_filesystem_device_error{_REAL} == 1",
        300,
        f"{_DISK} does not answer.",
        "A network disk that went away, or a broken one: `stat` it, read `dmesg`.",
    ),
    Rule(
        "IngotRaidDegraded",
        Severity.CRITICAL,
        'node_md_disks_required - ignoring (state) node_md_disks{state="active"} > 0',
        300,
        "RAID {{ $labels.device }} of {{ $labels.host }} lacks {{ $value }} disks.",
        "Read /proc/mdstat; replace the disk, then `mdadm --add`.",
    ),
    Rule(
        "IngotMemoryKilled",
        Severity.WARNING,
        "increase(node_vmstat_oom_kill[30m]) > 0",
        0,
        "The kernel of {{ $labels.host }} ended programs for want of memory.",
        "`dmesg | grep -i oom` names them; find what grew, or add memory.",
    ),
    Rule(
        "IngotMemoryLow",
        Severity.WARNING,
        "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.05",
        600,
        "{{ $labels.host }} has {{ $value | humanizePercentage }} of its memory left.",
        "Look at `ps --sort=-rss`; CPU offload and pinned buffers of engines take the most.",
    ),
    Rule(
        "IngotClockOff",
        Severity.WARNING,
        "abs(ingot_clock_offset_seconds) > 0.05 or abs(node_timex_offset_seconds) > 0.05",
        600,
        "The clock of {{ $labels.host }} is off by {{ $value }} s.",
        "Look at `chronyc tracking` or `timedatectl timesync-status`; keys and certificates end by this clock.",
    ),
    Rule(
        "IngotClockApart",
        Severity.WARNING,
        # Where no time service answers, the kernel knows nothing of its error. A scrape takes less than a second.
        "abs(node_time_seconds - timestamp(node_time_seconds)) > 2",
        600,
        "The clocks of {{ $labels.host }} and of its monitor are {{ $value }} s apart.",
        "Ask both with `timedatectl` which is right: keys and certificates end by the host's clock.",
    ),
    Rule(
        "IngotClockUnsynchronised",
        Severity.WARNING,
        "ingot_clock_synchronized == 0",
        600,
        "Nothing keeps the clock of {{ $labels.host }}.",
        "Start a time service there (`systemctl enable --now systemd-timesyncd`), and give it a server it can reach.",
    ),
    Rule(
        "IngotUnitFailed",
        Severity.WARNING,
        "ingot_unit_failed == 1",
        300,
        "Unit {{ $labels.unit }} of {{ $labels.host }} failed.",
        "`systemctl status` and `journalctl -u` of it say why; `systemctl reset-failed` where it is over.",
        CHANGE,
    ),
    Rule(
        "IngotHostRebooted",
        Severity.INFO,
        "changes(node_boot_time_seconds[15m]) > 0",
        0,
        "{{ $labels.host }} was restarted.",
        "If nobody did it: `journalctl -b -1 -e` shows how it ended.",
        CHANGE,
    ),
    Rule(
        "IngotNetworkErrors",
        Severity.WARNING,
        "rate(node_network_receive_errs_total[5m]) > 0.01 * rate(node_network_receive_packets_total[5m])",
        900,
        "{{ $labels.device }} of {{ $labels.host }} receives broken packets.",
        "Look at cable, transceiver and `ethtool -S`.",
    ),
    Rule(
        "IngotDriftFound",
        Severity.WARNING,
        "ingot_drift_found > 0",
        0,
        "{{ $labels.host }} differs from its inventory in {{ $value }} places.",
        "`ingot drift HOST` shows them; deploy, or put the change into the inventory.",
        CHANGE,
    ),
    Rule(
        "IngotDeployFailed",
        Severity.WARNING,
        "ingot_deploy_succeeded == 0",
        900,
        "The last deploy of {{ $labels.host }} failed.",
        "`ingot history HOST` says where; deploy again, which goes on from there, or `ingot rollback HOST`.",
        CHANGE,
    ),
    Rule(
        "IngotAcceptanceFailed",
        Severity.WARNING,
        "ingot_acceptance_passed == 0",
        0,
        "{{ $labels.host }} did not pass its last acceptance.",
        "Read its page; repair, then `ingot accept` again.",
        frozenset({Purpose.ACCEPTANCE, Purpose.DECOMMISSION}),
    ),
    Rule(
        "IngotHostHeldLong",
        Severity.WARNING,
        # Notices are held back meanwhile: this one never is.
        "ingot_host_held == 1",
        21600,
        "A run ({{ $labels.purpose }}) has held {{ $labels.host }} for more than six hours.",
        "`ingot lock HOST` names it and ends it; until then notices of this host are held back.",
    ),
    Rule(
        "IngotHostHeld",
        Severity.INFO,
        # A host that reboots under a run says nothing: what it last said counts for a quarter of an hour.
        'ingot_host_held == 1 or (last_over_time(ingot_host_held[15m]) == 1 unless on (host) up{job="node"} == 1)',
        0,
        "A run ({{ $labels.purpose }}) holds {{ $labels.host }}.",
        "Nothing: it holds back the notices that such a run brings about.",
    ),
)

GROUPS = (Group("ingot-host", ALERTS),)
