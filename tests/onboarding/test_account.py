"""A rule for sudo lies where sudo reads it only when visudo took it: a broken one would end everybody's sudo."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ingot.onboarding.account import _SCRIPT

pytestmark = [pytest.mark.onboarding, pytest.mark.rollout]

#: What the script asks of a host on which the account is there.
STANDINS = {
    "sudo": "exit 0",
    "id": "echo 1000",
    "getent": "echo ingot:x:1000:1000::{root}:/bin/bash",
    "stat": "echo 1000",
    "runuser": "exit 0",
}


@pytest.mark.parametrize(("status", "lies"), [(0, True), (1, False)], ids=["taken", "refused"])
def test_a_rule_that_visudo_refuses_never_lies_where_sudo_reads_it(tmp_path: Path, status: int, lies: bool) -> None:
    rules, seen = tmp_path / "etc/sudoers.d", tmp_path / "seen"
    rules.mkdir(parents=True)
    visudo = f'cp "$3" {seen}; ls -A {rules} >{tmp_path}/there; exit {status}'
    for name, text in {**STANDINS, "visudo": visudo}.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text.format(root=tmp_path) if name == 'getent' else text}\n")
        path.chmod(0o755)
    script = "user=ingot; dry=no\n" + _SCRIPT.replace("/etc/sudoers.d", str(rules))
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", script], input="", env=environment, capture_output=True, text=True, check=False)
    rule = "ingot ALL=(ALL:ALL) NOPASSWD: ALL\n"
    assert seen.read_text() == rule and "90-ingot-ingot\n" not in (tmp_path / "there").read_text()
    assert (done.returncode, [path.name for path in rules.iterdir()]) == (
        (0, ["90-ingot-ingot"]) if lies else (4, [])
    ), done.stdout + done.stderr
