"""Reports of the kernel's log: which of them are new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import TypeVar

Report = TypeVar("Report", bound=Hashable)


def fresh(before: Iterable[Report], after: Iterable[Report]) -> tuple[Report, ...]:
    """Reports of the later log that the earlier one has not: the same line twice is two reports."""
    known = Counter(before)
    found = []
    for one in after:
        if known[one]:
            known[one] -= 1
        else:
            found.append(one)
    return tuple(found)
