"""Models that nothing needs any more, host by host: first said, then deleted."""

from __future__ import annotations

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
from ingot.operations import changes, lock
from ingot.operations.weights import prune
from ingot.runs import told
from ingot.verification.drift import asked

NAME = "Delete models that nothing needs"


@dataclass(frozen=True)
class Pruned:
    """A host and what is deleted there, a sentence each, or why it cannot be said or done."""

    host: str
    sentences: tuple[str, ...] = ()
    error: IngotError | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, of a host that answered."""
        return {"host": self.host, "deletes": list(self.sentences)}


def pruned(chosen: Selected, *, dry: bool) -> list[Pruned]:
    """Look at each host and, unless `dry`, delete what nothing needs; what fails for one stops no other."""
    return [_one(chosen.path, name, dry=dry) for name in chosen.names]


def _one(inventory: Path, name: str, *, dry: bool) -> Pruned:
    # A run of pyinfra's is over when its last host failed: each host gets one of its own.
    chosen = selected(inventory, (name,))
    state, (host,) = chosen.state, chosen.hosts
    state.check_for_changes = False
    with ctx_state.use(state), ctx_host.use(host):
        state.set_stage(StateStage.Connect)
        try:
            with connected(host):
                return _dry(state, host) if dry else _done(state, host)
        except IngotError as refused:
            return Pruned(name, error=refused)


def _add(state: State, host: Host) -> None:
    state.activate_host(host)
    state.set_stage(StateStage.Prepare)
    add_op(state, prune.prune, name=NAME, host=host)


def _said(host: Host) -> tuple[str, ...]:
    return tuple(dict.fromkeys(changes.announced(host)))


def _dry(state: State, host: Host) -> Pruned:
    _add(state, host)
    (operation,) = host.op_hash_order
    refusal, _ = asked(state.get_op_data_for_host(host, operation).command_generator())
    return Pruned(host.name, error=IngotError(refusal)) if refusal else Pruned(host.name, _said(host))


def _done(state: State, host: Host) -> Pruned:
    lock.hold(host, "models prune")
    _add(state, host)
    state.set_stage(StateStage.Execute)
    # pyinfra says by that that the only host failed.
    with suppress(PyinfraError):
        run_ops(state)
    if host in state.failed_hosts:
        sentences = told.refusals(host) or [f"{host.name}: not all of it was deleted; run this again."]
        return Pruned(host.name, error=IngotError(" ".join(sentences)))
    return Pruned(host.name, _said(host))
