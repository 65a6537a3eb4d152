"""What group_data/all.py of the checkout says, for commands that work on no host."""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path

from ingot.settings.read import parsed
from ingot.settings.settings import NAMES, Settings

FILE = Path(__file__).parents[2] / "group_data" / "all.py"


@cache
def defaults() -> Settings:
    """The settings of a host of which nothing is said."""
    found = parsed({name: value for name, value in runpy.run_path(str(FILE)).items() if name in NAMES})
    assert isinstance(found, Settings), found
    return found
