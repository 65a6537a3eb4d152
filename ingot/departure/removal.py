"""The removal of Ingot from one host, over the API of pyinfra: shown first, then done."""

from __future__ import annotations

import logging

import click
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_host, ctx_state

from ingot.errors import IngotError
from ingot.operations import changes, lock
from ingot.operations.departure import departure
from ingot.verification.drift import asked

NAME = "Decommission"


class Removal:
    """What Ingot installed on one host, looked at and taken away again.

    Raises: IngotError when the host cannot be reached, or must not be touched yet.
    """

    def __init__(self, state: State, host: Host, wish: departure.Wish) -> None:
        self.state, self.host = state, host
        state.check_for_changes = False
        state.set_stage(StateStage.Connect)
        with ctx_state.use(state), ctx_host.use(host):
            try:
                host.connect(show_errors=False, raise_exceptions=True)
            except ConnectError as error:
                raise IngotError(f"{error.args[0]} For a host that is dead: --inventory-only.") from error
            state.activate_host(host)
            state.set_stage(StateStage.Prepare)
            add_op(state, departure.remove, wish, name=NAME, host=host)
            (self.operation,) = host.op_hash_order
            refusal, _ = asked(state.get_op_data_for_host(host, self.operation).command_generator())
        if refusal:
            raise IngotError(refusal)

    def sentences(self) -> tuple[str, ...]:
        """What will be done on the host."""
        return tuple(dict.fromkeys(changes.announced(self.host)))

    def carry_out(self) -> None:
        """Do it; what the work on the host says goes to the terminal.

        Raises: IngotError when it was not done to the end; what went wrong was logged.
        """
        echo = _Echo()
        logging.getLogger("pyinfra").addHandler(echo)
        self.state.set_stage(StateStage.Execute)
        try:
            with ctx_state.use(self.state), ctx_host.use(self.host):
                lock.hold(self.host, "decommission")
            run_ops(self.state)
        except PyinfraError:
            # pyinfra's way to say that the only host failed.
            pass
        finally:
            logging.getLogger("pyinfra").removeHandler(echo)
            with ctx_state.use(self.state), ctx_host.use(self.host):
                self.host.disconnect()
        if self.host in self.state.failed_hosts:
            raise IngotError(f"{self.host.name}: it is still a member, since the above was not done; run this again.")


class _Echo(logging.Handler):
    """Standard error, line by line."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(record.getMessage(), err=True)
