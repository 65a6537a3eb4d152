"""What goes wrong in an operation's body fails its host, with a sentence, and no other host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.inventory import Inventory
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_host, ctx_state, host

from ingot.errors import Held, IngotError
from ingot.facts.errors import ParseError
from ingot.operations.operation import guarded, operation
from ingot.operations.refuse import Refusal
from ingot.sizing import WorkloadError
from tests.settings.values import DEFAULTS, Data

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


class Connector:
    """A connector whose connection is lost after so many commands, and which can hold its host or cannot."""

    def __init__(self, lost_after: int = 99, held: bool = False) -> None:
        self.left, self.held, self.holds = lost_after, held, 0
        self.held_by = None

    @property
    def lost(self) -> str | None:
        return None if self.left > 0 else "gpu-01: the connection was lost; run again."

    def hold(self, purpose: str, wait_s: int) -> SimpleNamespace:
        if self.held:
            raise Held(f"gpu-01: it is being changed by anna@desk ({purpose}).")
        self.holds += 1
        self.held_by = SimpleNamespace(id="5f0c2a11")
        return SimpleNamespace(last={}, schema={}, run=self.held_by)


@pytest.fixture
def gpu_01() -> SimpleNamespace:
    data = Data(**DEFAULTS)
    return SimpleNamespace(name="gpu-01", print_prefix="", connector_data={}, data=data, groups=[], state=None)


def body(one: SimpleNamespace, *, executing: bool = True) -> Iterator[PyinfraCommand]:
    """Commands of an operation of one host, each of which uses its connection once."""

    def commands() -> Commands:
        for word in ("first", "second"):
            yield StringCommand(word)
            one.connector.left -= 1

    with ctx_state.use(SimpleNamespace(is_executing=executing)), ctx_host.use(one):
        yield from guarded(commands)()


def words(commands: Iterator[PyinfraCommand]) -> list[str]:
    return [str(one.args[0]) if isinstance(one, FunctionCommand) else str(one) for one in commands]


@pytest.mark.rollout
def test_a_lost_connection_is_one_sentence(gpu_01: SimpleNamespace) -> None:
    gpu_01.connector = Connector(lost_after=1)
    assert words(body(gpu_01)) == ["first", "gpu-01: the connection was lost; run again."]


@pytest.mark.rollout
def test_a_question_that_loses_the_last_host_is_the_same_sentence_and_no_traceback(gpu_01: SimpleNamespace) -> None:
    gpu_01.connector = Connector(lost_after=0)

    def asks() -> Commands:
        raise PyinfraError("No hosts remaining!")
        yield

    with ctx_state.use(SimpleNamespace(is_executing=True)), ctx_host.use(gpu_01):
        assert words(guarded(asks)()) == ["gpu-01: the connection was lost; run again."]
    with ctx_state.use(SimpleNamespace(is_executing=False)), ctx_host.use(gpu_01), pytest.raises(PyinfraError):
        words(guarded(asks)())


@pytest.mark.rollout
def test_a_command_that_loses_the_connection_is_the_same_sentence(
    gpu_01: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    gpu_01.connector = Connector(lost_after=1)
    commands = body(gpu_01)
    next(commands)
    gpu_01.connector.left = 0
    # As pyinfra does after a command that failed.
    commands.close()  # type: ignore[attr-defined]
    assert [record.getMessage() for record in caplog.records] == ["gpu-01: the connection was lost; run again."]


@pytest.mark.rollout
def test_the_first_operation_that_executes_holds_the_host(gpu_01: SimpleNamespace) -> None:
    gpu_01.connector = Connector()
    assert words(body(gpu_01, executing=False)) == ["first", "second"] and gpu_01.connector.holds == 0
    for _ in range(2):
        assert words(body(gpu_01)) == ["first", "second"]
    assert gpu_01.connector.holds == 1


@pytest.mark.rollout
def test_a_host_that_another_run_changes_is_left_alone(gpu_01: SimpleNamespace) -> None:
    gpu_01.connector = Connector(held=True)
    assert words(body(gpu_01)) == ["gpu-01: it is being changed by anna@desk (deploy)."]
