"""A gateway without a GPU before two hosts that serve one model: real nginx, verified TLS, a stand-in engine each."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest

from ingot.operations.gateway import log
from tests.gateway.conftest import ENGINE, SECOND_ENGINE
from tests.gateway.fleet_hosts import ASK, CHAT, Fleet

pytestmark = [pytest.mark.gateway, pytest.mark.e2e, pytest.mark.timeout(1800)]

FLEET_PORT = 8443
#: curl ends with 7 where nothing listens.
SHUT = f"curl -sk --max-time 3 https://{{}}:{FLEET_PORT}/healthz"

GATEWAY = "from roles.gateway import gateway\n\ngateway()\n"
#: The engine's role writes upstreams.json; here stand-ins serve, and only the gateway's role runs on their hosts.
DRAIN = """
from pyinfra.api import operation
from ingot.operations.gateway import drain

@operation()
def drained():
    {calls}

drained(name="pool")
"""


def test_a_host_without_a_gpu_fronts_every_host_of_the_model(fleet: Fleet) -> None:
    fleet.front.host.fails("command -v docker")
    fleet.wait_until_both_serve()
    assert fleet.front.caller.get("/v1/models").json["data"][0]["id"] == "qwen3-4b"
    assert len(list(fleet.front.caller.stream(CHAT, {**ASK, "stream": True}))) == 10


def test_the_callers_team_is_known_on_both_and_the_key_never_reaches_an_engine(fleet: Fleet) -> None:
    fleet.served_by()
    for one in (fleet.front, *fleet.members):
        last = json.loads(one.host.succeeds(f"tail -n 1 {log.LOG}"))
        assert (last["team"], last["path"], last["status"]) == ("research", CHAT, 200)
        one.host.fails(f"grep -rF {fleet.front.key} /var/log/nginx /var/log/ingot /etc/nginx /etc/ingot")
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


@pytest.mark.engines
def test_another_model_stands_in_while_no_host_of_the_model_can(fleet: Fleet) -> None:
    fleet.write_inventory(apart=True)
    try:
        fleet.pyinfra(GATEWAY, fleet.front)
        assert {one["id"] for one in fleet.front.caller.get("/v1/models").json["data"]} == {"qwen3-4b", "qwen3-8b"}
        assert fleet.served_by() == {"t-g4-a"}, "it has a host of its own"
        fleet.members[0].host.succeeds("systemctl stop nginx")
        assert fleet.served_by() == {"t-g4-b"}
    finally:
        fleet.members[0].host.succeeds("systemctl start nginx")
        fleet.write_inventory()
        fleet.pyinfra(GATEWAY, fleet.front)


def test_no_request_fails_while_replicas_and_then_a_whole_host_are_replaced(fleet: Fleet) -> None:
    """Callers keep asking the front, whole and streamed, while engines drain, restart and return."""
    member, statuses, stop = fleet.members[0], [], threading.Event()

    def load() -> None:
        while not stop.is_set():
            statuses.append(fleet.front.caller.post(CHAT, ASK).status)
            statuses.append(200 if len(list(fleet.front.caller.stream(CHAT, {**ASK, "stream": True}))) == 10 else 0)

    def replace_engine(address: str) -> None:
        assert member.running(address) == 0
        member.host.succeeds(f"systemctl stop standin-{address.partition(':')[0]}")
        member.start_engine(address)

    callers = [threading.Thread(target=load) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        fleet.pyinfra(DRAIN.format(calls=f"yield from drain.drain([{ENGINE!r}], grace_s=20)"), member)
        assert fleet.front.host.run(SHUT.format(member.host.address))[0] != 7, "the other replica still serves"
        replace_engine(ENGINE)
        fleet.pyinfra(DRAIN.format(calls="yield from drain.drain(None, grace_s=20)"), member)
        assert fleet.front.host.run(SHUT.format(member.host.address))[0] == 7, "nothing is left to serve"
        refused = replace(member.caller, key=fleet.front.key).post(CHAT, ASK)
        assert (refused.status, refused.json["error"]["code"]) == (503, "engine_draining")
        assert refused.headers["Retry-After"]
        replace_engine(SECOND_ENGINE)
        back = [f"yield from drain.restore('qwen3-4b', {address!r})" for address in (ENGINE, SECOND_ENGINE)]
        fleet.pyinfra(DRAIN.format(calls="; ".join(back)), member)
        time.sleep(1)
    finally:
        stop.set()
        for caller in callers:
            caller.join(timeout=600)
    assert len(statuses) > 40 and set(statuses) == {200}
    fleet.wait_until_both_serve()


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
    fleet.wait_until_both_serve()
    member.host.cut_network()
    try:
        assert {fleet.front.caller.post(CHAT, ASK).status for _ in range(6)} == {200}
    finally:
        member.host.restore_network()
