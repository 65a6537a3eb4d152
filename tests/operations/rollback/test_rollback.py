"""A host keeps what was proven, and goes back to it: engine and gateway as they were, keys as they are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingot.facts.asking import Answer, Asked
from ingot.facts.crash import Crash, ReplicaCrash
from ingot.facts.gateway import ENGINES, Running, RunningGateway
from ingot.facts.good_states import Missing, Serving, ServingLook
from ingot.facts.nginx_sites import CONFIGURATION
from ingot.facts.replica import Evidence, Glance, ReplicaEvidence, ReplicaGlance, ReplicaLog
from ingot.operations.rollback import keep, rollback
from ingot.operations.serving import engine
from tests.operations.serving.onehost import OneHost

pytestmark = pytest.mark.rollout

STATE = "/var/lib/ingot/"
TEAMS, KEYS = "/etc/nginx/ingot/teams.conf", "/etc/nginx/ingot/keys.map"


def look(host: OneHost) -> Any:
    """What `ServingLook` finds on a host of the tests."""

    def serving(**_: Any) -> Serving:
        stored = {
            path.removeprefix(STATE): json.loads(text)
            for path, text in host.files.items()
            if path.startswith(STATE) and path.endswith(".json") and "measured" not in path
        }
        files = {path: text for path, text in host.files.items() if path in (CONFIGURATION, TEAMS)}
        return Serving(files, host.files.get(ENGINES, ""), stored, answered=True)

    return serving


@pytest.fixture
def host() -> OneHost:
    """A host that serves its plan behind a gateway, which is kept."""
    made = OneHost()
    made.answers |= {
        ReplicaGlance: Glance("running", health="200", answered="200"),
        ReplicaEvidence: Evidence("running", 0, "200", (), ("Available KV cache memory: 18.50 GiB",)),
        ReplicaLog: ["ValueError: no"],
        Asked: (Answer("200", '{"choices": [{"text": "one"}]}'),),
        ReplicaCrash: Crash(exit_code=1),
        Running: RunningGateway(True, "nginx"),
        Missing: (),
        ServingLook: look(made),
    }
    gateway(made, "1")
    deploy(made)
    return made


def gateway(host: OneHost, version: str) -> None:
    host.files |= {CONFIGURATION: f"version {version}", TEAMS: "teams", KEYS: f"keys {version}", ENGINES: "upstreams"}
    host.modes |= dict.fromkeys((CONFIGURATION, TEAMS, KEYS, ENGINES), "0644")


def deploy(host: OneHost, **values: Any) -> None:
    vars(host.data).update(values)
    host.run(engine.replicas)
    assert host.refused == []
    host.serves(*host.wanted())
    host.run(keep.keep)


def states(host: OneHost) -> list[str]:
    return sorted(path for path in host.files if path.startswith(f"{STATE}good/"))


def test_a_deploy_that_changes_nothing_keeps_nothing_new(host: OneHost) -> None:
    assert states(host) == [f"{STATE}good/1.json"] and host.modes[f"{STATE}good/1.json"] == "0600"
    assert not host.run(keep.keep) and host.noops == ["state 1 is kept already"]


def test_as_many_states_are_kept_as_the_settings_say(host: OneHost) -> None:
    for number in range(3):
        deploy(host, engine_extra_args=["--seed", str(number)], rollback_keep=2)
    assert states(host) == [f"{STATE}good/3.json", f"{STATE}good/4.json"]


def test_a_host_goes_back_to_what_it_served_and_its_keys_stay(host: OneHost) -> None:
    composed = host.composed()
    gateway(host, "2")
    deploy(host, engine_extra_args=["--seed", "1"])
    host.run(rollback.rollback)
    assert host.refused == []
    assert host.composed() == composed and host.files[CONFIGURATION] == "version 1"
    assert host.files[KEYS] == "keys 2", "a key that was revoked since does not come back"
    assert KEYS not in json.loads(host.files[f"{STATE}good/1.json"])["files"]
    assert [one["replicas"] for one in json.loads(host.files[f"{STATE}upstreams.json"])] == [
        ["172.31.213.10:8000", "172.31.213.11:8000"]
    ]


def test_replicas_are_drained_one_by_one(host: OneHost) -> None:
    deploy(host, engine_extra_args=["--seed", "1"])
    host.run(rollback.rollback)
    starts = [c for c in host.commands if "--force-recreate" in c]
    drained = [c for c in host.commands if "num_requests" in c]
    assert len(starts) == len(drained) == 2


@pytest.mark.parametrize(
    ("missing", "says"),
    [(("sha256:gone",), "sha256:gone is gone, expected it to be kept for state 1"), (None, "it did not say whether")],
)
def test_what_is_gone_is_said_before_anything_changes(host: OneHost, missing: Any, says: str) -> None:
    deploy(host, engine_extra_args=["--seed", "1"])
    host.answers[Missing] = missing
    host.run(rollback.rollback)
    assert says in host.refused[0] and host.commands == []


def test_a_host_without_an_older_state_says_which_it_keeps(host: OneHost) -> None:
    host.run(rollback.rollback)
    assert host.refused == [
        "gpu-01: it keeps no state older than what serves now, expected one of those that it keeps (1 (serves now)); "
        "see `ingot history gpu-01`, or deploy an earlier commit of the fleet's repository."
    ]


def test_no_rollback_takes_redaction_from_a_team(host: OneHost) -> None:
    deploy(host, engine_extra_args=["--seed", "1"])
    filtered = look(host)
    host.answers[ServingLook] = lambda **_: Serving(
        {**filtered().files, rollback.FILTERED: "filter"}, "", filtered().stored, answered=True
    )
    host.run(rollback.rollback)
    assert "since a rollback changes no team's protection" in host.refused[0] and host.commands == []


def test_a_state_that_fails_gives_way_to_what_served(host: OneHost) -> None:
    gateway(host, "2")
    deploy(host, engine_extra_args=["--seed", "1"])
    host.answers[ReplicaGlance] = Glance("exited")
    host.run(rollback.rollback)
    assert "crashed" in host.refused[0]
    assert host.files[CONFIGURATION] == "version 2", "the gateway follows engines that were proven"


def joined(host: OneHost, path: str, key: str) -> None:
    """Have services in a file be of a group."""
    found = json.loads(host.files[path])
    services = found[key] if isinstance(found[key], list) else [found[key]]
    for service in services:
        service["group"] = ["gpu-01", "gpu-02"]
    host.files[path] = json.dumps(found)


def test_a_host_that_serves_alone_does_not_go_back_to_half_a_group(host: OneHost) -> None:
    deploy(host, engine_extra_args=["--seed", "1"])
    joined(host, f"{STATE}good/1.json", "services")
    host.run(rollback.rollback)
    assert "state 1 is of a time when it served together with gpu-02, expected one of the same hosts" in host.refused[0]
    assert host.commands == []


def test_a_part_of_a_group_that_the_inventory_denies_stays_as_it_is(host: OneHost) -> None:
    deploy(host, engine_extra_args=["--seed", "1"])
    for name in ("small-0", "small-1"):
        joined(host, f"{STATE}engine/last-good/{name}.json", "service")
    host.run(rollback.rollback)
    assert "it serves one replica together with gpu-02, and its `serve` says otherwise" in host.refused[0]
    assert host.commands == []
