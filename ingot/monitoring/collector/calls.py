"""Programs and pages, asked with a limit each: neither a driver nor an engine that hangs makes the collector hang."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import urllib.request

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def run(*words: str, limit_s: float = 10) -> tuple[int, str] | None:
    """The status of a command and what it prints; None where it is not there or does not end in time."""
    with tempfile.TemporaryFile() as out:
        try:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        except OSError:
            return None
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None
        out.seek(0)
        return status, out.read().decode(errors="replace")


def answers(url: str, limit_s: float = 3) -> bool:
    """Whether a page is answered with 200 in time."""
    try:
        with _OPENER.open(url, timeout=limit_s) as reply:
            return int(reply.status) == 200
    except (OSError, ValueError):
        return False
