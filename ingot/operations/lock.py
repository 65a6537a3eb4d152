"""One run at a time changes a host: the first operation of a run holds it until the run's connection ends."""

from __future__ import annotations

import atexit
import logging
import os
import sys

import pyinfra
from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.state import State

from ingot.errors import Held
from ingot.facts import schema
from ingot.operations.refuse import Refusal
from ingot.runs import Hold, Run
from ingot.runs.run import ago
from ingot.settings import section
from ingot.settings.changes import Changes

#: Exit status of a run that failed only because others held its hosts: try again later (EX_TEMPFAIL of sysexits.h).
HELD_STATUS = 75

_refused: set[str] = set()


def hold(host: Host, purpose: str) -> None:
    """Hold a connected host for this run, where it does not yet; no more than a look where its connector cannot.

    What an earlier run left undone is said. Raises: Held where another run has the host; Refusal where a newer Ingot
    changed it; IngotError where it gives no answer.
    """
    holder = getattr(getattr(host, "connector", None), "hold", None)
    if holder is None or held_by(host):
        return
    try:
        held: Hold = holder(purpose, section(host, Changes).lock_wait_s)
    except Held:
        _remember(host)
        raise
    sentence = cut_off(held)
    if sentence:
        logger.warning(f"{host.print_prefix}{host.name}: {sentence}")
    problem = schema.newer(held.schema, host.name)
    if problem:
        raise Refusal(problem)


def held_by(host: Host) -> Run | None:
    """This run, while it holds the host; None where it does not, as on hosts whose connector cannot."""
    run: Run | None = getattr(getattr(host, "connector", None), "held_by", None)
    return run


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


def _remember(host: Host) -> None:
    """Have pyinfra's command end with HELD_STATUS where nothing but held hosts failed: it knows only 0 and 1 itself."""
    if not _refused and pyinfra.is_cli:
        atexit.register(_end, host.state)
    _refused.add(host.name)


def _end(state: State) -> None:
    if {host.name for host in state.failed_hosts} <= _refused:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(HELD_STATUS)
