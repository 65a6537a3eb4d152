"""A gateway without a GPU before two hosts that serve one model: real nginx, verified TLS, a stand-in engine each."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ingot import keys
from ingot.sandbox import Sandbox
from ingot.sandbox.inventory import connection
from tests.gateway.conftest import ENGINE, ROOT, GatewayHost

pytestmark = [pytest.mark.gateway, pytest.mark.e2e, pytest.mark.timeout(240)]

CHAT = "/v1/chat/completions"
ASK = {"model": "stand-in", "messages": [{"role": "user", "content": "Hello"}]}
NAMES = ("t-g4-front", "t-g4-a", "t-g4-b")
FLEET_PORT = 8443

INVENTORY = """
gpu = [(name, {{**data, "serve": [{{"model": "stand-in", "context": 1, "concurrency": 1}}]}}) for name, data in {gpu!r}]
gateway = {front!r}
"""
#: The engine's role writes upstreams.json; here stand-ins serve, and only the gateway's role runs on their hosts.
DRAIN = """
from pyinfra.api import operation
from ingot.operations import drain

@operation()
def drained():
    yield from drain.{call}

drained(name="pool")
"""


@dataclass
class Fleet:
    """The hosts, and one control machine's directory for all of them."""

    front: GatewayHost
    members: tuple[GatewayHost, GatewayHost]
    directory: Path

    def pyinfra(self, deploy: str, *limit: GatewayHost) -> None:
        """Run a deploy file of the checkout, or the text of one, on some hosts of the whole inventory."""
        path = ROOT / deploy
        if "\n" in deploy:
            path = self.directory / f"deploy{threading.get_ident()}.py"
            path.write_text(deploy)
        names = [word for one in limit for word in ("--limit", one.host.name)]
        command = [str(Path(sys.executable).parent / "pyinfra"), "-y", str(self.directory / "lab.py"), str(path)]
        done = subprocess.run([*command, *names], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]

    def write_inventory(self) -> None:
        def entry(one: GatewayHost) -> tuple[str, dict[str, object]]:
            return f"@ingot/{one.host.name}", {**connection(one.host), "secrets_dir": str(one.secrets)}

        gpu, front = [entry(one) for one in self.members], [entry(self.front)]
        (self.directory / "lab.py").write_text(INVENTORY.format(gpu=gpu, front=front))

    def served_by(self, requests: int = 12) -> set[str]:
        """Which hosts' engines answered so many requests to the front."""
        for one in self.members:
            one.reached()
        answers = [self.front.caller.post(CHAT, ASK) for _ in range(requests)]
        assert {answer.status for answer in answers} == {200}, answers[-1].body
        return {one.host.name for one in self.members if one.reached()}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    sandbox = Sandbox()
    directory = tmp_path_factory.mktemp("fleet")
    with ThreadPoolExecutor(3) as pool:
        front, *members = (GatewayHost(host, directory) for host in pool.map(sandbox.up, NAMES))
    made = Fleet(front, (members[0], members[1]), directory)
    made.write_inventory()
    front.key = keys.create(front.secrets, "research")
    for one in made.members:
        one.start_engine()
        one.tell_gateway({"stand-in": ENGINE})
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(made.pyinfra, "deploy.py", front),
            pool.submit(made.pyinfra, "from roles.gateway import gateway\n\ngateway()\n", *made.members),
        ]
        for run in runs:
            run.result()
    yield made
    for name in NAMES:
        sandbox.down(name)


def test_a_host_without_a_gpu_fronts_every_host_of_the_model(fleet: Fleet) -> None:
    fleet.front.host.fails("command -v docker")
    assert fleet.front.caller.get("/v1/models").json["data"][0]["id"] == "stand-in"
    assert fleet.served_by() == {"t-g4-a", "t-g4-b"}
    assert len(list(fleet.front.caller.stream(CHAT, {**ASK, "stream": True}))) == 10


def test_the_callers_team_is_known_on_both_and_the_key_never_reaches_an_engine(fleet: Fleet) -> None:
    fleet.served_by()
    for one in (fleet.front, *fleet.members):
        last = json.loads(one.host.succeeds("tail -n 1 /var/log/nginx/ingot-access.log"))
        assert (last["team"], last["path"], last["status"]) == ("research", CHAT, 200)
        one.host.fails(f"grep -rF {fleet.front.key} /var/log/nginx /etc/nginx /etc/ingot")
    assert replace(fleet.front.caller, key="sk-research-" + "x" * 43).post(CHAT, ASK).status == 401
    fleet.front.caller.post(CHAT, ASK)
    seen = [line for one in fleet.members for line in one.reached()]
    assert seen and all("Authorization" not in line["headers"] for line in seen)


def test_a_host_with_another_certificate_gets_no_key(fleet: Fleet) -> None:
    """Somebody answers at a member's address with a certificate of another CA, and writes down what comes."""
    liar = fleet.members[0].host
    liar.succeeds(
        "mkdir -p /root/liar && cd /root/liar && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-keyout k -out c -days 1 -subj /CN=fleet.ingot.internal -addext subjectAltName=DNS:fleet.ingot.internal "
        "2>/dev/null && systemctl stop nginx && systemd-run --unit liar -p WorkingDirectory=/root/liar "
        f"sh -c 'openssl s_server -quiet -accept {FLEET_PORT} -cert c -key k >said 2>&1'"
    )
    liar.wait_for_port(FLEET_PORT)
    try:
        assert fleet.served_by() == {"t-g4-b"}
        liar.fails("grep -a Bearer /root/liar/said")
    finally:
        liar.succeeds("systemctl stop liar; systemctl start nginx")


def test_no_request_fails_while_a_host_is_drained_and_its_engine_replaced(fleet: Fleet) -> None:
    """Callers keep asking the front, whole and streamed, while one of two hosts drains, restarts and returns."""
    member, statuses, stop = fleet.members[0], [], threading.Event()

    def load() -> None:
        while not stop.is_set():
            statuses.append(fleet.front.caller.post(CHAT, ASK).status)
            statuses.append(200 if len(list(fleet.front.caller.stream(CHAT, {**ASK, "stream": True}))) == 10 else 0)

    callers = [threading.Thread(target=load) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        fleet.pyinfra(DRAIN.format(call="drain(None, grace_s=20)"), member)
        assert json.loads(member.host.succeeds("cat /var/lib/ingot/upstreams.json"))[0]["draining"] == [ENGINE]
        assert fleet.front.host.run(f"curl -sk --max-time 3 https://{member.host.address}:{FLEET_PORT}/healthz")[0] == 7
        assert member.running() == 0
        refused = replace(member.caller, key=fleet.front.key).post(CHAT, ASK)
        assert (refused.status, refused.json["error"]["code"]) == (503, "engine_draining")
        assert refused.headers["Retry-After"]
        member.host.succeeds("systemctl stop standin-172.31.213.10")
        member.start_engine()
        fleet.pyinfra(DRAIN.format(call=f"restore('stand-in', {ENGINE!r})"), member)
        time.sleep(1)
    finally:
        stop.set()
        for caller in callers:
            caller.join(timeout=30)
    assert len(statuses) > 40 and set(statuses) == {200}
    assert fleet.served_by() == {"t-g4-a", "t-g4-b"}


def test_a_host_that_failed_its_acceptance_is_passed_by_and_says_so_itself(fleet: Fleet) -> None:
    member = fleet.members[1]
    member.host.put("/var/lib/ingot/acceptance.json", '{"verdict": "fail", "override": null}')
    fleet.pyinfra("from roles.gateway import gateway\n\ngateway()\n", member)
    assert fleet.served_by() == {"t-g4-a"}
    refused = replace(member.caller, key=fleet.front.key).get("/v1/models")
    assert (refused.status, refused.json["error"]["code"]) == (503, "host_held_out")


def test_a_host_that_loses_power_is_passed_by(fleet: Fleet) -> None:
    member = fleet.members[0]
    fleet.members[1].host.succeeds("rm /var/lib/ingot/acceptance.json")
    fleet.pyinfra("from roles.gateway import gateway\n\ngateway()\n", fleet.members[1])
    member.host.cut_network()
    try:
        assert {fleet.front.caller.post(CHAT, ASK).status for _ in range(6)} == {200}
    finally:
        member.host.restore_network()
