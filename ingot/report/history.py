"""The history of a host as people read it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from ingot.report.console import plain_table
from ingot.rollback.history import History
from ingot.runs.audit import PastRun


def show(history: History, most: int, console: Console) -> None:
    """Print the newest `most` runs of a host, the newest last, and the states that it keeps."""
    where = " (as this machine knows it: the host did not answer)" if history.from_here else ""
    console.print(f"{history.host}{where}", soft_wrap=True)
    if not history.runs:
        console.print("  no run is noted", soft_wrap=True)
    else:
        console.print(_runs(history, most))
    if history.states:
        console.print(_states(history))


def _runs(history: History, most: int) -> Table:
    table = plain_table("when", "who", "what", "commit", "result", "changed")
    for one in list(history.runs)[-most:]:
        table.add_row(
            one.run.started.replace("+00:00", "Z"),
            one.run.owner,
            one.run.purpose,
            _commit(one),
            "\n".join(_result(one)),
            "\n".join(one.operations) or "nothing",
        )
    return table


def _states(history: History) -> Table:
    table = plain_table("state", "since", "serves", right=("state",))
    for one in history.states:
        mark = " (now)" if one.number == history.now else ""
        table.add_row(str(one.number), one.at.replace("+00:00", "Z"), f"{one.words()}{mark}")
    return table


def _commit(one: PastRun) -> str:
    commit = one.run.commit
    return f"{commit[:10]}{' and changes' if one.run.dirty else ''}" if commit else "no repository"


def _result(one: PastRun) -> Iterator[str]:
    yield one.result or "goes on"
    if one.why:
        yield one.why
