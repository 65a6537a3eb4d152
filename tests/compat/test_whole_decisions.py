"""Every machine of the table: the whole of what it gets, word by word, as operators read it and as the role does it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ingot.compat import Refused, decide, objections
from tests.compat.test_decisions import TABLE, Row

pytestmark = pytest.mark.driver

#: After a change that is meant: `WRITE_EXPECTED=1 pytest tests/compat/test_whole_decisions.py`; read the difference.
EXPECTED = Path(__file__).parent / "expected" / "decisions.txt"


def whole(row: Row) -> str:
    """One machine's outcome, a line for each part of it."""
    lines = [f"## {row.name}"]
    try:
        decision = decide(row.machine, row.request)
    except Refused as refused:
        lines.append(f"refused: {refused} [{refused.rule.source}]")
    else:
        for name in ("branch", "version", "flavour", "source", "packages", "fabric", "activation", "minimum_toolkit"):
            lines.append(f"{name}: {getattr(decision, name)}")
        lines += [f"because: {line}" for line in decision.explain()]
    lines += [f"objection: {one} [{one.rule.source}]" for one in objections(row.machine, row.request)]
    return "\n".join(lines)


def test_each_outcome_is_as_written() -> None:
    now = "\n\n".join(whole(row) for row in TABLE) + "\n"
    if os.environ.get("WRITE_EXPECTED"):
        EXPECTED.write_text(now)
    assert now.split("\n\n") == EXPECTED.read_text().split("\n\n")
