"""The docker role as pyinfra runs it, on hosts that only answer: what it does where, and what a refusal stops."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.api.inventory import Inventory
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage

from ingot.facts.docker import QUESTIONS
from ingot.operations.containers.docker import daemon_json
from roles.docker import docker
from tests.settings.values import DEFAULTS, settings

DATA = {**DEFAULTS, "docker_default_ulimits": {}, "docker_source": "distribution"}
TEXT = daemon_json(None, settings(**DATA))
INVOCATION = "e1bc8cc33c544734b1f1031927b432bd"


def sections(answers: Mapping[str, tuple[str, int]]) -> str:
    return "".join(f"@@ingot-begin {k}\n{v}\n\n@@ingot-end {k} {s}\n" for k, (v, s) in answers.items())


def settled(version: str = "26.1.5", restarted_with: str = "a") -> dict[str, Any]:
    """What a host answers that is as the role wants it, with dockerd's version and the file it started with."""
    config = base64.b64encode(TEXT.encode()).decode()
    docker_look = dict.fromkeys(QUESTIONS, ("", 1)) | {
        "docker_release": ('ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie', 0),
        "docker_arch": ("amd64", 0),
        "docker_version": (f"Docker version {version}, build 411e817", 0),
        "docker_config": (config, 0),
    }
    packages = "\n".join(
        f"ii \t{name}\t1" for name in ("docker.io", "docker-cli", "docker-compose", "curl", "ca-certificates")
    )
    paths = "d\troot\troot\t0\t0\t755\t\t/etc/docker\nf\troot\troot\t0\t0\t644\t\t/etc/docker/daemon.json"
    unit = (
        "name=docker.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\n"
        f"InvocationID={INVOCATION}\nrestart=a 1.0\nstamp={INVOCATION} {restarted_with} b"
    )
    digest = hashlib.sha256(TEXT.encode()).hexdigest()
    return {
        "@@ingot-begin docker_release": sections(docker_look),
        "@@ingot-begin broken": sections({"broken": ("", 0), "installed": (packages, 0)}),
        "@@ingot-begin found": sections(
            {"found": (paths, 0), "digests": (f"{digest}  /etc/docker/daemon.json", 0), "leftovers": ("", 0)}
        ),
        "@@ingot-begin unit": sections({"unit": (unit, 0)}),
    }


def run(**hosts: dict[str, Any]) -> State:
    """Run the role on fake hosts of these names and answers."""
    instantly = {"fake_delay": 0, "fake_delay_jitter": 0}
    named = [(f"@fake/{name}", {**DATA, **instantly, "fake_responses": said}) for name, said in hosts.items()]
    inventory = Inventory((named, {}))
    state = State(inventory, Config())
    state.current_stage = StateStage.Prepare
    connect_all(state)
    add_deploy(state, docker)
    state.current_stage = StateStage.Execute
    run_ops(state)
    disconnect_all(state)
    return state


def commands(state: State, name: str) -> list[str]:
    return [str(one) for one in state.inventory.get_host(f"@fake/{name}").connector.executed_commands]


def test_a_settled_host_is_looked_at_and_left_alone():
    state = run(a=settled())
    assert not state.failed_hosts
    assert all(meta.ops_change == 0 for meta in state.meta.values())
    assert len(commands(state, "a")) == 8, "four looks to prepare, four to execute"


def test_dockerd_is_restarted_when_an_earlier_run_died_before_it():
    state = run(a=settled(restarted_with="older"))
    assert not state.failed_hosts
    assert "act restart docker.service" in commands(state, "a")[-1]


def test_an_engine_without_cdi_is_refused_on_its_host_alone(caplog: pytest.LogCaptureFixture):
    state = run(old=settled(version="20.10.24"), new=settled(restarted_with="older"))
    assert [host.name for host in state.failed_hosts] == ["@fake/old"]
    assert "dockerd 20.10.24 was found, expected 25 or newer" in caplog.text
    assert "act restart docker.service" in commands(state, "new")[-1], "the other host goes on"
    assert not any("restart docker" in command for command in commands(state, "old"))
