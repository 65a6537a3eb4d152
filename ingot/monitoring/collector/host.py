"""The host itself: the cache's disk, its clock, failed units, certificates, and what runs of Ingot came to."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import ssl
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ingot.monitoring.collector.calls import run
from ingot.monitoring.collector.figures import Figures
from ingot.monitoring.collector.stored import stored

#: `status` of adjtimex(2): the clock is not kept by a time service.
_UNSYNCHRONIZED = 0x40
#: Of the audit no more is read, bytes: the last runs.
_AUDIT_TAIL = 256 << 10
#: Work that goes on without its run's connection, and what it is for.
_AT_WORK = {"ingot-accept": "accept", "ingot-decommission": "decommission"}


def collect_cache(figures: Figures, settings: Mapping[str, Any]) -> bool:
    """Whether the cache's directory is there, on its own disk where it shall be, and how much room there is.

    Nothing of a host that has no models (`cache_root` is null).
    """
    if settings["cache_root"] is None:
        return True
    root, mount = Path(settings["cache_root"]), settings["cache_mount"]
    mounted = root.is_dir() and (mount is None or os.path.ismount(mount))
    figures.add("ingot_cache_mounted", float(mounted))
    if not mounted:
        return True
    space = os.statvfs(root)
    figures.add("ingot_cache_size_bytes", space.f_blocks * space.f_frsize)
    figures.add("ingot_cache_free_bytes", space.f_bavail * space.f_frsize)
    return True


def collect_disks(figures: Figures, settings: Mapping[str, Any]) -> bool:
    """Each mounted block device: whether the kernel made it read-only by itself."""
    mountinfo = Path(settings["mountinfo"]).read_text(encoding="utf-8", errors="replace")
    for (device, mountpoint), forced in forced_read_only(mountinfo).items():
        figures.add("ingot_disk_forced_readonly", float(forced), device=device, mountpoint=mountpoint)
    return True


def forced_read_only(mountinfo: str) -> dict[tuple[str, str], bool]:
    """Of each block device and its first mountpoint, whether errors made it read-only: nobody mounted it so.

    A mount that was asked to be read-only says so itself. After errors only its file system does, and ext4 of newer
    kernels (seen with 6.18) not even that: it says `emergency_ro`. Source: proc_pid_mountinfo(5).
    """
    found: dict[str, tuple[str, bool]] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        mount, file_system = before.split(), after.split()
        if len(mount) < 6 or len(file_system) < 3 or not file_system[1].startswith("/dev/"):
            continue
        asked = "ro" in mount[5].split(",")
        forced = not asked and not {"ro", "emergency_ro"}.isdisjoint(file_system[2].split(","))
        first, before_it = found.get(file_system[1], (mount[4], False))
        found[file_system[1]] = first, before_it or forced
    return {(device, mountpoint): forced for device, (mountpoint, forced) in found.items()}


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), as far as it is read, with room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def collect_clock(figures: Figures, settings: Mapping[str, Any]) -> bool:
    """Whether a time service keeps the kernel's clock, and how far it is off, as the kernel reckons."""
    del settings
    timex = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        # A container is told nothing of its machine's clock: no reading, and no fault.
        return ctypes.get_errno() == errno.EPERM
    figures.add("ingot_clock_synchronized", float(not timex.status & _UNSYNCHRONIZED))
    figures.add("ingot_clock_offset_seconds", timex.esterror / 1e6)
    return True


def collect_units(figures: Figures, settings: Mapping[str, Any]) -> bool:
    """Each failed unit of systemd."""
    del settings
    answer = run("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--full")
    if answer is None or answer[0] != 0:
        return False
    for line in answer[1].splitlines():
        if words := line.split():
            figures.add("ingot_unit_failed", 1, unit=words[0])
    return True


def collect_certificates(figures: Figures, settings: Mapping[str, Any]) -> bool:
    """When each certificate ends; of a file with several, the first."""
    whole = True
    for file in settings["certificates"]:
        if not Path(file).exists():
            continue
        answer = run("openssl", "x509", "-noout", "-enddate", "-in", file)
        try:
            end = ssl.cert_time_to_seconds(answer[1].strip().partition("=")[2]) if answer else None
        except ValueError:
            end = None
        figures.add("ingot_certificate_not_after_seconds", end, file=file)
        whole = whole and end is not None
    return whole


def collect_runs(figures: Figures, settings: Mapping[str, Any]) -> bool:
    """Who holds the host, how the last deploy, look for drift and acceptance ended."""
    for purpose in sorted(_holders(Path(settings["runs"]))):
        figures.add("ingot_host_held", 1, purpose=purpose)
    state = Path(settings["state"])
    deploy = _last_deploy(Path(settings["audit"]))
    if deploy:
        figures.add("ingot_deploy_end_seconds", deploy[0])
        figures.add("ingot_deploy_succeeded", float(deploy[1]))
    drift = stored(state / "drift.json", {})
    if "found" in drift:
        figures.add("ingot_drift_found", float(drift["found"]))
        figures.add("ingot_drift_checked_seconds", _moment(drift.get("at")))
    acceptance = stored(state / "acceptance.json", {})
    if "verdict" in acceptance:
        passed = acceptance["verdict"] != "fail" or bool(acceptance.get("override"))
        figures.add("ingot_acceptance_passed", float(passed))
        figures.add("ingot_acceptance_end_seconds", _moment(acceptance.get("at")))
    return True


def collect_expected(figures: Figures, settings: Mapping[str, Any]) -> bool:
    """The GPUs that the plan was made for; not where it was made for parts of GPUs, which nvidia-smi counts as one."""
    plan = stored(Path(settings["state"], "plan.json"), {})
    uuids = {str(uuid) for uuid in plan.get("free_bytes", {})}
    uuids |= {str(uuid) for one in plan.get("plan", {}).get("replicas", ()) for uuid in one.get("gpu_uuids", ())}
    if uuids and not any(uuid.startswith("MIG-") for uuid in uuids):
        figures.add("ingot_gpu_expected", len(uuids))
    return True


def _holders(runs: Path) -> set[str]:
    found = set()
    try:
        pid = int((runs / "lock.pid").read_text())
        if Path(f"/proc/{pid}/fd/9").readlink() == runs / "lock":
            found.add(str(stored(runs / "lock.json", {}).get("purpose") or "deploy"))
    except (OSError, ValueError):
        # Nobody holds the host.
        pass
    for unit, purpose in _AT_WORK.items():
        if (runs / unit / "run.sh").exists() and not (runs / unit / "status").exists():
            answer = run("systemctl", "is-active", "-q", f"{unit}.service")
            if answer is not None and answer[0] == 0:
                found.add(purpose)
    return found


def _last_deploy(audit: Path) -> tuple[float, bool] | None:
    """When the last deploy ended, and whether it was done."""
    try:
        with audit.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _AUDIT_TAIL))
            lines = file.read().splitlines()
    except OSError:
        return None
    purposes: dict[str, str] = {}
    last = None
    for line in lines:
        try:
            record = json.loads(line)
            if record["event"] == "begin":
                purposes[record["run"]["id"]] = record["run"]["purpose"]
            elif record["event"] == "end" and purposes.get(record["run"]) == "deploy":
                last = (datetime.fromisoformat(record["at"]).timestamp(), record["result"] == "done")
        except (ValueError, KeyError, TypeError):
            continue
    return last


def _moment(text: Any) -> float:
    """A time as records have it, in seconds since 1970; not a number where it is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return float("nan")
