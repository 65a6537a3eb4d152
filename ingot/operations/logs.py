"""Logs of requests and tokens: where they lie, and how they are rotated."""

from __future__ import annotations

from dataclasses import dataclass

from ingot.operations import render

#: Below it each role has a directory of its own.
ROOT = "/var/log/ingot"


@dataclass(frozen=True)
class Reopen:
    """How a program that keeps its log open learns of a new file, and who owns that file."""

    user: str
    group: str
    command: str


def rotation(files: str, role: str, keep_days: int, reopen: Reopen | None = None) -> str:
    """A file of /etc/logrotate.d for these `files` (a pattern): rotated daily, compressed, kept for so many days."""
    return render.template("logs/logrotate", files=files, role=role, days=keep_days, reopen=reopen)
