"""One host's wrong value never ends the run of another host: over every value and every role."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.inventory import Inventory
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage

from ingot.operations import connection, detached
from ingot.settings import NAMES
from roles.cache import cache
from roles.docker import docker
from roles.driver import driver
from roles.engine import engine
from roles.gateway import gateway
from roles.preflight import preflight
from roles.toolkit import toolkit
from tests.settings.values import DEFAULTS

ROLES = (preflight, driver, docker, toolkit, cache, engine, gateway)
RIGHT = {
    **DEFAULTS,
    "serve": [{"model": "qwen3-0.6b", "context": 2048, "concurrency": 2}],
    "engine_image_digest": f"sha256:{0:064}",
    "fake_delay": 0,
    "fake_delay_jitter": 0,
}


def run(roles: Sequence[Any], **hosts: dict[str, Any]) -> State:
    """Run roles on hosts that answer every question with nothing."""
    inventory = Inventory(([(f"@fake/{name}", {**RIGHT, **data}) for name, data in hosts.items()], {}))
    state = State(inventory, Config())
    state.current_stage = StateStage.Prepare
    connect_all(state)
    for role in roles:
        add_deploy(state, role)
    state.current_stage = StateStage.Execute
    try:
        run_ops(state)
    except PyinfraError as error:
        assert "No hosts remaining" in str(error), "both refused, each for its own reason"
    disconnect_all(state)
    return state


def commands(state: State, name: str) -> list[str]:
    return [str(one) for one in state.inventory.get_host(f"@fake/{name}").connector.executed_commands]


@pytest.fixture(scope="module", autouse=True)
def hasty() -> Iterator[None]:
    """Nobody waits for hosts that answer nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detached, "RECONNECT_S", 0)
        patch.setattr(connection, "PAUSE_S", 0)
        yield


@pytest.fixture(scope="module")
def alone(hasty: None) -> dict[str, list[str]]:
    """What each role does on a host without another beside it."""
    return {role.__name__: commands(run([role], right={}), "right") for role in ROLES}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.__name__)
@pytest.mark.parametrize("wrong", [object(), 1e300, {1: ()}, [[None]]], ids=["object", "float", "dict", "list"])
def test_no_wrong_value_ends_the_run_of_another_host(
    role: Any, wrong: object, alone: dict[str, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """A host for each value that there is, and one beside them that is right: no role needs preflight for it."""
    state = run([role], right={}, **{name: {name: wrong} for name in NAMES})
    assert commands(state, "right") == alone[role.__name__]
    assert "Traceback" not in caplog.text


def test_preflight_refuses_each_wrong_host_before_anything_is_asked_of_it(caplog: pytest.LogCaptureFixture) -> None:
    state = run([preflight], right={}, **{name: {name: object()} for name in NAMES})
    assert commands(state, "right"), "it is looked at"
    for name in NAMES:
        assert not commands(state, name), "not even looked at"
        said = {one.getMessage() for one in caplog.records if f"@fake/{name}: {name} is " in one.getMessage()}
        assert len(said) == 1 and said.pop().endswith("; correct it in the inventory.")
