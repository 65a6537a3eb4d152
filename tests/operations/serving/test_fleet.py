"""Hosts of one run replace their replicas one after the other, the canary first; a bad canary stops them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import gevent
import pytest
from gevent.pool import Pool
from pyinfra.context import ctx_state

from ingot.facts.access_log import AccessLogMark, AccessLogSince, LogMark, Served
from ingot.facts.asking import Answer, Asked
from ingot.facts.crash import Crash, ReplicaCrash
from ingot.facts.engine import Container, EngineLook
from ingot.facts.replica import Evidence, Glance, ReplicaEvidence, ReplicaGlance, ReplicaLog
from ingot.operations.serving import canary, engine, fleet
from tests.operations.serving.onehost import Inventory, OneHost, one_run

pytestmark = pytest.mark.rollout

READY = Glance("running", health="200", answered="200")


class Three:
    """Three hosts that serve the same model, and the starts of their replicas in order."""

    def __init__(self) -> None:
        self.hosts: dict[str, OneHost] = {}
        self.started: list[str] = []
        self.crashing: set[str] = set()
        for name in ("gpu-01", "gpu-02", "gpu-03"):
            host = OneHost()
            host.name, host.print_prefix = name, f"[{name}] "
            host.answers |= {
                ReplicaGlance: self._glance(name),
                Asked: (Answer("200", '{"choices": [{"text": "one"}]}'),),
                ReplicaEvidence: Evidence("running", 0, "200"),
                ReplicaLog: [],
                ReplicaCrash: Crash(1),
                AccessLogMark: LogMark(),
                AccessLogSince: Served(50, 0),
            }
            self.hosts[name] = host
        inventory = Inventory(self.hosts.values())
        for host in inventory:
            host.run(engine.replicas)
            host.serves(*host.wanted())
            host.inventory = inventory
        self.started.clear()

    def _glance(self, name: str) -> Callable[..., Glance]:
        def glance(**arguments: object) -> Glance:
            self.started.append(f"{name} {arguments['container']}")
            gevent.sleep(0.01)
            return Glance("exited") if name in self.crashing else READY

        return glance

    def change(self, *names: str) -> None:
        for name in names or tuple(self.hosts):
            host = self.hosts[name]
            host.data.engine_extra_args, host.data.rollout_canary_hold_s = ["--seed", "1"], 1

    def deploy(self, at_once: int | None = None) -> None:
        """Both operations on all hosts, each on all of them at once as pyinfra has it."""
        run = one_run(at_once=at_once)
        for operation in (engine.outlook, engine.replicas):
            # What greenlets leave behind when they end is the run again, for those that go on.
            with ctx_state.use(run):
                pool = Pool(at_once)
                found = [pool.spawn(partial(host.run, operation, run=run)) for host in self.hosts.values()]
                gevent.joinall(found, timeout=180, raise_error=True)
            assert all(one.ready() for one in found), "a host waits for ever"

    def order(self) -> list[str]:
        return list(dict.fromkeys(line.split()[0] for line in self.started))

    def refused(self) -> dict[str, list[str]]:
        return {name: host.refused for name, host in self.hosts.items() if host.refused}


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[Three]:
    monkeypatch.setattr(fleet, "PAUSE_S", 0.01)
    monkeypatch.setattr(fleet.time, "sleep", gevent.sleep)
    monkeypatch.setattr(canary, "SLICE_S", 0.01)
    yield Three()


def test_the_canary_goes_first_and_then_one_host_after_the_other(
    three: Three, caplog: pytest.LogCaptureFixture
) -> None:
    three.change()
    with caplog.at_level(logging.INFO):
        three.deploy()
    assert three.refused() == {}
    assert three.order() == ["gpu-01", "gpu-02", "gpu-03"]
    assert [line.split()[0] for line in three.started] == sorted(line.split()[0] for line in three.started)
    table = [one.message.split() for one in caplog.records if one.message.startswith("    ")]
    assert table[0] == ["order", "host", "replica", "change", "outage"]
    assert [row[:3] for row in table[1:]] == [
        ["1", "canary", "gpu-01"], ["1", "canary", "gpu-01"],
        ["2", "gpu-02", "small-0"], ["2", "gpu-02", "small-1"],
        ["3", "gpu-03", "small-0"], ["3", "gpu-03", "small-1"],
    ]  # fmt: skip
    assert "replace: arguments" in caplog.text and "none: 1 of 2 serve" in caplog.text


def test_a_canary_that_crashes_stops_the_others_before_they_change_anything(three: Three) -> None:
    three.change()
    three.crashing.add("gpu-01")
    three.deploy()
    assert three.order() == ["gpu-01"]
    assert {name: three.hosts[name].commands for name in ("gpu-02", "gpu-03")} == {"gpu-02": [], "gpu-03": []}
    said = three.refused()
    assert said["gpu-02"] == [
        "gpu-02: nothing was replaced here: the canary gpu-01 failed; mend that, and deploy again."
    ]
    assert len(said["gpu-03"]) == 1 and "crashed" in said["gpu-01"][0]


def test_a_canary_whose_callers_fail_goes_back_and_stops_the_others(three: Three) -> None:
    three.change()
    before = three.hosts["gpu-01"].composed()
    three.hosts["gpu-01"].answers[AccessLogSince] = Served(50, 7)
    three.deploy()
    said = three.refused()
    assert said["gpu-01"][0].startswith(
        "gpu-01: 7 of 50 requests to this canary got 5xx within 1 s, expected a share of at most 0.01"
    )
    assert set(said) == {"gpu-01", "gpu-02", "gpu-03"}
    assert three.hosts["gpu-01"].composed() == before


def test_a_canary_whose_replica_turns_unhealthy_goes_back_and_stops_the_others(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs on, and nobody asked it: its health alone says so."""
    three.change()
    one = three.hosts["gpu-01"]
    before, look = one.composed(), canary.ask

    def ask(fact: type, **arguments: Any) -> Any:
        found = look(fact, **arguments)
        if fact is not EngineLook:
            return found
        sick = Container("small-0", "", "", "running", 0, 0, 60, "172.31.0.2", (), healthy=False)
        return replace(found, containers=(sick, replace(sick, service="small-1", healthy=True)))

    monkeypatch.setattr(canary, "ask", ask)
    one.answers[AccessLogSince] = Served(0, 0)
    three.deploy()
    said = three.refused()
    assert said["gpu-01"][0].startswith("gpu-01: small-0 of this canary stopped serving within 1 s")
    assert set(said) == {"gpu-01", "gpu-02", "gpu-03"}
    assert one.composed() == before


def test_a_host_that_has_nothing_to_change_neither_waits_nor_is_the_canary(three: Three) -> None:
    three.change("gpu-02", "gpu-03")
    three.deploy()
    assert three.order() == ["gpu-02", "gpu-03"] and three.hosts["gpu-01"].noops == ["2 replicas serve as planned"]


def test_without_a_canary_nobody_is_observed(three: Three) -> None:
    three.change()
    for host in three.hosts.values():
        host.data.rollout_canary = False
        del host.answers[AccessLogMark]
    three.deploy()
    assert three.order() == ["gpu-01", "gpu-02", "gpu-03"] and three.refused() == {}


def test_one_host_that_changes_alone_is_not_observed(three: Three) -> None:
    three.change("gpu-02")
    del three.hosts["gpu-02"].answers[AccessLogMark]
    three.deploy()
    assert three.order() == ["gpu-02"] and three.refused() == {}


def test_failures_stop_those_that_have_not_begun(three: Three) -> None:
    three.change()
    three.crashing.add("gpu-02")
    three.deploy()
    assert three.order() == ["gpu-01", "gpu-02"]
    assert three.refused()["gpu-03"] == [
        "gpu-03: nothing was replaced here: gpu-02 failed, and rollout_max_failures is 1; mend that, and deploy again."
    ]


@pytest.mark.parametrize("at_once", [1, 2])
def test_fewer_hosts_at_once_than_there_are_come_to_the_same_end(three: Three, at_once: int) -> None:
    """`--parallel`: who is not worked on yet cannot begin, so nobody waits for it."""
    three.change()
    three.deploy(at_once)
    assert three.order() == ["gpu-01", "gpu-02", "gpu-03"] and three.refused() == {}


def test_a_stated_floor_counts_hosts_that_have_no_part_in_the_run(
    three: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of the hosts are deployed; the third serves two replicas, and is looked at."""
    three.change("gpu-01", "gpu-02")
    away = three.hosts.pop("gpu-03")
    away.connected = True
    inventory = away.inventory
    monkeypatch.setattr(inventory, "get_active_hosts", lambda: list(three.hosts.values()))
    for host in three.hosts.values():
        host.data.rollout_min_healthy = 5
    three.deploy()
    assert three.order() == ["gpu-01", "gpu-02"] and three.refused() == {}, "five of six stay"
    for host in three.hosts.values():
        host.data.engine_extra_args, host.data.rollout_min_healthy = ["--seed", "2"], 6
    three.started.clear()
    three.deploy()
    assert three.order() == []
    assert three.refused()["gpu-01"] == [
        "gpu-01: nothing was replaced here: 5 healthy replicas of small would be left in the fleet, and "
        "rollout_min_healthy is 6; mend that, and deploy again."
    ]
