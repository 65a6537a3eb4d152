"""Hosts of an inventory for commands outside of a deploy: all at once, and found by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.onboarding

#: One after another, the first host would wait for the others in vain.
TOGETHER = """
everybody, arrived = Event(), []

def work(host):
    arrived.append(host.name)
    if len(arrived) == 3:
        everybody.set()
    return host.name, everybody.wait(timeout=180)

state = fleet.load(Path("inventories/prod.py"))
said = fleet.at_once(state, list(state.inventory), work)
"""


def run(directory: Path, code: str) -> Any:
    """What `said` is after the code, in a process of its own: loading an inventory patches the standard library."""
    head = "import json\nfrom pathlib import Path\nfrom gevent.event import Event\nfrom ingot.inventory import fleet\n"
    command = [sys.executable, "-c", f"{head}{code}\nprint(json.dumps(said))"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=180, check=True)
    return json.loads(done.stdout)


def inventory(directory: Path, file: str, *names: str) -> None:
    (directory / "inventories").mkdir(exist_ok=True)
    (directory / "inventories" / file).write_text(f"gpu = {[(f'@ingot/{name}', {}) for name in names]!r}\n")


def test_hosts_are_asked_at_the_same_time_and_answer_in_their_order(tmp_path: Path) -> None:
    inventory(tmp_path, "prod.py", "a", "b", "c")
    assert run(tmp_path, TOGETHER) == [["a", True], ["b", True], ["c", True]]


def test_an_inventory_is_found_by_the_hosts_that_are_meant(tmp_path: Path) -> None:
    inventory(tmp_path, "prod.py", "gpu-01")
    inventory(tmp_path, "lab.py", "gpu-01", "gpu-02")
    (tmp_path / "inventories" / "broken.py").write_text("import nothing_that_exists\n")
    asked = [[], ["gpu-01"], ["gpu-01", "gpu-02"], ["gpu-09"]]
    given = f"[str(fleet.meant(None, names)) for names in {asked!r}]"
    said = run(tmp_path, f'said = [*{given}, str(fleet.meant(Path("inventories/lab.py"), ["gpu-09"]))]')
    assert said == [f"inventories/{name}.py" for name in ("prod", "prod", "lab", "prod", "lab")]


def test_hosts_are_named_by_themselves_by_a_group_or_by_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "inventories").mkdir()
    (tmp_path / "inventories" / "prod.py").write_text("gpu = ['gpu-01', 'gpu-02', 'lab-01']\ngateway = ['front']\n")
    asked = [["gpu-02"], ["gateway"], ["gpu-*", "front"], []]
    said = run(tmp_path, f"said = [fleet.selected(None, names).names for names in {asked!r}]")
    assert said == [["gpu-02"], ["front"], ["front", "gpu-01", "gpu-02"], ["front", "gpu-01", "gpu-02", "lab-01"]]
