"""Two hosts serve one model together, by vLLM's CPU build, and none goes on without the other. In order."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from ingot.engines.group_service import MASTER_PORT
from ingot.sandbox import Sandbox, TestHost
from ingot.secrets.keys import create
from tests.e2e.deploying import INGOT, ROOT, Run, deploy
from tests.e2e.test_deploy import client

pytestmark = [pytest.mark.e2e, pytest.mark.engines, pytest.mark.timeout(1800)]

NAMES, MODEL = ("group-1", "group-2"), "tiny-qwen3"
#: How long a group may be without an answer after a fault, on a quiet machine; a busy one is given more.
BACK_S = 180
INVENTORY = f"""
from ingot.sandbox.inventory import hosts
_names = {list(NAMES)!r}
_serve = [{{"model": {MODEL!r}, "context": 2048, "concurrency": 4, "hosts": _names}}]
_values = {{"serve": _serve, "engine_hold_s": 0, "engine_stop_grace_s": 20, "lock_wait_s": 0}}
sandbox = [(name, {{**data, **_values}}) for name, data in hosts() if name.removeprefix("@ingot/") in _names]
"""
CONTAINERS = "docker ps --quiet --filter label=ingot.address"


@dataclass
class Group:
    """Both hosts, the head first, and the inventory that has them serve together."""

    head: TestHost
    member: TestHost
    inventory: Path
    key: str

    @property
    def hosts(self) -> tuple[TestHost, TestHost]:
        return self.head, self.member

    def deploy(self, *names: str) -> Run:
        return deploy(*names, inventory=str(self.inventory))

    def with_words(self, words: str, others: str) -> Path:
        """An inventory of both with other words in it."""
        assert words in INVENTORY
        path = self.inventory.with_name("changed.py")
        path.write_text(INVENTORY.replace(words, others))
        return path

    def changed(self, words: str, others: str) -> Run:
        """Deploy both with other words in their inventory."""
        return deploy(inventory=str(self.with_words(words, others)))

    def apart(self) -> Path:
        """An inventory in which each serves alone, with a host file of the member."""
        path = self.with_words(', "hosts": _names', "")
        file = path.parent / "changed" / f"{self.member.name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"address: {self.member.address}\n")
        return path

    def ingot(self, *words: str, inventory: Path | None = None) -> tuple[int, str]:
        """Run a command of ingot's on the group's inventory. Returns: its status, and all that it said."""
        command = [str(INGOT), *words, "--inventory", str(inventory or self.inventory)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False, input="")
        return done.returncode, done.stdout + done.stderr

    def containers(self) -> list[str]:
        """The container of each host."""
        return [host.succeeds(CONTAINERS) for host in self.hosts]

    def argv(self) -> list[str]:
        """What the container of each host was started with."""
        return [host.succeeds(f"docker inspect --format '{{{{.Config.Cmd}}}}' $({CONTAINERS})") for host in self.hosts]

    def epoch(self, host: TestHost) -> int:
        return int(json.loads(host.succeeds("cat /var/lib/ingot/engine/group.json"))["epoch"])

    def answer(self) -> str:
        """What a caller at the head's gateway is given."""
        asked = client(self.head, self.key).with_options(timeout=30)
        return asked.completions.create(model=MODEL, prompt="Count from one to ten.", max_tokens=4).choices[0].text

    def answers_again(self, after: int, limit_s: float = 3 * BACK_S) -> float:
        """Wait until callers are answered in a later epoch than `after`; seconds that it took."""
        began = time.monotonic()
        while True:
            try:
                if self.epoch(self.head) > after and self.answer():
                    break
            except (openai.OpenAIError, AssertionError):
                pass
            assert time.monotonic() - began < limit_s, self.head.run("journalctl -u ingot-engine -n 50 -o cat")[1]
            time.sleep(1)
        took = time.monotonic() - began
        print(f"served again after {took:.0f} s")
        assert self.epoch(self.head) == self.epoch(self.member)
        for host in self.hosts:
            assert len(host.succeeds(CONTAINERS).split()) == 1
        return took


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    sandbox = Sandbox()
    there = {one.name for one in sandbox.hosts()}
    for name in NAMES:
        if name in there:
            sandbox.down(name)
    with ThreadPoolExecutor(2) as pool:
        head, member = pool.map(lambda name: sandbox.up(name, profile="rtx4090x1"), NAMES)
    inventory = tmp_path_factory.mktemp("group") / "group.py"
    inventory.write_text(INVENTORY)
    yield Group(head, member, inventory, create(sandbox.secrets_dir, "group"))
    for name in NAMES:
        sandbox.down(name)


def test_one_host_alone_is_refused_before_anything_changes(group: Group) -> None:
    run = group.deploy(NAMES[0])
    assert run.status != 0
    assert f"{NAMES[1]}, which takes no part in this run" in run.output, run.output[-3000:]
    assert run.changed(NAMES[0]) == []


@pytest.fixture(scope="module")
def serving(group: Group) -> Group:
    """Both hosts are deployed and serve together."""
    run = group.deploy()
    assert run.status == 0, run.output[-6000:]
    return group


def test_a_deploy_has_both_hosts_compute_the_answer(serving: Group) -> None:
    assert serving.answer()
    said = serving.member.succeeds("docker logs $(docker ps --quiet --filter label=ingot.address) 2>&1")
    assert "headless" in said
    assert json.loads(serving.member.succeeds("cat /var/lib/ingot/upstreams.json")) == []


def test_a_second_deploy_changes_nothing(serving: Group) -> None:
    before = serving.containers()
    run = serving.deploy()
    assert (run.status, run.changed(NAMES[0]), run.changed(NAMES[1])) == (0, [], []), run.output[-4000:]
    assert serving.containers() == before


def test_both_keep_every_promise_of_a_host(serving: Group) -> None:
    status, said = serving.ingot("verify")
    assert status == 0, said


def test_no_command_leaves_half_a_group(serving: Group) -> None:
    before = serving.containers()
    for words, says in (
        (("rollback", NAMES[1]), f"{NAMES[0]}: it keeps no state of its group older than what serves now"),
        (("decommission", NAMES[1], "--yes"), f"{NAMES[1]}: {MODEL} is served by it together with {NAMES[0]}"),
        (("accept", NAMES[1]), f"{NAMES[1]}: it serves {MODEL} together with {NAMES[0]}"),
    ):
        status, said = serving.ingot(*words)
        assert status == 1 and says in said, said
    status, said = serving.ingot("decommission", NAMES[1], "--dry", inventory=serving.apart())
    assert status == 0 and f"end the model that it serves together with {NAMES[0]}, on all of them" in said, said
    status, said = serving.ingot("rollback", NAMES[1], inventory=serving.apart())
    assert status == 1 and f"{NAMES[1]}: it serves one replica together with {NAMES[0]}, and its `serve`" in said, said
    assert serving.containers() == before


def test_a_stranger_reaches_no_port_of_the_engine(serving: Group) -> None:
    """This machine is on the same network, and is no host of the serving."""
    opened = serving.head.succeeds("ss -Hltnp | grep -i vllm | awk '{print $4}' | grep -v ^127.0.0.1").split()
    ports = {int(one.rpartition(":")[2]) for one in opened}
    assert MASTER_PORT in ports and len(ports) > 3, opened
    for port in (MASTER_PORT, *sorted(ports - {MASTER_PORT})[:4]):
        with pytest.raises(OSError), socket.create_connection((serving.head.address, port), timeout=2):
            pass


def test_a_dead_worker_is_everybodys_end_and_beginning(serving: Group) -> None:
    before = serving.epoch(serving.head)
    serving.member.succeeds("pkill -KILL -f 'VLLM::[W]orker'")
    serving.answers_again(before)


def test_a_dead_engine_of_the_head_takes_its_member_along(serving: Group) -> None:
    before = serving.epoch(serving.head)
    serving.head.succeeds("pkill -KILL -f 'VLLM::[E]ngineCore'")
    serving.answers_again(before)


@pytest.mark.long
def test_a_host_that_boots_finds_its_group_again(serving: Group) -> None:
    before = serving.epoch(serving.head)
    serving.member.reboot()
    serving.answers_again(before)


@pytest.mark.long
def test_a_cut_between_them_leaves_no_half_group(serving: Group) -> None:
    before = serving.epoch(serving.head)
    rule = "-s {} -j DROP"
    for host, other in (serving.hosts, serving.hosts[::-1]):
        host.succeeds(f"iptables -w -I INPUT {rule.format(other.address)}")
    for host in serving.hosts:
        host.wait_until_succeeds(f'test -z "$({CONTAINERS})"', timeout_s=600)
    for host, other in (serving.hosts, serving.hosts[::-1]):
        host.succeeds(f"iptables -w -D INPUT {rule.format(other.address)}")
    serving.answers_again(before)


@pytest.mark.long
def test_a_change_that_fails_goes_back_on_both_hosts(serving: Group) -> None:
    before = serving.epoch(serving.head)
    run = serving.changed('"engine_hold_s": 0', '"engine_hold_s": 0, "engine_extra_args": ["--no-such-flag"]')
    assert run.status != 0 and "Traceback" not in run.output, run.output[-6000:]
    serving.answers_again(before)
    for host in serving.hosts:
        assert "--no-such-flag" not in host.succeeds(f"docker inspect $({CONTAINERS})")
    again = serving.deploy()
    assert again.status == 0, again.output[-6000:]
    assert serving.answer()


@pytest.mark.long
def test_a_group_goes_back_as_one_whichever_of_its_hosts_is_named(serving: Group) -> None:
    first = serving.argv()
    run = serving.changed('"engine_hold_s": 0', '"engine_hold_s": 0, "engine_extra_args": ["--seed", "7"]')
    assert run.status == 0 and all("--seed 7" in words for words in serving.argv()), run.output[-6000:]
    before = serving.containers()
    for name in NAMES:
        _, said = serving.ingot("history", name)
        assert "(now)" in said, said

    status, said = serving.ingot("rollback", NAMES[1], "--dry")
    assert status == 0 and all(f"{name}: would go back to state" in said for name in NAMES), said
    assert all(f"{name}  {MODEL}-0  replace: arguments  yes: 503 with Retry-After" in said for name in NAMES), said
    assert serving.containers() == before

    number = max(int(name.partition(".")[0]) for name in serving.head.succeeds("ls /var/lib/ingot/good").split())
    lacking = f"/var/lib/ingot/good/{number - 1}.json"
    serving.member.succeeds(f"mv {lacking} /root/")
    status, said = serving.ingot("rollback", "all", "--to", str(number - 1))
    assert status == 1 and f"{NAMES[1]}: it keeps no state {number - 1} of its group" in said, said
    assert serving.containers() == before
    serving.member.succeeds(f"mv /root/{number - 1}.json {lacking}")

    serving.member.succeeds("setsid flock /run/ingot/lock sleep 300 >/dev/null 2>&1 & echo $! >/run/held")
    status, said = serving.ingot("rollback", NAMES[0])
    assert status != 0 and f"{NAMES[1]}: it is being changed by" in said, said
    serving.member.succeeds("kill -- -$(cat /run/held)")
    assert serving.containers() == before

    status, said = serving.ingot("rollback", NAMES[1])
    assert status == 0 and all(f"{name}: serves state {number - 1} of" in said for name in NAMES), said
    assert serving.argv() == first and serving.answer()
    assert serving.ingot("verify")[0] == 0
    again = serving.deploy()
    kept = ["Remember | Keep what serves, to go back to"]
    assert (again.status, again.changed(NAMES[0]), again.changed(NAMES[1])) == (0, kept, kept), again.output[-6000:]
    assert serving.argv() == first


@pytest.mark.long
def test_both_are_accepted_together_and_serve_again(serving: Group) -> None:
    before = serving.epoch(serving.head)
    status, said = serving.ingot("accept", *NAMES, "--level", "quick", "--hours", "0.0006")
    assert status == 0 and all(f"{name}: pass (quick)" in said for name in NAMES), said
    serving.answers_again(before)
    assert "draining" not in serving.head.succeeds("cat /var/lib/ingot/upstreams.json")
    for host in serving.hosts:
        host.fails("ls /etc/systemd/system/ingot-accept-restore.service")


@pytest.mark.long
def test_hosts_that_leave_serve_by_themselves_and_are_cleared(serving: Group) -> None:
    run = serving.changed(', "hosts": _names', "")
    assert run.status == 0, run.output[-6000:]
    for host in serving.hosts:
        asked = client(host, serving.key).with_options(timeout=30)
        assert asked.completions.create(model=MODEL, prompt="Count from one to ten.", max_tokens=4).choices[0].text
        host.fails("ls /var/lib/ingot/engine/group.json")
        assert "INGOT-GROUP" not in host.succeeds("iptables -w -S")


@pytest.mark.long
def test_a_host_that_is_taken_away_ends_the_group_and_the_other_serves_alone_again(serving: Group) -> None:
    run = serving.deploy()
    assert run.status == 0, run.output[-6000:]
    apart = serving.apart()
    status, said = serving.ingot(
        "decommission", NAMES[1], "--yes", "--keep-driver", "--keep-docker", "--drain-seconds", "1", inventory=apart
    )
    assert status == 0, said
    assert serving.member.succeeds(CONTAINERS) == ""
    assert "INGOT-GROUP" not in serving.member.succeeds("iptables -w -S")
    serving.head.wait_until_succeeds(f'test -z "$({CONTAINERS})"', timeout_s=600)
    left = deploy(NAMES[0], inventory=str(apart))
    assert left.status == 0, left.output[-6000:]
    assert serving.answer()
