"""The table of faults: each row names tests that are there, or says why there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.rollout

ROOT = Path(__file__).parents[2]


def rows() -> Iterator[tuple[str, str, str]]:
    """Fault, what happens, and proof, of each row of the page."""
    for line in (ROOT / "docs" / "faults.md").read_text().splitlines():
        if line.startswith("| ") and not line.startswith(("| fault", "| ---")):
            fault, happens, proof = (cell.strip() for cell in line.strip("|").split(" | "))
            yield fault, happens, proof.strip("| ")


@cache
def known() -> frozenset[str]:
    """Every test of the repository, by its function's name."""
    files = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    return frozenset(name for text in files for name in re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE))


@pytest.mark.parametrize(("fault", "happens", "proof"), [pytest.param(*row, id=row[0]) for row in rows()])
def test_a_fault_has_its_proof_or_says_that_it_has_none(fault: str, happens: str, proof: str) -> None:
    named = re.findall(r"`(test_\w+)`", proof)
    missing = sorted(set(named) - known())
    assert not missing, f"{fault}: no such test: {missing}"
    assert named or "not injected" in happens or "not noticed" in happens, f"{fault}: says neither a proof nor why not"
