"""Two hosts, two operators, cables that are pulled: one run at a time per host, and what fails for one fails alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ingot.sandbox import Sandbox, TestHost
from ingot.sandbox.inventory import connection
from tests.e2e.deploying import INGOT, PYINFRA, ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.rollout, pytest.mark.timeout(900)]

DEPLOY = Path(__file__).parent / "deploy_slowly.py"
ASKING = DEPLOY.with_name("deploy_asking.py")
IMPATIENT = """from ingot.inventory import connector as _connector
_connector.KEEPALIVE_S, _connector.DEAD_LINK_S = 1, 5
_connector.QUESTION_S, _connector.WAITING_S = 15, 1
"""
AUDIT = "/var/log/ingot/changes.jsonl"


@dataclass
class Fleet:
    """Two test hosts, and a control machine's inventory of them."""

    one: TestHost
    two: TestHost
    directory: Path
    begun: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def inventory(self) -> Path:
        return self.directory / "inventories" / "lab.py"

    @property
    def impatient(self) -> Path:
        """The same inventory, for runs that take a silent link or command for dead within seconds, not minutes."""
        path = self.inventory.with_name("impatient.py")
        path.write_text(f"{IMPATIENT}{self.inventory.read_text()}")
        return path

    def start(
        self, *words: str, deploy: Path = DEPLOY, inventory: Path | None = None, **values: Any
    ) -> subprocess.Popen[str]:
        """Begin a run of `pyinfra` over both hosts, or those of `--limit`."""
        data = [word for name, value in values.items() for word in ("--data", f"{name}={value}")]
        command = [str(PYINFRA), "-y", str(inventory or self.inventory), str(deploy), *words, *data]
        run = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
        )
        self.begun.append(run)
        return run

    def ingot(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(INGOT), *words, "--inventory", str(self.inventory)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def end(run: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = run.communicate(timeout=400)
    return run.returncode, output


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    sandbox = Sandbox()
    root = tmp_path_factory.mktemp("fleet")
    made = Fleet(sandbox.up("run-1"), sandbox.up("run-2"), root)
    made.inventory.parent.mkdir()
    values = {host.name: {**connection(host), "secrets_dir": str(root / "secrets")} for host in (made.one, made.two)}
    hosts = [(f"@ingot/{name}", data) for name, data in values.items()]
    made.inventory.write_text(f"gpu = {hosts!r}\n")
    (root / "group_data").symlink_to(ROOT / "group_data")
    yield made
    for run in made.begun:
        run.kill()
        run.wait()
    for name in ("run-1", "run-2"):
        sandbox.down(name)


@pytest.fixture(autouse=True)
def clean(fleet: Fleet) -> None:
    for host in (fleet.one, fleet.two):
        host.succeeds("rm -f /run/begun /run/wait /run/changed /run/further")


def audit(host: TestHost) -> list[dict[str, Any]]:
    return [json.loads(line) for line in host.succeeds(f"cat {AUDIT}").splitlines()]


def test_a_second_run_leaves_the_held_host_and_changes_the_other(fleet: Fleet) -> None:
    fleet.one.succeeds("touch /run/wait")
    first = fleet.start("--limit", "run-1")
    fleet.one.wait_until_succeeds("test -e /run/begun")

    status, output = end(fleet.start(lock_wait_s=0))

    assert status == 75, output
    assert re.search(
        r"run-1: it is being changed by \S+@\S+ \(deploy, run [0-9a-f]{8}, pid \d+, for \d+ s\)", output
    ), output
    assert fleet.two.succeeds("wc -l </run/changed").strip() == "1"
    shown = json.loads(fleet.ingot("lock", "show", "run-1", "--json").stdout)["hosts"][0]
    assert shown["held"] and shown["run"]["pid"] == first.pid
    fleet.one.succeeds("rm /run/wait")
    assert end(first)[0] == 0
    assert fleet.one.succeeds("wc -l </run/changed").strip() == "1"


def test_a_second_run_waits_for_its_turn(fleet: Fleet) -> None:
    fleet.one.succeeds("touch /run/wait")
    first = fleet.start("--limit", "run-1")
    fleet.one.wait_until_succeeds("test -e /run/begun")
    second = fleet.start("--limit", "run-1", lock_wait_s=300)
    fleet.one.wait_until_succeeds("pgrep -f '[f]lock -w 300'")
    fleet.one.succeeds("rm /run/wait")
    assert end(first)[0] == 0
    status, output = end(second)
    assert status == 0 and "waiting up to 300 s" in output, output
    assert fleet.one.succeeds("wc -l </run/changed").strip() == "2"


def test_a_run_that_is_killed_frees_its_host_and_is_noted(fleet: Fleet) -> None:
    fleet.one.succeeds("touch /run/wait")
    first = fleet.start("--limit", "run-1")
    fleet.one.wait_until_succeeds("test -e /run/begun")
    first.kill()
    first.communicate()
    fleet.one.succeeds("rm /run/wait")
    status, output = end(fleet.start("--limit", "run-1"))
    assert status == 0, output
    assert "was cut off" in output and "its connection ended" in output, output


def test_a_run_whose_lock_is_broken_stops_at_its_next_step(fleet: Fleet) -> None:
    fleet.one.succeeds("touch /run/wait")
    run = fleet.start("--limit", "run-1")
    fleet.one.wait_until_succeeds("test -e /run/begun")
    broken = fleet.ingot("lock", "break", "run-1", "--yes")
    assert broken.returncode == 0 and "its lock is broken" in broken.stdout, broken.stderr
    fleet.one.succeeds("rm /run/wait")
    status, output = end(run)
    assert status == 1 and output.count("broke the lock of this run") == 1 and "Traceback" not in output, output
    assert fleet.one.fails("test -e /run/further") == ""


def test_both_machines_know_who_did_what(fleet: Fleet) -> None:
    status, output = end(fleet.start())
    assert status == 0, output
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    *_, begun, ended = audit(fleet.two)
    assert (begun["event"], begun["run"]["purpose"], begun["run"]["commit"]) == ("begin", "deploy", commit.strip())
    assert (ended["result"], ended["operations"]) == ("done", ["Change something", "Go on"])
    here = (fleet.directory / "secrets" / "history" / "run-2.jsonl").read_text().splitlines()
    assert json.loads(here[-1]) == ended
    assert fleet.two.succeeds(f"stat -c '%U %a' {AUDIT}").strip() == "root 640"


def test_a_host_that_falls_silent_is_one_sentence_and_fails_alone(fleet: Fleet) -> None:
    """Nothing comes through any more, and neither end is told."""
    for host in (fleet.one, fleet.two):
        host.succeeds("touch /run/wait")
    run = fleet.start(inventory=fleet.impatient)
    for host in (fleet.one, fleet.two):
        host.wait_until_succeeds("test -e /run/begun")
    fleet.one.cut_network()
    try:
        fleet.two.succeeds("rm /run/wait")
        status, output = end(run)
    finally:
        fleet.one.restore_network()
    assert status == 1 and "Traceback" not in output, output
    assert output.count("run-1: the connection was lost") == 1, output
    assert fleet.two.succeeds("wc -l </run/changed").strip() == "1"

    fleet.one.wait_until_succeeds("rm -f /run/wait")
    status, output = end(fleet.start("--limit", "run-1", lock_wait_s=120))
    assert status == 0 and "was cut off" in output, output


def test_a_host_whose_commands_hang_is_one_sentence_and_fails_alone(fleet: Fleet) -> None:
    """As `df` does on a host with a mount whose server is gone."""
    fleet.one.put("/usr/local/sbin/df", "#!/bin/sh\nexec sleep 100\n", mode="0755")
    fleet.two.succeeds("touch /run/wait")
    run = fleet.start(deploy=ASKING, inventory=fleet.impatient)
    fleet.two.wait_until_succeeds("test -e /run/changed")
    try:
        fleet.two.succeeds("rm /run/wait")
        status, output = end(run)
    finally:
        fleet.one.succeeds("rm /usr/local/sbin/df")
    assert status == 1 and "Traceback" not in output, output
    assert output.count("run-1: it did not answer within 15 s (space), expected seconds; see which") == 1, output
    assert re.search(r"run-1: a command has run for \d+ s \(Change something\)", output), output
    fleet.one.fails("test -e /run/changed")
    assert fleet.two.succeeds("wc -l </run/changed").strip() == "1"

    assert end(fleet.start("--limit", "run-1", deploy=ASKING))[0] == 0
    assert fleet.one.succeeds("wc -l </run/changed").strip() == "1"


def test_a_command_that_leaves_its_input_unread_ends_as_its_status_says(fleet: Fleet) -> None:
    """The less time this machine has, the later it sends the input."""
    status, output = end(fleet.start("--json", deploy=DEPLOY.with_name("deploy_unread.py")))
    assert status == 1 and "Socket is closed" not in output, output
    found = json.JSONDecoder().raw_decode(output[output.index('{"plan"') :])[0]
    (ran,) = found["results"]["operations"]
    assert (ran["success"], ran["error"]) == (["run-1"], ["run-2"]), output


def test_a_host_that_vanishes_is_one_sentence_and_fails_alone(fleet: Fleet) -> None:
    for host in (fleet.one, fleet.two):
        host.succeeds("touch /run/wait")
    run = fleet.start()
    for host in (fleet.one, fleet.two):
        host.wait_until_succeeds("test -e /run/begun")
    boot = fleet.one.boot_id()
    fleet.one.kill()
    fleet.one.start()
    fleet.two.succeeds("rm /run/wait")
    status, output = end(run)
    assert status == 1 and "Traceback" not in output, output
    assert output.count("run-1: the connection was lost") == 1, output
    assert fleet.two.succeeds("wc -l </run/changed").strip() == "1"
    assert fleet.one.boot_id() != boot

    status, output = end(fleet.start("--limit", "run-1"))
    assert status == 0 and "the host was booted again" in output, output
