"""Used servers on booted hosts: what preflight says, what a deploy leaves, and that apt works after all of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from ingot.facts.gateway import ENGINES
from ingot.facts.replica_holds import HOLDS_FILE
from ingot.gateway.upstreams import UPSTREAMS_FILE, Upstream, engines, upstreams_json
from ingot.operations.gateway.pool import engines_conf
from ingot.sandbox import Sandbox, TestHost, simulated
from tests.driver.deploying import run
from tests.e2e.deploying import Run
from tests.found.driver_states import OLDER, STATES, VERSIONS
from tests.found.states import APT_WORKS, State

pytestmark = [pytest.mark.e2e, pytest.mark.driver, pytest.mark.found, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Found:
    """One state on its host: what `keeps` printed before the deploy, the deploy, and how long it took."""

    state: State
    host: TestHost
    before: dict[str, str]
    deployed: Run
    took_s: float


def find(state: State) -> Found:
    host = Sandbox().up(state.host, profile=state.profile)
    if state.installed is not None:
        done = run(state.host, data=state.installed, roles=state.roles)
        assert done.status == 0, done.output[-3000:]
    host.succeeds(state.prepare, timeout_s=180)
    before = {look: host.succeeds(look) for look in state.keeps}
    began = time.monotonic()
    deployed = run(state.host, data=state.values, roles=state.roles)
    return Found(state, host, before, deployed, time.monotonic() - began)


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, Found]]:
    try:
        with ThreadPoolExecutor(2) as pool:
            yield {one.state.host: one for one in pool.map(find, STATES)}
    finally:
        for state in STATES:
            Sandbox().down(state.host)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.host)
def test_a_used_server_is_converted_or_refused_in_one_sentence(found: dict[str, Found], state: State) -> None:
    one = found[state.host]
    assert "Traceback" not in one.deployed.output
    if state.refused is None:
        assert one.deployed.status == 0, one.deployed.output[-4000:]
    else:
        assert one.deployed.status != 0, one.deployed.output[-4000:]
        said = [line for line in one.deployed.said_of(state.host) if all(word in line for word in state.refused)]
        assert len(said) == 1, one.deployed.output[-4000:]
    assert one.took_s < state.within_s, one.deployed.output[-2000:]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.host)
def test_what_worked_works_and_apt_does_too(found: dict[str, Found], state: State) -> None:
    one = found[state.host]
    assert {look: one.host.succeeds(look) for look in state.keeps} == one.before
    for look, words in state.leaves.items():
        assert words in one.host.succeeds(look), (look, one.deployed.output[-3000:])
    one.host.succeeds(APT_WORKS, timeout_s=120)


@pytest.mark.parametrize("state", [state for state in STATES if state.refused is None], ids=lambda state: state.host)
def test_a_second_run_changes_nothing(found: dict[str, Found], state: State) -> None:
    again = run(state.host, data=state.values, roles=state.roles)
    assert (again.status, again.changed(state.host)) == (0, []), (again.output[-3000:], found[state.host])


def test_a_replica_whose_gpu_fails_is_out_of_the_pool_until_the_gpu_is_well(found: dict[str, Found]) -> None:
    host = found["found-monitored"].host
    gpu = host.succeeds("nvidia-smi --query-gpu=uuid --format=csv,noheader").split()[0]
    service = {"devices": [f"nvidia.com/gpu={gpu}"], "address": "127.0.0.1", "port": 8000, "health_path": "/health"}
    upstreams = (Upstream("tiny", ("127.0.0.1:8000",)),)
    host.succeeds("mkdir -p /var/lib/ingot/engine/last-good /srv/replica && touch /srv/replica/health")
    host.succeeds("systemd-run --unit=replica --working-directory=/srv/replica python3 -m http.server 8000")
    host.put("/var/lib/ingot/engine/last-good/tiny-0.json", json.dumps(service))
    host.put(UPSTREAMS_FILE, upstreams_json(upstreams))
    host.put(ENGINES, engines_conf(engines(upstreams), affinity=False))
    whole = host.succeeds(f"cat {ENGINES}")
    done = run(host.name, roles="tests/found/deploy_replica_watch.py")
    assert done.status == 0, done.output[-3000:]
    host.succeeds(simulated.set_command("gpus.0.query.gpu_recovery_action", "Reset"))
    host.wait_until_succeeds(f"grep -q ' down;' {ENGINES} && grep -q {gpu} {HOLDS_FILE}", timeout_s=120)
    assert "the driver asks for: Reset" in host.succeeds(f"cat {HOLDS_FILE}")
    host.succeeds("journalctl -u ingot-replica-watch | grep 'is taken out of the pool'")
    host.succeeds(simulated.set_command("gpus.0.query.gpu_recovery_action", "None"))
    host.wait_until_succeeds(f"! grep -q ' down;' {ENGINES} && grep -qx '{{}}' {HOLDS_FILE}", timeout_s=120)
    assert host.succeeds(f"cat {ENGINES}") == whole
    assert run(host.name, roles="tests/found/deploy_replica_watch.py").changed(host.name) == []


def test_another_branch_goes_back_and_forth_between_archives(found: dict[str, Found]) -> None:
    host = found["found-ubuntu"].host
    older = ("driver_branch=535", "driver_version=535.309.01")
    for values, version in ((older, "535.309.01"), ((OLDER,), "580.159.03")):
        done = run(host.name, data=values)
        assert done.status == 0, done.output[-4000:]
        assert f"  {version}  " in host.succeeds("cat /proc/driver/nvidia/version")
        assert set(host.succeeds(VERSIONS).split()) - {version, version.partition(".")[0]} == set()
        host.succeeds(APT_WORKS, timeout_s=120)
