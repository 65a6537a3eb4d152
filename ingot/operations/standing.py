"""What a standing fact says of a host: from the run's look where that answers, else asked as every fact is."""

from __future__ import annotations

from typing import Any, TypeVar

from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host

from ingot.facts.sections import Question

Answer = TypeVar("Answer")


def standing(host: Host, fact: type[FactBase[Answer]], **arguments: Any) -> Answer:
    """`host.get_fact`, but what the look knows is read at once.

    pyinfra reads some 30 global arguments of the host for each fact, which takes longer than most answers do.
    """
    made = fact()
    known = getattr(getattr(host, "connector", None), "known", None)
    command = made.command(**arguments) if known and callable(made.command) else None
    if known and isinstance(command, Question):
        lines = known(command)
        if lines is not None:
            return made.process(lines)
    found: Answer = host.get_fact(fact, **arguments)
    return found
