"""Used servers on booted hosts: what preflight says, what a deploy leaves, and that apt works after all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ingot.facts.gateway import ENGINES
from ingot.facts.replica_holds import HOLDS_FILE
from ingot.gateway.upstreams import UPSTREAMS_FILE, Upstream, engines, upstreams_json
from ingot.operations.gateway.pool import engines_conf
from ingot.sandbox import simulated
from tests.driver.deploying import run
from tests.found import docker_states, driver_states, odd_states
from tests.found.driver_states import OLDER, VERSIONS
from tests.found.finding import Found, decommission, decommissioned, finding
from tests.found.states import APT_WORKS, State

pytestmark = [pytest.mark.e2e, pytest.mark.driver, pytest.mark.found, pytest.mark.timeout(1800)]

#: What the tests that are no rows go on with.
DRIVER_HOSTS = ("found-ubuntu", "found-monitored")
STATES = (*docker_states.STATES, *odd_states.STATES, *driver_states.STATES)


@pytest.fixture(scope="module")
def found(request: pytest.FixtureRequest) -> Iterator[dict[str, Found]]:
    """The rows that tests were chosen of, with the others of their hosts."""
    chosen = {getattr(item, "callspec", None) and item.callspec.params.get("row") for item in request.session.items}
    asked = set(DRIVER_HOSTS) if None in chosen else set()
    hosts = asked | {state.host for state in STATES if state.row in chosen}
    with finding(state for state in STATES if state.host in hosts) as rows:
        yield rows


def rows(*states: State) -> pytest.MarkDecorator:
    """A test for each of the rows."""
    return pytest.mark.parametrize("row", [state.row for state in states])


@rows(*STATES)
def test_a_used_server_is_converted_or_refused_in_one_sentence(found: dict[str, Found], row: str) -> None:
    one = found[row]
    state = one.state
    assert "Traceback" not in one.deployed.output
    said = one.deployed.said_of(state.host)
    if state.refused is None:
        assert one.deployed.status == 0, one.deployed.output[-4000:]
        assert not state.said or any(all(word in line for word in state.said) for line in said), said
    else:
        assert one.deployed.status != 0, one.deployed.output[-4000:]
        assert sum(all(word in line for word in state.refused) for line in said) == 1, one.deployed.output[-4000:]
        assert one.deployed.changed(state.host) == []
    assert one.took_s < state.within_s, one.deployed.output[-2000:]


@rows(*STATES)
def test_what_worked_works_and_apt_does_too(found: dict[str, Found], row: str) -> None:
    one = found[row]
    assert one.after == one.before
    for look, words in one.state.leaves.items():
        assert words in one.left[look], (look, one.deployed.output[-3000:])
    assert one.apt[0] == 0, one.apt[1]


@rows(*(state for state in STATES if state.refused is None))
def test_a_second_run_changes_nothing(found: dict[str, Found], row: str) -> None:
    one = found[row]
    assert one.again is not None
    assert (one.again.status, one.again.changed(one.state.host)) == (0, []), one.again.output[-3000:]


@rows(*(state for state in STATES if state.restores is not None))
def test_a_host_that_leaves_is_as_it_was_or_it_is_said(found: dict[str, Found], row: str) -> None:
    one = found[row]
    assert {look: one.restored[look] for look in one.state.keeps} == one.before, one.gone
    for look, words in (one.state.restores or {}).items():
        assert words in one.restored[look] or words in one.gone, (look, one.restored[look], one.gone)


def test_a_replica_whose_gpu_fails_is_out_of_the_pool_until_the_gpu_is_well(found: dict[str, Found]) -> None:
    host = found["found-monitored"].host
    gpu = host.succeeds("nvidia-smi --query-gpu=uuid --format=csv,noheader").split()[0]
    where = {"address": "127.0.0.1", "port": 8000, "health_path": "/health", "start_deadline_s": 600}
    service = {"name": "tiny-0", "model": "tiny", "devices": [f"nvidia.com/gpu={gpu}"], **where}
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
    host.wait_until_succeeds(f"grep -q ' down;' {ENGINES} && grep -q {gpu} {HOLDS_FILE}", timeout_s=600)
    assert "the driver asks for: Reset" in host.succeeds(f"cat {HOLDS_FILE}")
    host.succeeds("journalctl -u ingot-replica-watch | grep 'is taken out of the pool'")
    host.succeeds(simulated.set_command("gpus.0.query.gpu_recovery_action", "None"))
    host.wait_until_succeeds(f"! grep -q ' down;' {ENGINES} && grep -qx '{{}}' {HOLDS_FILE}", timeout_s=600)
    assert host.succeeds(f"cat {ENGINES}") == whole
    assert run(host.name, roles="tests/found/deploy_replica_watch.py").changed(host.name) == []


def test_a_host_does_not_lose_its_driver_while_monitoring_of_others_reads_the_gpus(found: dict[str, Found]) -> None:
    host = found["found-monitored"].host
    before = host.succeeds(f"systemctl is-active nvidia-dcgm my-exporter; {VERSIONS}; ls /var/lib/ingot")
    refused = decommission(host)
    assert refused.returncode == 1
    assert "dcgm-exporter (pid " in refused.stdout + refused.stderr
    assert "or keep the driver with --keep-driver" in refused.stdout + refused.stderr
    assert host.succeeds(f"systemctl is-active nvidia-dcgm my-exporter; {VERSIONS}; ls /var/lib/ingot") == before
    host.succeeds("systemctl stop nvidia-dcgm my-exporter")
    assert "remove the driver" in decommissioned(host)
    assert host.succeeds(f"{VERSIONS}; ls /var/lib/ingot /proc/driver/nvidia 2>/dev/null; true") == ""
    host.succeeds(APT_WORKS, timeout_s=600)


@pytest.mark.long
def test_another_branch_goes_back_and_forth_between_archives_and_stays(found: dict[str, Found]) -> None:
    host = found["found-ubuntu"].host
    older = ("driver_branch=535", "driver_version=535.309.01")
    for values, version in ((older, "535.309.01"), ((OLDER,), "580.159.03")):
        done = run(host.name, data=values)
        assert done.status == 0, done.output[-4000:]
        assert f"  {version}  " in host.succeeds("cat /proc/driver/nvidia/version")
        assert set(host.succeeds(VERSIONS).split()) - {version, version.partition(".")[0]} == set()
        host.succeeds(APT_WORKS, timeout_s=600)
    # The driver was there before Ingot, in whichever version: it stays, and is said to.
    assert "leave the driver" in decommissioned(host)
    assert "  580.159.03  " in host.succeeds("cat /proc/driver/nvidia/version")
    host.succeeds(APT_WORKS, timeout_s=600)
