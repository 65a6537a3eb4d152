"""Callers do not notice what is changed: every request is answered whole while the fleet changes (`REQUESTS`: 3000)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.e2e.deploying import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.rollout, pytest.mark.timeout(3600)]

REQUESTS = os.environ.get("REQUESTS", "3000")


def test_no_request_fails_while_everything_is_changed() -> None:
    command = [sys.executable, "benchmarks/rollout.py", "--requests", REQUESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
