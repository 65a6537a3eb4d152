"""Two hosts and a fleet gateway: a canary that is well lets the other follow, one that is not leaves it as it is.

While all of it changes, no request of those who ask the first host and the gateway fails.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.rollout import NEWER_DRIVER, OLDER_DRIVER, UPGRADE_NGINX, age_certificate, revision_values
from ingot.operations.gateway.site import CERTIFICATE
from ingot.sandbox import Sandbox
from ingot.secrets import files
from ingot.secrets.keys import create, fingerprint, revoke_id, rotate
from tests.e2e import standin_image
from tests.e2e.deploying import INGOT, ROOT, deploy
from tests.hosts.https import Caller, CallError
from tests.rollout.conftest import FRONT, GATEWAY, MODEL, NAMES, Fleet

pytestmark = [pytest.mark.e2e, pytest.mark.rollout, pytest.mark.timeout(1800)]


@pytest.mark.cache
def test_one_host_fetched_the_weights_and_gave_them_to_the_other(fleet: Fleet) -> None:
    told = "cat /var/log/ingot/ingot-transfers.log /var/log/ingot/ingot-models.log 2>/dev/null; true"
    logs = [host.succeeds(told) for host in fleet.hosts]
    fetched, given = ([log.count(words) for log in logs] for words in ("fetched: ", "from peer "))
    assert fetched[0] == fetched[1] > 1, "each has every file"
    assert sorted(given) == [0, fetched[0]], "one from outside, the other from that one alone"
    assert sum(log.count("by swarm: ") for log in logs) > 0, "by the distribution's libtorrent"
    for host in fleet.hosts:
        assert host.succeeds("! pgrep -u root -f '^python3 -I .*peer_on_host.py'") == ""
        # Gone where the host was rebooted since.
        assert host.succeeds("stat -c '%a %U' /run/ingot/peer/peer.pem 2>/dev/null; true") in ("600 root\n", "")


@pytest.mark.cache
@pytest.mark.parametrize(
    ("value", "port", "by_peer"),
    [
        ("cache_peer_port", 8444, False),
        pytest.param("cache_swarm_port", 8445, True, marks=pytest.mark.long),
    ],
)
def test_a_port_that_a_firewall_shuts_is_said_and_the_weights_come_another_way(
    fleet: Fleet, value: str, port: int, by_peer: bool
) -> None:
    lacks, has = fleet.hosts
    rule, models = f"INPUT -p tcp ! -i lo --dport {port} -j DROP", f"/srv/models/{MODEL}"
    log, sums = "/var/log/ingot/ingot-models.log", f"cd {models} && find . -name '*.safetensors' | xargs sha256sum"
    before = has.succeeds(sums)
    # Its engine goes on with the files that it has.
    lacks.succeeds(f": >{log}; mv {models} /srv/kept")
    has.succeeds(f"iptables -I {rule}")
    try:
        run = fleet.deploy("roles.cache.cache")
        assert run.status == 0 and lacks.succeeds(sums) == before, run.output[-6000:]
    finally:
        has.succeeds(f"iptables -D {rule}")
        lacks.succeeds(f"rm -rf {models} && mv /srv/kept {models}")
    shut = [line for line in run.output.splitlines() if "no connection to port" in line]
    assert len(shut) == 1 and f"roll-1: no connection to port {port} ({value}) of roll-2, " in shut[0], run.output[
        -6000:
    ]
    assert f"open TCP port {port} between the hosts" in shut[0]
    told = lacks.succeeds(f"cat {log}")
    assert ("from peer roll-2: " in told) == by_peer and "by swarm: " not in told


def test_the_plan_alone_is_printed_and_nothing_changes(fleet: Fleet) -> None:
    before = fleet.containers()
    tables = []
    for front in (FRONT, ""):
        inventory = str(fleet.inventory(front, engine_extra_args=["--seed", "1"]))
        command = [INGOT, "rollout", "--plan-only", inventory]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr
        tables.append(done.stdout)
    for table, outage in zip(tables, ("none", "yes:"), strict=True):
        head, *rows = [line.split() for line in table.splitlines()]
        assert head == ["order", "host", "replica", "change", "outage"]
        assert [row[:6] for row in rows] == [
            ["1", "canary", "roll-1", "tiny-qwen3-0", "replace:", "arguments"],
            ["1", "canary", "roll-1", "tiny-qwen3-1", "replace:", "arguments"],
            ["2", "roll-2", "tiny-qwen3-0", "replace:", "arguments", outage],
        ]
    assert "none behind the fleet gateway: 2 serve on other hosts" in tables[0]
    assert "503 with Retry-After, about" in tables[1], "the first starts were measured"
    assert fleet.containers() == before


def test_a_canary_that_crashes_leaves_the_other_host_as_it_is(fleet: Fleet) -> None:
    before = fleet.containers()
    with fleet.called_without_a_failure():
        run = fleet.deploy(engine_extra_args=["--crash"])
    assert run.status != 0
    assert "the last good tiny-qwen3-0 serves again." in run.output, run.output[-4000:]
    assert "roll-2: nothing was replaced here: the canary roll-1 failed; mend that, and deploy again." in run.output
    assert fleet.containers()[1] == before[1]


def test_a_canary_whose_callers_fail_goes_back_and_leaves_the_other_host_as_it_is(fleet: Fleet) -> None:
    before, stop = fleet.containers(), threading.Event()
    secrets = Sandbox().secrets_dir
    key, chat = create(secrets, "rollout"), {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    assert deploy(inventory=str(fleet.inventory()), deploy_file="roles.gateway.gateway").status == 0
    caller = Caller(fleet.hosts[0].address, "roll-1", secrets / "ca.crt", key)
    assert caller.post("/v1/chat/completions", chat).status == 200

    def call() -> None:
        while not stop.is_set():
            with suppress(CallError):
                caller.post("/v1/chat/completions", chat)
            time.sleep(0.2)

    calling = threading.Thread(target=call)
    calling.start()
    try:
        run = fleet.deploy(engine_extra_args=["--fail-chat"], rollout_canary_hold_s=5)
    finally:
        stop.set()
        calling.join(timeout=600)
    assert run.status != 0
    assert "requests to this canary got 5xx within 5 s, expected a share of at most 0.01" in run.output
    assert "roll-2: nothing was replaced here: the canary roll-1 failed" in run.output
    assert fleet.containers()[1] == before[1]
    assert caller.post("/v1/chat/completions", chat).status == 200, "what served before is back"


def test_after_a_canary_that_is_well_the_other_host_follows(fleet: Fleet) -> None:
    """Arguments, image and revision of both change, and the driver of the second."""
    before, second = fleet.containers(), fleet.hosts[1]
    drives = "nvidia-smi --query-gpu=driver_version --format=csv,noheader"
    assert second.succeeds(drives).split() == [OLDER_DRIVER]
    fleet.values.update(standin_image.write(fleet.directory / "newer", "newer"))
    revision = revision_values(fleet.directory, 1)
    commit = revision["site_models"][MODEL]["variants"][0]["revision"]
    fleet.values.update(revision)
    fleet.own["roll-2"]["driver_version"] = NEWER_DRIVER
    with fleet.called_without_a_failure():
        run = fleet.deploy(engine_extra_args=["--seed", "1"])
    assert run.status == 0, run.output[-6000:]
    told = (
        "1 canary  roll-1",
        r"roll-1\]\s+tiny-qwen3-0 gave",
        "roll-1 is well after 2 s",
        r"roll-2\]\s+tiny-qwen3-0 gave",
    )
    places = [found.start() for one in told if (found := re.search(one, run.output))]
    assert len(places) == len(told) and places == sorted(places), run.output[-6000:]
    assert not set(fleet.containers()) & set(before)
    for host in fleet.hosts:
        (serves,) = json.loads(host.succeeds("docker inspect ingot-engine-tiny-qwen3-0"))
        assert serves["Image"] == fleet.values["engine_image_id"]
        assert f"/srv/models/{MODEL}/bf16/{commit}" in json.dumps(serves["Mounts"])
    assert second.succeeds(drives).split() == [NEWER_DRIVER]
    again = fleet.deploy(engine_extra_args=["--seed", "1"])
    assert again.status == 0 and [again.changed(name) for name in NAMES] == [[], []], again.output[-3000:]
    assert "canary" not in again.output


def test_callers_notice_neither_another_key_nor_another_gateway_nor_another_nginx(fleet: Fleet) -> None:
    secrets, old = Sandbox().secrets_dir, fingerprint(fleet.key.read_text())[:8]
    hosts = (*fleet.hosts, fleet.front)
    ends_soon = {age_certificate(host, secrets) for host in hosts}
    with fleet.called_without_a_failure():
        new, _ = rotate(secrets, "steady", timedelta(hours=1), datetime.now(UTC))
        run = fleet.deploy(GATEWAY, gateway_max_body="9m")
        assert run.status == 0 and run.changed("roll-1"), run.output[-3000:]
        files.replace(fleet.key, new, mode=0o600)
        assert not ends_soon & {host.succeeds(f"cat {CERTIFICATE}") for host in hosts}, "each has a new certificate"
        fleet.hosts[0].succeeds(UPGRADE_NGINX, timeout_s=600)
    revoke_id(secrets, old)
    # What serves, and what changes it, needs no resolver.
    for host in hosts:
        host.succeeds("cp /etc/resolv.conf /run/resolv.conf && echo nameserver 127.0.0.2 >/etc/resolv.conf")
    try:
        with fleet.called_without_a_failure():
            run = fleet.deploy(GATEWAY, gateway_max_body="9m")
            assert run.status == 0, run.output[-3000:]
    finally:
        for host in hosts:
            host.succeeds("cat /run/resolv.conf >/etc/resolv.conf")


BROKEN = """
from ingot.operations import tree, units
from ingot.operations.gateway import drain
from ingot.operations.serving import rollout

tree.tree(
    name="compose", entries=[tree.File(rollout.COMPOSE, "services: [")],
    validate=rollout.VALIDATE, _ignore_errors=True,
)
tree.tree(name="pool", entries=[tree.File(drain.ENGINES, "upstream {")], validate=drain.VALIDATE, _ignore_errors=True)
tree.tree(
    name="daemon", entries=[tree.File("/etc/docker/daemon.json", '{"no-such-key": 1}')],
    validate="dockerd --validate --config-file {stage}/etc/docker/daemon.json", _ignore_errors=True,
)
tree.tree(
    name="unit", entries=[tree.File("/etc/systemd/system/ingot-engine.service", "[Service]\\nExecStart=relative\\n")],
    validate=units.verified("/etc/systemd/system/ingot-engine.service"), _ignore_errors=True,
)
"""
GUARDED = (
    "/etc/ingot/engine/compose.yaml",
    "/etc/nginx/ingot/engines.conf",
    "/etc/docker/daemon.json",
    "/etc/systemd/system/ingot-engine.service",
)


def test_what_its_own_program_refuses_never_takes_the_place_of_a_file(fleet: Fleet) -> None:
    host, sums = fleet.hosts[0], f"sha256sum {' '.join(GUARDED)}"
    before = host.succeeds(sums)
    path = fleet.directory / "broken.py"
    path.write_text(BROKEN)
    run = deploy("roll-1", inventory=str(fleet.inventory()), deploy_file=str(path))
    assert run.output.count("nothing was changed") >= len(GUARDED), run.output[-5000:]
    assert host.succeeds(sums) == before
    done = json.loads(host.succeeds("docker inspect ingot-engine-tiny-qwen3-0"))
    assert done[0]["State"]["Running"]
