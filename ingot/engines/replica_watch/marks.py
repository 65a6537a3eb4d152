"""Marks by which a run keeps a replica out while it replaces it: they are the run's, and go when the run is gone.

Where the replica is not well by then, the watch holds it out for itself.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingot.engines.replica_watch import files
from ingot.engines.replica_watch.settings import Settings


def cleared(settings: Settings, upstreams: Sequence[Any], now: float) -> Sequence[Any]:
    """The list of engines, without marks of a run that is gone; what changes is written."""
    marked = sorted({address for one in upstreams for address in one.get("draining", ())})
    if not marked or not is_quiet(settings, now):
        return upstreams
    freed = [{key: value for key, value in one.items() if key != "draining"} for one in upstreams]
    files.replace(Path(settings.upstreams), json.dumps(freed, indent=1, sort_keys=True) + "\n")
    print(f"<5>{', '.join(marked)} is looked after again: the run that took it out of the pool is gone")
    return freed


def is_quiet(settings: Settings, now: float) -> bool:
    """Whether no run changes this host, none did a moment ago, and no work of one goes on without it."""
    runs, audit = Path(settings.runs), Path(settings.audit)
    try:
        pid = int((runs / "lock.pid").read_text())
        if Path(f"/proc/{pid}/fd/9").readlink() == runs / "lock":
            return False
    except (OSError, ValueError):
        # Nobody holds the host.
        pass
    last = audit.stat().st_mtime if audit.exists() else 0.0
    booted = now - float(Path("/proc/uptime").read_text().split()[0])
    if now - max(last, booted) < settings.marks_s:
        return False
    at_work = [path.parent.name for path in runs.glob("*/run.sh") if not (path.parent / "status").exists()]
    return not any(
        subprocess.run(["systemctl", "is-active", "-q", f"{unit}.service"], check=False).returncode == 0
        for unit in at_work
    )
