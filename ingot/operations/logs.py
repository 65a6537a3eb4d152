"""Logs of requests and tokens: where they lie, and how they are rotated."""

from __future__ import annotations

from dataclasses import dataclass

from ingot.errors import IngotError
from ingot.operations import render

#: Below it each role has a directory of its own.
ROOT = "/var/log/ingot"


@dataclass(frozen=True)
class Reopen:
    """How a program that keeps its log open learns of a new file, and who owns that file."""

    user: str
    group: str
    command: str


def days(value: object) -> int:
    """`accounting_days` as a number.

    Raises: IngotError for what is no whole number from 1 on.
    """
    if type(value) is not int or value < 1:
        raise IngotError(f"accounting_days is {value!r}, expected a whole number from 1 on; correct it.")
    return value


def rotation(files: str, role: str, keep_days: int, reopen: Reopen | None = None) -> str:
    """A file of /etc/logrotate.d for these `files` (a pattern): rotated daily, compressed, kept for so many days."""
    return render.template("logs/logrotate", files=files, role=role, days=keep_days, reopen=reopen)
