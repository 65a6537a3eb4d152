"""How long a start may take before it counts as failed: a fixed part, and the weights at the pace of the disk."""

from __future__ import annotations

#: Where nobody measured the disk: a slow SATA disk's.
BYTES_PER_S = 150 * 10**6
#: A replica is given half of the rate that its disk was measured with, since several processes read at once and others
#: use the disk; and not less than this, which is a slow network file system's.
LEAST_BYTES_PER_S = 20 * 10**6


def deadline_s(base_s: int, weight_bytes: int, disk_bytes_per_s: int | None) -> int:
    """Seconds that a start may take."""
    pace = BYTES_PER_S if disk_bytes_per_s is None else max(disk_bytes_per_s // 2, LEAST_BYTES_PER_S)
    return base_s + weight_bytes // pace
