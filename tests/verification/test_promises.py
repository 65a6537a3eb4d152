"""The table of promises names the checks that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.onboarding

ROOT = Path(__file__).parent.parent.parent


def test_the_security_page_names_every_file_of_checks_and_no_other() -> None:
    named = set(re.findall(r"`(test_[a-z]+\.py)`", (ROOT / "docs" / "security.md").read_text()))
    assert named == {path.name for path in (ROOT / "tests" / "hosts").glob("test_*.py")}
