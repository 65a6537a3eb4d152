"""Recorded outputs of real machines; the first line of each file names its source and is no part of it."""

from pathlib import Path

DIRECTORY = Path(__file__).parent / "captures"
#: Captures that were taken later, each with the reading that is right for it in its own test.
SECOND = Path(__file__).parent / "second_captures"


def capture(name: str) -> str:
    """The text of one capture without its source line."""
    return (DIRECTORY / name).read_text(encoding="utf-8").partition("\n")[2]


def names(pattern: str) -> list[str]:
    """Every capture whose file name matches."""
    return sorted(path.name for path in DIRECTORY.glob(pattern))
