"""What commands refuse before they look at a host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.onboarding

ROOT = Path(__file__).parent.parent.parent
INGOT = Path(sys.executable).with_name("ingot")


def ingot(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(INGOT), *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_no_fleet_is_rebooted_for_want_of_a_name() -> None:
    done = ingot("verify", "--after-reboot")
    assert done.returncode == 2 and "needs their names" in done.stderr


def test_no_host_leaves_where_nobody_can_be_asked() -> None:
    done = ingot("decommission", "gpu-01")
    assert done.returncode == 1 and done.stderr == (
        "ingot: gpu-01: nothing was changed, since nobody can be asked; give --yes to go on.\n"
    )
