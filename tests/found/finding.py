"""A row of the table on its booted host: put into its state, deployed twice, decommissioned; each answer is kept."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from ingot.sandbox import Sandbox, TestHost
from tests.driver.deploying import run
from tests.e2e.deploying import INGOT, ROOT, Run
from tests.found.states import APT_WORKS, State

_INVENTORY = """from pathlib import Path

from ingot.inventory.host_files import load

globals().update(load(Path(__file__).parent / "lab").groups())
"""


@dataclass(frozen=True)
class Found:
    """One state on its host: what its commands printed before the deploy and after it, the deploys, what apt says.

    `gone` is what the decommissioning said, `restored` what the commands for it printed then.
    """

    state: State
    host: TestHost
    deployed: Run
    took_s: float
    before: dict[str, str]
    after: dict[str, str]
    left: dict[str, str]
    apt: tuple[int, str]
    again: Run | None = None
    gone: str = ""
    restored: dict[str, str] = field(default_factory=dict)


def find(state: State) -> Found:
    """Try one row. What the host then is like is in the answer, so that the next row may change it."""
    host = Sandbox().up(state.host, profile=state.profile)
    if state.installed is not None:
        done = run(state.host, data=state.installed, roles=state.roles)
        assert done.status == 0, done.output[-3000:]
    host.succeeds(state.prepare, timeout_s=300)
    before = {look: host.run(look)[1] for look in state.keeps}
    began = time.monotonic()
    deployed = run(state.host, data=state.data, roles=state.roles)
    took_s = time.monotonic() - began
    # The second run comes first: what it changes would show in everything below.
    again = run(state.host, data=state.data, roles=state.roles) if state.refused is None else None
    after = {look: host.run(look)[1] for look in state.keeps}
    left = {look: host.run(look)[1] for look in state.leaves}
    apt = host.run(APT_WORKS, 120) if state.apt_works else (0, "")
    gone, restored = "", {}
    if state.restores is not None:
        gone = decommissioned(host)
        restored = {look: host.run(look)[1] for look in (*state.keeps, *state.restores)}
    host.succeeds(state.ends, timeout_s=120)
    return Found(state, host, deployed, took_s, before, after, left, apt, again, gone, restored)


@contextmanager
def finding(states: Iterable[State]) -> Iterator[dict[str, Found]]:
    """Every row by its name: hosts beside each other, the rows of one host in turn. The hosts end with it."""
    of_hosts = [list(rows) for _, rows in groupby(states, key=lambda state: state.host)]

    def found(rows: Sequence[State]) -> list[Found]:
        return [find(state) for state in rows]

    try:
        with ThreadPoolExecutor(2) as pool:
            yield {one.state.row: one for host in pool.map(found, of_hosts) for one in host}
    finally:
        for host in Sandbox().hosts():
            if any(host.name == rows[0].host for rows in of_hosts):
                Sandbox().down(host.name)


def decommissioned(host: TestHost) -> str:
    """What `ingot decommission` says of a host that it has left."""
    done = decommission(host)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def decommission(host: TestHost) -> subprocess.CompletedProcess[str]:
    """`ingot decommission`, to its end, for a host of an inventory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        members = Path(directory) / "inventories" / "lab"
        members.mkdir(parents=True)
        shutil.copytree(ROOT / "group_data", Path(directory) / "group_data")
        text = f"address: {host.address}\nuser: {host.user}\nssh_key: {host.key_path}\n"
        (members / f"{host.name}.yaml").write_text(text)
        shutil.copy(host.known_hosts_path, members / "known_hosts")
        inventory = members.parent / "lab.py"
        inventory.write_text(_INVENTORY)
        command = [
            str(INGOT),
            "decommission",
            host.name,
            "--inventory",
            str(inventory),
            "--yes",
            "--drain-seconds",
            "1",
        ]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False, input="")
