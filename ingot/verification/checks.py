"""A run of tests/hosts, the checks of a fleet, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ingot.errors import IngotError
from ingot.verification.summary import HostSummary, parse

#: pytest's exit statuses for a run that came to its end: all passed, some failed.
ENDED = (0, 1)


def checked(
    checkout: Path, inventory: Path, hosts: Sequence[str], evidence: Path, flags: Sequence[str]
) -> tuple[HostSummary, ...]:
    """Run tests/hosts of a checkout and read what it recorded in `evidence`.

    Raises: IngotError with pytest's own sentence when it could not run.
    """
    limits = [word for host in hosts for word in ("--limit", host)]
    command = [sys.executable, "-m", "pytest", "tests/hosts", "-q", "--no-header", "-p", "no:cacheprovider"]
    command += ["--inventory", str(inventory), "--evidence", str(evidence), *limits, *flags]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode not in ENDED:
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        raise IngotError(said[0] if said else f"the checks could not run: {(done.stdout + done.stderr)[-2000:]}")
    return parse(json.loads((evidence / "verify.json").read_text(encoding="utf-8")))
