"""Callers of tests end by themselves, whatever becomes of the test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ingot.secrets import pki
from tests.e2e.deploying import ROOT
from tests.engines.waiting import until

pytestmark = pytest.mark.rollout

LIMIT_S = 120
PARENT = """import subprocess, sys, time
print(subprocess.Popen(sys.argv[1:]).pid, flush=True)
time.sleep(600)
"""


def test_callers_end_when_whoever_began_them_is_gone(tmp_path: Path) -> None:
    ca, key, record = tmp_path / "ca.crt", tmp_path / "key", tmp_path / "record"
    ca.write_text(pki.authority(tmp_path).certificate_pem)
    key.write_text("sk-steady-none")
    words = ["--callers", "2", "--rate", "4", "--bare", "https://127.0.0.1:9/v1", ca, key, "none", record]
    load = [sys.executable, str(ROOT / "benchmarks" / "steady_load.py"), *map(str, words)]
    with subprocess.Popen([sys.executable, "-c", PARENT, *load], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        callers = Path("/proc") / parent.stdout.readline().strip()
        assert until(lambda: record.is_file() and record.read_text(), LIMIT_S)
        parent.kill()
    assert until(lambda: not callers.exists() or "Z" in (callers / "stat").read_text().rpartition(")")[2][:3], LIMIT_S)
