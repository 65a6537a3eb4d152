"""Deploys that are killed at one of their side effects, and what must hold on a host whatever was killed there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ingot.sandbox import TestHost
from tests.e2e.deploying import ROOT

DYING = Path(__file__).parent / "dying_deploy.py"
MANAGED = "/etc/ingot /etc/nginx /etc/docker /etc/systemd/system /etc/logrotate.d /var/lib/ingot"
#: Files that are neither old nor new while replicas are replaced, or that tell of runs: judged by whoever reads them.
MOVING = (
    "/etc/ingot/engine/compose.yaml",
    "/etc/nginx/ingot/engines.conf",
    "/etc/nginx/ingot/fleet.conf",
    "/var/lib/ingot/upstreams.json",
    "/var/lib/ingot/measured.json",
    "/var/lib/ingot/engine/starts.json",
    "/var/lib/ingot/engine/up.log",
    "/var/lib/ingot/look.sh",
    "/var/lib/ingot/replica-",
    "/var/lib/ingot/good/",
)
READERS = (
    "nginx -t -q && docker compose --file /etc/ingot/engine/compose.yaml config --quiet && "
    # That one is empty where there was no file before.
    "find /var/lib/ingot -name '*.json' ! -name docker-before.json -exec "
    "python3 -c 'import json, sys; [json.load(open(path)) for path in sys.argv[1:]]' {} +"
)
#: The lock frees itself within a minute: the connection of a process that was killed ends at once.
FREE = "{ flock -w 60 /run/ingot/lock true || { cat /run/ingot/lock.json; false; }; }"
DIGESTS = f"find {MANAGED} -type f ! -path '*/.ingot-*' -exec sha256sum {{}} + 2>/dev/null"
TOLD = "{ journalctl --no-pager -o cat; cat /var/log/ingot/*.jsonl; cat /proc/[0-9]*/cmdline; } 2>/dev/null"
UNTOUCHED = "docker ps --no-trunc --quiet; find /etc/ingot /etc/nginx -type f -exec sha256sum {} +"


@dataclass(frozen=True)
class Killed:
    """How a run ended that was to die at a point: status, what it said, and its side effects until then."""

    status: int
    output: str
    effects: tuple[str, ...]


def killed(inventory: Path, host: str, point: int, work: Path) -> Killed:
    """Deploy to one host and die at a point; see `dying_deploy.py`."""
    file = work / "effects"
    file.write_text("")
    command = [sys.executable, str(DYING), str(point), str(file), "-y", str(inventory), "deploy.py", "--limit", host]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    return Killed(done.returncode, done.stdout + done.stderr, tuple(file.read_text().splitlines()))


def digests(host: TestHost) -> dict[str, str]:
    """Digest of each managed file that is not a run's own unfinished one."""
    return _digests(host.run(DIGESTS)[1])


def _digests(output: str) -> dict[str, str]:
    lines = (line.split("  ", 1) for line in output.splitlines())
    return {path: digest for digest, path in lines}


def left(host: TestHost) -> tuple[dict[str, str], str]:
    """What a run that was killed leaves: digests, and the harm (a file that its reader refuses, a lock that stays)."""
    _, output = host.run(f"{{ {READERS}; }} && {FREE} && echo unharmed && {DIGESTS}", timeout_s=600)
    _, unharmed, lines = output.rpartition("unharmed\n")
    return _digests(lines) if unharmed else {}, "" if unharmed else output or "the host does not answer"


def rests(path: str) -> bool:
    """Whether a file is old or new at every moment."""
    return not path.startswith(MOVING)


def torn(old: Mapping[str, str], now: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Files that are neither as before nor as a whole run leaves them, or gone."""
    neither = [path for path in now if rests(path) and now[path] not in (old.get(path), new.get(path))]
    return [*neither, *(f"{path} is gone" for path in set(old) & set(new) - set(now) if rests(path))]


def tells(host: TestHost, key: str) -> bool:
    """Whether a key lies in the journal, a log of Ingot's or a command line."""
    host.put("/run/key", key, mode="0600")
    found = host.run(f"{TOLD} | grep -a -q -F -f /run/key")[0] == 0
    host.succeeds("rm /run/key")
    return found
