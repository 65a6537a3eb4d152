"""A refusal fails one host with one sentence; raising inside an operation body would stop every host."""

from __future__ import annotations

from pyinfra import logger
from pyinfra.api.command import FunctionCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from ingot.errors import IngotError
from ingot.runs import told


class Refusal(IngotError):
    """Why a host cannot be changed as wanted, in one sentence that names it."""


def refuse(sentence: str) -> FunctionCommand:
    """A command that logs `sentence` and fails this host only: `yield refuse.refuse("…"); return`."""
    return FunctionCommand(refused, (sentence,), {})


def refused(state: State, host: Host, sentence: str) -> bool:
    """Log the sentence (or several, one a line) as this host's error; False is how pyinfra learns of the failure."""
    for line in sentence.splitlines():
        logger.error(f"{host.print_prefix}{line}")
        told.refused(host, line)
    return False
