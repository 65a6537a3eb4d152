"""Run one program on this machine: output back, or a SandboxError that names command, status and output."""

import shlex
import subprocess
from collections.abc import Sequence

from ingot.sandbox.errors import CommandFailed

#: A machine that is busy with its test hosts gives what runs beside them little of a processor.
LIMIT_S = 600


def run(argv: Sequence[str], *, timeout_s: float = LIMIT_S, stdin: str | None = None) -> str:
    """Run `argv` and return its standard output; CommandFailed when it exits non-zero or takes too long."""
    try:
        done = subprocess.run(
            argv, check=False, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout_s
        )
    except subprocess.TimeoutExpired as expired:
        raise CommandFailed(f"`{shlex.join(argv)}` did not end within {timeout_s:g} s") from expired
    except FileNotFoundError as missing:
        raise CommandFailed(f"`{argv[0]}` is not installed on this machine") from missing
    if done.returncode != 0:
        output = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise CommandFailed(f"`{shlex.join(argv)}` ended with status {done.returncode}: {output}")
    return done.stdout


def succeeds(argv: Sequence[str], *, timeout_s: float = LIMIT_S) -> bool:
    """Whether `argv` exits with status 0."""
    try:
        run(argv, timeout_s=timeout_s)
    except CommandFailed:
        return False
    return True
