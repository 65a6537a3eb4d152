"""Programs of this machine that a bundle is made with: each that is missing, late or fails is one sentence."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ingot.errors import IngotError


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of a program that is not there, did not end in time, or failed with this output and these errors."""

    missing: str
    late: str
    failed: Callable[[str, str], str]


def run(argv: Sequence[str], words: Words, limit_s: int, environment: Mapping[str, str] | None = None) -> str:
    """What a program prints. Raises: IngotError with the words for what went wrong."""
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, **(environment or {}), "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except FileNotFoundError:
        raise IngotError(words.missing) from None
    except subprocess.TimeoutExpired:
        raise IngotError(words.late) from None
    if done.returncode:
        raise IngotError(words.failed(done.stdout, done.stderr))
    return done.stdout


def last_line(output: str, errors: str) -> str:
    """A program's own last words."""
    return " ".join((errors.strip() or output.strip()).splitlines()[-1:])
