"""Programs and engines, asked with a limit each: neither a driver nor an engine that hangs makes the watch hang."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

#: A GPU that hangs makes nvidia-smi hang, and dockerd may hang as well: no question waits longer than this, seconds.
PROGRAM_LIMIT_S = 20
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def run(*words: str, limit_s: float | None = None, must_succeed: bool = False) -> str | None:
    """What a command prints, None when it does not end in time, or fails where it `must_succeed`.

    A process that cannot be killed is left behind.
    """
    with tempfile.TemporaryFile() as out:
        try:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        except OSError:
            return None
        try:
            process.wait(PROGRAM_LIMIT_S if limit_s is None else limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None
        if must_succeed and process.returncode != 0:
            return None
        out.seek(0)
        return out.read().decode(errors="replace")


def get(url: str, limit_s: float) -> tuple[int, str]:
    """The status of an answer and its text; 0 where none came in time."""
    return _open(urllib.request.Request(url), limit_s)


def post(url: str, body: Mapping[str, Any] | bytes, limit_s: float, content_type: str = "application/json") -> int:
    """The status of the answer to a body; 0 where none came in time."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return _open(urllib.request.Request(url, data, {"Content-Type": content_type}), limit_s)[0]


def _open(request: urllib.request.Request, limit_s: float) -> tuple[int, str]:
    try:
        with _OPENER.open(request, timeout=limit_s) as reply:
            return int(reply.status), reply.read(1 << 20).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, ""
    except (OSError, ValueError):
        return 0, ""
