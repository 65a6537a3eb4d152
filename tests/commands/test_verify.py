"""The commands where nothing answers, or nothing was asked for that exists."""

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


@pytest.mark.parametrize("command", ["verify", "drift"])
def test_a_host_that_does_not_answer_is_one_sentence(command: str, tmp_path: Path) -> None:
    inventory = tmp_path / "lab.py"
    address = {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_user": "nobody"}
    inventory.write_text(f"gpu = [('@ingot/gone', {address!r})]\n")
    done = ingot(command, "gone", "--inventory", str(inventory))
    said = done.stdout + done.stderr
    assert done.returncode == 1 and said.count("gone: no SSH at 127.0.0.1 port 1") == 1, said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", [("verify",), ("drift",), ("decommission", "--yes")])
def test_a_host_that_is_in_no_inventory_is_one_sentence(command: tuple[str, ...]) -> None:
    done = ingot(*command, "gpu-99")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("ingot: gpu-99: no such host") and done.stderr.count("\n") == 1


def test_no_fleet_is_rebooted_for_want_of_a_name() -> None:
    done = ingot("verify", "--after-reboot")
    assert done.returncode == 2 and "needs their names" in done.stderr


def test_no_host_leaves_where_nobody_can_be_asked() -> None:
    done = ingot("decommission", "gpu-01")
    assert done.returncode == 1 and done.stderr == (
        "ingot: gpu-01: nothing was changed, since nobody can be asked; give --yes to go on.\n"
    )
