"""One run at a time changes a host: the first operation of a run holds it until the run's connection ends."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Generator

import pyinfra
from pyinfra import logger
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import host, state

from ingot.errors import Held
from ingot.facts import schema
from ingot.operations.operation import operation
from ingot.operations.refuse import Refusal, refuse
from ingot.runs import Hold
from ingot.runs.run import ago
from ingot.settings import section
from ingot.settings.changes import Changes

#: Exit status of a run that failed only because others held its hosts: try again later (EX_TEMPFAIL of sysexits.h).
HELD_STATUS = 75

_refused: set[str] = set()


@operation()
def hold(purpose: str) -> Generator[PyinfraCommand, None, None]:
    """
    Hold the host for this run, from here until its connection ends; another run is waited for, or refuses the host.

    + purpose: what the run is for, in one word: another operator reads it

    It yields no command, since holding a host changes nothing of it.

    **Example:**

    .. code:: python

        lock.hold(purpose="deploy", name="Hold the host for this run")
    """
    if not state.is_executing:
        host.noop("nothing is held before anything is changed")
        return
    try:
        held = take(host, purpose)
    except Held as refusal:
        _remember(state, host)
        yield refuse(str(refusal))
        return
    if held is None:
        host.noop("hosts of this connector cannot be held")
        return
    problem = schema.newer(held.schema, host.name)
    if problem:
        yield refuse(problem)
        return
    host.noop(f"held for this run ({held.run.id})")


def take(host: Host, purpose: str) -> Hold | None:
    """Hold a connected host for this run, and say how the run before came to its end where that was no good one.

    None: its connector cannot hold hosts. Raises: Held; IngotError where the host does not answer.
    """
    holder = getattr(host.connector, "hold", None)
    if holder is None:
        return None
    held: Hold = holder(purpose, section(host, Changes).lock_wait_s)
    sentence = cut_off(held)
    if sentence:
        logger.warning(f"{host.print_prefix}{host.name}: {sentence}")
    return held


def hold_outside(host: Host, purpose: str) -> None:
    """Hold a connected host outside of a deploy. Raises: Held; Refusal where a newer Ingot changed the host."""
    held = take(host, purpose)
    problem = schema.newer(held.schema, host.name) if held else None
    if problem:
        raise Refusal(problem)


def cut_off(held: Hold) -> str | None:
    """How the run before was cut off, in a sentence without the host's name; None where it came to its end."""
    if held.last.get("result") != "cut off":
        return None
    when = str(held.last.get("at", ""))
    try:
        before = f"{ago(when)} ago"
    except ValueError:
        before = "before"
    return (
        f"the last run ({held.last.get('run')}) was cut off {before}: {held.last.get('why')}; this one takes the host "
        "over and goes on from there."
    )


def _remember(state: State, host: Host) -> None:
    """Have pyinfra's command end with HELD_STATUS where nothing but held hosts failed: it knows only 0 and 1 itself."""
    if not _refused and pyinfra.is_cli:
        atexit.register(_end, state)
    _refused.add(host.name)


def _end(state: State) -> None:
    if {host.name for host in state.failed_hosts} <= _refused:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(HELD_STATUS)
