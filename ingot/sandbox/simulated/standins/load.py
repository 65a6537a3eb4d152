"""Simulated: what a GPU reports while a process has its node open: warm, at full clocks, its link at full speed."""

from contextlib import suppress
from typing import Any

from . import machine


def busy_nodes() -> set[str]:
    """Names of device nodes that some process has open, those in containers too."""
    found = set()
    for descriptor in (machine.ROOT / "proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            target = str(descriptor.readlink())
            if target.startswith("/dev/nvidia"):
                found.add(target.removeprefix("/dev/"))
    return found


def readings(gpu: dict[str, Any], minor: int, busy: set[str]) -> dict[str, str]:
    """Query values that differ from those at rest; none for an idle GPU."""
    if f"nvidia{minor}" not in busy:
        return {}
    loaded: dict[str, str] = gpu["under_load"]
    return loaded
