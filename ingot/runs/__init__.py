"""Runs that change hosts: one at a time per host, and what each of them did."""

from ingot.runs.hold import Hold
from ingot.runs.run import DEPLOY, Run, this_run

__all__ = ["DEPLOY", "Hold", "Run", "this_run"]
