"""Rollbacks over the API of pyinfra: one host after the other, so that a model never leaves all of them at once.

Hosts that serve one replica together go back together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_host, ctx_state

from ingot.errors import IngotError
from ingot.facts.errors import ParseError
from ingot.inventory.fleet import Selected, at_once, connected, selected
from ingot.operations import lock
from ingot.operations.rollback import rollback, together
from ingot.operations.rollback.state import GoodState
from ingot.operations.serving import group, outlook
from ingot.runs import told
from ingot.verification.drift import asked

NAME = "Go back to a state that was proven"

#: Says one line to whoever watches.
Say = Callable[[str], None]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Returned:
    """A host and the state that it went to, or why it did not."""

    host: str
    state: GoodState | None = None
    error: IngotError | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, of a host that went."""
        assert self.state
        return {"host": self.host, "state": self.state.number, "serves": self.state.words()}


def roll_back(chosen: Selected, number: int | None, say: Say, *, dry: bool) -> list[Returned]:
    """Have each host go back, and with it the others of its group; what fails for one stops no other.

    With `dry` it is said what would be done.
    """
    echo = _Echo(say)
    logging.getLogger("pyinfra").addHandler(echo)
    try:
        return [
            one
            for hosts in _together(chosen.hosts)
            for one in (
                _group(chosen.path, hosts, number, say, dry=dry)
                if len(hosts) > 1
                else [_one(chosen.path, hosts[0], number, dry=dry)]
            )
        ]
    finally:
        logging.getLogger("pyinfra").removeHandler(echo)


def _together(hosts: Sequence[Host]) -> list[tuple[str, ...]]:
    """The names of hosts that go back as one, each once: those of a group, the head first, or one host alone."""
    return list(dict.fromkeys(group.peers(host) or (host.name,) for host in hosts))


def _one(inventory: Path, name: str, number: int | None, *, dry: bool) -> Returned:
    # A run of pyinfra's is over when its last host failed: each host gets one of its own.
    chosen = selected(inventory, (name,))
    state, (host,) = chosen.state, chosen.hosts
    state.check_for_changes = False
    with ctx_state.use(state), ctx_host.use(host):
        state.set_stage(StateStage.Connect)
        try:
            with connected(host):
                if not dry:
                    lock.hold(host, "rollback")
                (returned,) = (_dry if dry else _done)(state, [host], number)
                return returned
        except IngotError as refused:
            return Returned(name, error=refused)


def _group(inventory: Path, names: tuple[str, ...], number: int | None, say: Say, *, dry: bool) -> list[Returned]:
    """All hosts of a group as one: each is held and looked at before any of them changes."""
    say(f"{' and '.join(names)} serve one replica, and go back as one:")
    try:
        state = selected(inventory, names).state
    except IngotError as refused:
        return [Returned(names[0], error=refused)]
    hosts = [state.inventory.get_host(name) for name in names]
    state.check_for_changes = False
    with ctx_state.use(state), ExitStack() as held:
        state.set_stage(StateStage.Connect)
        try:
            for host in hosts:
                held.enter_context(_entered(host, dry=dry))
            parts = dict(zip(names, _each(state, hosts, rollback.part), strict=True))
            target = together.target(parts, number)
            table = outlook.together(_each(state, hosts, lambda: rollback.prospect(target)))
        except IngotError as refused:
            return _refused(hosts, refused)
        for line in outlook.lines(table) if table else ():
            say(f"    {line}")
        return (_dry if dry else _done)(state, hosts, target)


@contextmanager
def _entered(host: Host, *, dry: bool) -> Iterator[None]:
    """A connected host, held for this run, up to the end of the block. Raises: IngotError."""
    with ctx_host.use(host), connected(host):
        if not dry:
            lock.hold(host, "rollback")
        yield


def _each(state: State, hosts: Sequence[Host], question: Callable[[], Answer]) -> list[Answer]:
    """Ask all hosts at the same time. Raises: IngotError, with a sentence in a line for each that refuses."""
    refusals: list[str] = []

    def ask(host: Host) -> Answer | None:
        try:
            return question()
        except (IngotError, ParseError) as refused:
            refusals.append(str(refused))
            return None

    answers = at_once(state, hosts, ask)
    if refusals:
        raise IngotError("\n".join(sorted(refusals)))
    return [one for one in answers if one is not None]


def _refused(hosts: Sequence[Host], refused: IngotError) -> list[Returned]:
    """None of a group went back: nothing was changed on any of its hosts. The audit of each has why."""
    sentences = str(refused).splitlines()
    for host in hosts:
        told.conclude(host, "failed", " ".join(sentences))
    names = {host.name for host in hosts}
    return [
        Returned(name if (name := one.partition(":")[0]) in names else hosts[0].name, error=IngotError(one))
        for one in sentences
    ]


def _done(state: State, hosts: Sequence[Host], number: int | None) -> list[Returned]:
    _add(state, hosts, number)
    state.set_stage(StateStage.Execute)
    # pyinfra says by that that no host is left.
    with suppress(PyinfraError):
        run_ops(state)
    return [_became(state, host) for host in hosts]


def _became(state: State, host: Host) -> Returned:
    if host in state.failed_hosts:
        sentences = told.refusals(host) or [f"{host.name}: it was not rolled back; read the lines above."]
        return Returned(host.name, error=IngotError(" ".join(sentences)))
    return Returned(host.name, rollback.rolled_back(host))


def _add(state: State, hosts: Sequence[Host], number: int | None) -> None:
    for host in hosts:
        state.activate_host(host)
    state.set_stage(StateStage.Prepare)
    add_op(state, rollback.rollback, number, name=NAME, host=list(hosts))


def _dry(state: State, hosts: Sequence[Host], number: int | None) -> list[Returned]:
    _add(state, hosts, number)
    return [_would(state, host) for host in hosts]


def _would(state: State, host: Host) -> Returned:
    (operation,) = host.op_hash_order
    with ctx_host.use(host):
        refusal, _ = asked(state.get_op_data_for_host(host, operation).command_generator())
    if refusal:
        return Returned(host.name, error=IngotError(refusal))
    return Returned(host.name, rollback.rolled_back(host))


class _Echo(logging.Handler):
    """What the work on a host says, line by line."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.INFO)
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        self.say(record.getMessage())
