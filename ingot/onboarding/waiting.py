"""Waits for a server that is still setting itself up: for cloud-init, then for the package manager's locks."""

from __future__ import annotations

import time
from collections.abc import Callable

from ingot.errors import IngotError
from ingot.facts.host import APT_LOCK
from ingot.onboarding.connection import Connection

#: Seconds between two looks: at cloud-init, and at the package manager's locks.
TICK_S, _LOCK_TICK_S = 5, 1
#: `cloud-init status`: 2 is done with errors it recovered from. Source: cloud-init's documentation, return codes.
_DONE, _FAILED, _DEGRADED, _STILL_BUSY = 0, 1, 2, 124

Say = Callable[[str], None]


def for_cloud_init(connection: Connection, limit_s: float, say: Say) -> str | None:
    """Wait until cloud-init is done; a remark when it ended badly.

    Raises: IngotError when it is still busy at the limit.
    """
    began = time.monotonic()
    while True:
        left = limit_s - (time.monotonic() - began)
        step = max(1, min(TICK_S, int(left)))
        done = connection.run(
            f"command -v cloud-init >/dev/null || exit 0; timeout {step} cloud-init status --wait", timeout_s=step + 60
        )
        if done.status == _DONE:
            return None
        if done.status != _STILL_BUSY:
            how = "ended with errors" if done.status in (_FAILED, _DEGRADED) else f"says {done.said!r}"
            return f"cloud-init {how}; see `cloud-init status --long` there"
        waited = time.monotonic() - began
        if waited >= limit_s:
            raise IngotError(
                f"{connection.name}: cloud-init is still busy after {waited:.0f} s, expected it done within "
                f"{limit_s:g} s; see `cloud-init status --long` on the server, or wait longer with --wait."
            )
        say(f"waits for cloud-init, {waited:.0f} of at most {limit_s:g} s")


def for_packages(connection: Connection, limit_s: float, say: Say) -> None:
    """Wait until nobody holds the package manager's locks.

    Raises: IngotError naming who still holds them at the limit.
    """
    began = time.monotonic()
    while holder := connection.as_root(APT_LOCK).output.strip():
        pid, _, process = holder.partition(" ")
        waited = time.monotonic() - began
        if waited >= limit_s:
            raise IngotError(
                f"{connection.name}: {process or 'a process'} (pid {pid}) still holds the package manager after "
                f"{waited:.0f} s, expected it free within {limit_s:g} s; let it end, or stop it on the server, and "
                "run this again."
            )
        say(f"waits for {process or 'a process'} (pid {pid}) to free the package manager, {waited:.0f} s")
        time.sleep(_LOCK_TICK_S)
