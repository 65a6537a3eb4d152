"""GPUs that failed: judged by what the driver asks for, and on older drivers by the kernel's log."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingot.engines.replica_watch import calls
from ingot.engines.replica_watch.settings import Replica, Settings

FIELDS = "uuid,pci.bus_id,gpu_recovery_action"
#: Drivers before 570 do not know what they would ask for: there the kernel's log decides.
OLDER_FIELDS = "uuid,pci.bus_id"
_LOST = ("gpu is lost", "gpu requires reset", "unknown error")
_XID = re.compile(r"^(?:\[\s*([0-9]+\.[0-9]+)\])?.*NVRM: Xid \((?:PCI:)?([0-9a-fA-F:]+)[^)]*\): ([0-9]+),")
_LISTED = re.compile(r"UUID: ((?:GPU|MIG)-[0-9a-fA-F-]+)")


@dataclass(frozen=True)
class Gpu:
    """One GPU: what is wrong with it, None when nothing is."""

    uuid: str
    slot: str
    trouble: str | None


def judge(rows: str, log: str, settings: Settings, proven_at: float, booted_at: float) -> list[Gpu]:
    """The GPUs of `nvidia-smi --query-gpu`, judged by their rows; those that tell no action by the kernel's log."""
    gpus = []
    for line in rows.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) < 2 or not cells[0].startswith("GPU-"):
            continue
        slot = _slot(cells[1])
        bare = [cell.strip("[] ").lower() for cell in cells[1:]]
        trouble = next((cell for cell in bare if cell in _LOST), None)
        action = bare[1] if len(bare) > 1 else "n/a"
        if trouble is None and action in settings.fatal_actions:
            trouble = f"the driver asks for: {cells[2]}"
        if trouble is None and action in ("", "n/a", "not supported"):
            trouble = _fatal_xid(log, slot, settings.fatal_xids, proven_at - booted_at)
        gpus.append(Gpu(cells[0], slot, trouble))
    return gpus


def _fatal_xid(log: str, slot: str, fatal: Iterable[int], after_s: float) -> str | None:
    """The newest fatal Xid of a GPU that came after its replica was proven; `after_s` is in seconds since boot."""
    found = None
    for line in log.splitlines():
        match = _XID.match(line.strip())
        is_its = match is not None and _slot(match[2]) == slot and int(match[3]) in fatal
        if match and is_its and (match[1] is None or float(match[1]) > after_s):
            found = f"Xid {match[3]}"
    return found


def _slot(address: str) -> str:
    """Domain, bus and device in one spelling: `00000000:83:00.0` and `0000:83:00` are 0:83:0."""
    parts = re.findall(r"[0-9a-fA-F]+", address.partition(".")[0])
    return ":".join(f"{int(part, 16):x}" for part in (["0", *parts] if len(parts) == 2 else parts))


def parents_of_instances(listing: str) -> dict[str, str]:
    """The GPU of each MIG instance, out of `nvidia-smi -L`."""
    parent, found = "", {}
    for line in listing.splitlines():
        match = _LISTED.search(line)
        if match and match[1].startswith("GPU-"):
            parent = match[1]
        elif match:
            found[match[1]] = parent
    return found


def look(settings: Settings, replicas: Sequence[Replica]) -> tuple[dict[str, Gpu], dict[str, str]] | None:
    """The host's GPUs by UUID and the parents of MIG instances; None when nvidia-smi tells nothing."""
    rows = calls.run("nvidia-smi", f"--query-gpu={FIELDS}", "--format=csv,noheader")
    if rows is not None and "not a valid field" in rows:
        rows = calls.run("nvidia-smi", f"--query-gpu={OLDER_FIELDS}", "--format=csv,noheader")
    if rows is None or "GPU-" not in rows:
        return None
    booted_at = time.time() - float(Path("/proc/uptime").read_text().split()[0])
    proven_at = min((replica.proven_at for replica in replicas), default=0.0)
    gpus = judge(rows, calls.run("dmesg") or "", settings, proven_at, booted_at)
    instances = any(uuid.startswith("MIG-") for replica in replicas for uuid in replica.gpus)
    parents = parents_of_instances(calls.run("nvidia-smi", "-L") or "") if instances else {}
    return {gpu.uuid: gpu for gpu in gpus}, parents
