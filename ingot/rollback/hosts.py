"""Rollbacks over the API of pyinfra: one host after the other, so that a model never leaves all of them at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_host, ctx_state

from ingot.errors import IngotError
from ingot.inventory.fleet import Selected, connected, selected
from ingot.operations import lock
from ingot.operations.rollback import rollback
from ingot.operations.rollback.state import GoodState
from ingot.runs import told
from ingot.verification.drift import asked

NAME = "Go back to a state that was proven"

#: Says one line to whoever watches.
Say = Callable[[str], None]


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
    """Have each host go back; what fails for one stops no other. With `dry` it is said what would be done."""
    echo = _Echo(say)
    logging.getLogger("pyinfra").addHandler(echo)
    try:
        return [_one(chosen.path, name, number, dry=dry) for name in chosen.names]
    finally:
        logging.getLogger("pyinfra").removeHandler(echo)


def _one(inventory: Path, name: str, number: int | None, *, dry: bool) -> Returned:
    # A run of pyinfra's is over when its last host failed: each host gets one of its own.
    chosen = selected(inventory, (name,))
    state, (host,) = chosen.state, chosen.hosts
    state.check_for_changes = False
    with ctx_state.use(state), ctx_host.use(host):
        state.set_stage(StateStage.Connect)
        try:
            with connected(host):
                return _dry(state, host, number) if dry else _done(state, host, number)
        except IngotError as refused:
            return Returned(name, error=refused)


def _done(state: State, host: Host, number: int | None) -> Returned:
    lock.hold(host, "rollback")
    _add(state, host, number)
    state.set_stage(StateStage.Execute)
    # pyinfra says by that that the only host failed.
    with suppress(PyinfraError):
        run_ops(state)
    if host in state.failed_hosts:
        sentences = told.refusals(host) or [f"{host.name}: it was not rolled back; read the lines above."]
        return Returned(host.name, error=IngotError(" ".join(sentences)))
    return Returned(host.name, rollback.rolled_back(host))


def _add(state: State, host: Host, number: int | None) -> None:
    state.activate_host(host)
    state.set_stage(StateStage.Prepare)
    add_op(state, rollback.rollback, number, name=NAME, host=host)


def _dry(state: State, host: Host, number: int | None) -> Returned:
    _add(state, host, number)
    (operation,) = host.op_hash_order
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
