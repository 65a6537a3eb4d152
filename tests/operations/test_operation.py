"""What goes wrong in an operation's body fails its host, with a sentence, and no other host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Any

import pytest
from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.inventory import Inventory
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.context import host

from ingot.errors import IngotError
from ingot.facts.errors import ParseError
from ingot.operations.operation import operation
from ingot.operations.refuse import Refusal
from ingot.sizing import WorkloadError

Commands = Generator[PyinfraCommand, None, None]


@operation()
def act(raises: Callable[[], Exception], executing: bool) -> Commands:
    """On the host `wrong` this raises, before its command or (where `executing`) after it."""
    wrong = host.name == "@fake/wrong"
    if wrong and not executing:
        raise raises()
    yield StringCommand("first")
    if wrong:
        raise raises()
    yield StringCommand("second")


def run(*operations: Any, **arguments: Any) -> State:
    instantly = {"fake_delay": 0, "fake_delay_jitter": 0}
    state = State(Inventory(([(f"@fake/{name}", instantly) for name in ("right", "wrong")], {})), Config())
    state.current_stage = StateStage.Prepare
    connect_all(state)
    for one in operations:
        add_op(state, one, **arguments)
    state.current_stage = StateStage.Execute
    run_ops(state)
    disconnect_all(state)
    return state


def commands(state: State, name: str) -> list[str]:
    return [str(one) for one in state.inventory.get_host(f"@fake/{name}").connector.executed_commands]


@pytest.mark.parametrize("executing", [False, True], ids=["at once", "half way"])
@pytest.mark.parametrize(
    ("raises", "sentence"),
    [
        (lambda: IngotError("a value is wrong; correct it."), "@fake/wrong: a value is wrong; correct it."),
        (lambda: Refusal("@fake/wrong: no GPU answers"), "@fake/wrong: no GPU answers."),
        (lambda: WorkloadError("too much is asked for"), "@fake/wrong: too much is asked for."),
        (lambda: ParseError("an answer is cut off."), "@fake/wrong: an answer is cut off."),
        (
            lambda: PermissionError(13, "Permission denied", "/keys/ca.pem"),
            "@fake/wrong: /keys/ca.pem: Permission denied; mend that on this machine and run it again.",
        ),
        (lambda: KeyError("x"), "KeyError in "),
    ],
)
def test_an_error_fails_its_host_alone(
    raises: Callable[[], Exception], sentence: str, executing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pyinfra")
    state = run(act, raises=raises, executing=executing)
    assert [one.name for one in state.failed_hosts] == ["@fake/wrong"]
    assert commands(state, "right") == ["first", "second"], "the other goes on to its end"
    assert commands(state, "wrong") == (["first"] if executing else [])
    assert sentence in caplog.text
    assert "Traceback" not in caplog.text


def test_several_sentences_are_said_each_on_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    run(act, raises=lambda: IngotError("a is wrong.\nb is wrong."), executing=True)
    said = [record.getMessage() for record in caplog.records if " is wrong." in record.getMessage()]
    assert [line.rpartition("@fake/wrong: ")[2] for line in said] == ["a is wrong.", "b is wrong."]


def test_what_pyinfra_raises_is_left_to_pyinfra() -> None:
    with pytest.raises(PyinfraError, match="its own"):
        run(act, raises=lambda: PyinfraError("its own"), executing=True)


def test_an_operation_that_uses_another_sees_what_that_raises() -> None:
    seen = []

    @operation()
    def outer() -> Commands:
        try:
            yield from act._inner(raises=lambda: IngotError("inside"), executing=False)
        except IngotError as error:
            seen.append(str(error))

    run(outer)
    assert "inside" in seen
