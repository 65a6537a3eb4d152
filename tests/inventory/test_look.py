"""Whatever a run asks and changes in whatever order, with one look it is answered as without."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.command import StringCommand
from pyinfra.api.config import Config
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import CommandOutput, OutputLine

from ingot.facts import look as looks
from ingot.facts.sections import Question, Section, split
from ingot.inventory.connector import IngotConnector
from tests.settings.values import DEFAULTS

pytestmark = pytest.mark.speed

FILES = ("a", "b", "c")
OPERATIONS = ("first", "second", "third")
#: What the facts of three roles ask: two of them ask the same of `a`.
FACTS = (("a",), ("a", "b"), ("c",))


@dataclass
class Directory:
    """This machine's shell in a directory, as a host; `commands` are what would have gone over SSH."""

    path: Path
    commands: list[str] = field(default_factory=list)

    def run(self, command: Any, **_: Any) -> tuple[bool, CommandOutput]:
        text = str(command).replace("/run/ingot", f"{self.path}/run")
        self.commands.append(text)
        done = subprocess.run(["sh", "-c", text], cwd=self.path, capture_output=True, text=True, check=False)
        return done.returncode == 0, CommandOutput([OutputLine("stdout", line) for line in done.stdout.splitlines()])

    def question(self, fact: int) -> Question:
        return Question.of({f"file_{name}": f"cat {name}" for name in FACTS[fact]})


class Running:
    """One run of Ingot over such a host."""

    def __init__(self, on: Directory, *, fresh: bool) -> None:
        state = State(Inventory(([("@ingot/one", {**DEFAULTS, "fresh": fresh})], {})), Config())
        host = state.inventory.get_host("one")
        assert isinstance(host, Host) and isinstance(host.connector, IngotConnector)
        self.on, self.host, self.connector = on, host, host.connector
        self.connector._run = on.run  # type: ignore[method-assign]

    @property
    def arguments(self) -> dict[str, Any]:
        given, _ = pop_global_arguments(self.host.state, self.host, {})
        return {key: value for key, value in given.items() if key in CONNECTOR_ARGUMENT_KEYS}

    def ask(self, fact: int, operation: str | None, **arguments: Any) -> dict[str, Section]:
        """What an operation is answered."""
        self.host.current_op_hash = operation
        question = self.on.question(fact)
        if operation and not arguments and (lines := self.connector.known(question)) is not None:
            return {name: section for name, section in split(lines).items() if name in question.sections}
        done, output = self.connector.run_shell_command(question, **{**self.arguments, **arguments})  # type: ignore[arg-type]
        assert done
        found = split(output.stdout_lines)
        return {name: found[name] for name in question.sections}

    def change(self, name: str, text: str) -> None:
        self.connector.run_shell_command(StringCommand(f"printf %s {text} >{name}"), **self.arguments)

    def end(self) -> None:
        """The run is done: the host keeps its questions."""
        questions = self.connector._look.to_keep
        if questions:
            (self.on.path / "look.sh").write_text(questions)


Begin = Callable[..., Running]


def in_directory(first: int) -> str:
    """`look.command` of such a host."""
    return f"[ ! -e look.sh ] || sh look.sh {first}"


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    monkeypatch.setattr(looks, "command", in_directory)
    on = host_in(tmp_path)
    return lambda *, fresh=False: Running(on, fresh=fresh)


def host_in(path: Path) -> Directory:
    for name in FILES:
        (path / name).write_text("before")
    return Directory(path)


def all_asked(run: Running) -> list[dict[str, Section]]:
    answers = [run.ask(fact, OPERATIONS[fact]) for fact in range(len(FACTS))]
    run.end()
    return answers


def test_a_second_run_asks_once(begin: Begin) -> None:
    first = all_asked(run := begin())
    assert len(run.on.commands) == 1 + len(FACTS), "a look that answers nothing, then one by one"
    run.on.commands.clear()
    assert all_asked(begin()) == first
    assert len(run.on.commands) == 1


def test_fresh_asks_one_by_one_and_changes_no_answer(begin: Begin) -> None:
    first = all_asked(run := begin())
    run.on.commands.clear()
    assert all_asked(begin(fresh=True)) == first
    assert len(run.on.commands) == len(FACTS)


def test_an_operation_of_another_user_takes_no_answer(begin: Begin) -> None:
    all_asked(begin())
    run = begin()
    run.ask(0, "first")
    run.host.current_op_hash = "second"
    run.host.current_op_global_arguments = {**run.arguments, "_sudo_user": "somebody"}  # type: ignore[typeddict-item]
    assert run.connector.known(run.on.question(0)) is None
    run.host.current_op_global_arguments = run.arguments  # type: ignore[assignment]
    assert run.connector.known(run.on.question(0)) is not None


def test_what_is_asked_after_a_change_is_asked_of_the_host(begin: Begin) -> None:
    all_asked(begin())
    run = begin()
    assert run.ask(0, "first")["file_a"].output == "before"
    run.change("a", "after")
    assert run.ask(1, "first")["file_a"].output == "after"


def test_a_run_with_one_change_looks_twice(begin: Begin) -> None:
    all_asked(begin())
    run = begin()
    run.on.commands.clear()
    before = run.ask(0, "first"), run.ask(1, "first")
    run.change("b", "after")
    assert (before[1]["file_b"].output, run.ask(1, "second")["file_b"].output) == ("before", "after")
    run.ask(2, "third")
    assert [command.partition(" ")[0] for command in run.on.commands] == ["[", "printf", "["]


@pytest.mark.parametrize("way", ["put_file", "rsync"])
def test_a_file_that_is_sent_is_a_change(begin: Begin, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    all_asked(begin())
    run = begin()
    assert run.ask(0, "first")["file_a"].output == "before"

    def send(_: Any) -> bool:
        (run.on.path / "a").write_text("sent")
        return True

    monkeypatch.setattr(SSHConnector, way, send)
    monkeypatch.setattr(IngotConnector, "_is_alive", lambda _: True)
    assert getattr(run.connector, way)()
    assert run.ask(0, "second")["file_a"].output == "sent"


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [(None, {}), ("first", {"_stdin": "a"}), ("first", {"_sudo_user": "somebody"}), ("first", {"_chdir": "/"})],
    ids=["outside-operations", "input", "another-user", "another-directory"],
)
def test_what_is_asked_in_another_way_is_asked_of_the_host(
    begin: Begin, operation: str | None, arguments: dict[str, Any]
) -> None:
    all_asked(begin())
    run = begin()
    run.on.commands.clear()
    run.ask(0, operation, **arguments)
    assert [command == str(run.on.question(0)) for command in run.on.commands] == [True]


def test_others_changes_between_a_look_and_the_hold_of_the_host_are_seen(begin: Begin) -> None:
    all_asked(begin())
    run = begin()
    assert run.ask(0, "first")["file_a"].output == "before", "pyinfra prepares: nobody holds the host"
    (run.on.path / "a").write_text("theirs")
    run.connector._look.again()
    assert run.ask(0, "first")["file_a"].output == "theirs"


ACTIONS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, len(FACTS) - 1), st.sampled_from(OPERATIONS)),
    st.tuples(st.just("change"), st.sampled_from(FILES), st.sampled_from(("one", "two", "three"))),
    st.tuples(st.just("detached"), st.sampled_from(FILES), st.sampled_from(("four", "five"))),
    st.tuples(st.just("run"), st.none(), st.none()),
)


def history(path: Path, actions: list[tuple[str, Any, Any]], *, fresh: bool) -> list[Any]:
    """Every answer of a sequence of actions over several runs."""
    on, answers = host_in(path), []
    all_asked(Running(on, fresh=fresh))
    run = Running(on, fresh=fresh)
    for action, what, how in actions:
        if action == "ask":
            answers.append(run.ask(what, how))
        elif action == "change":
            run.change(what, how)
        elif action == "detached":
            # A unit of this run's comes to its end, and the run's next poll sees that.
            (path / what).write_text(how)
            run.change("polled", "done")
        else:
            run.end()
            run = Running(on, fresh=fresh)
    return answers


@given(st.lists(ACTIONS, max_size=16))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_asked_and_changed_is_answered_as_without_a_look(actions: list[tuple[str, Any, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as one, TemporaryDirectory() as two:
        patch.setattr(looks, "command", in_directory)
        assert history(Path(one), actions, fresh=False) == history(Path(two), actions, fresh=True)
