"""Ingot itself for a control machine without internet: the checkout as it is committed, and the wheels of its locks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ingot.bundle import program
from ingot.bundle.store import Entry, Store

#: What `make env` and `make checkers` install.
LOCKS = ("requirements.lock", "requirements-checkers.lock")
LIMIT_S = 1800


def checkout(store: Store, root: Path, work: Path) -> Iterator[Entry]:
    """The commit that is checked out, and wheels for this machine's Python. Raises: IngotError."""
    work.mkdir(parents=True, exist_ok=True)
    archive = work / "ingot.tar"
    _run(["git", "-C", str(root), "archive", "--prefix=ingot/", "--output", str(archive), "HEAD"])
    yield store.take(archive, "ingot/ingot.tar", "git archive HEAD")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    for lock in LOCKS:
        wheels = work / "wheels" / lock
        _run([*pip, "--no-deps", "--require-hashes", "--dest", str(wheels), "--requirement", str(root / lock)])
        for wheel in sorted(wheels.iterdir()):
            yield store.take(wheel, f"ingot/wheels/{wheel.name}", lock)


def _run(argv: Sequence[str]) -> None:
    line = " ".join(argv[:4])
    words = program.Words(
        f"{argv[0]} is not on this machine; install it.",
        f"`{line}` did not end within {LIMIT_S} s; run it again.",
        lambda *said: f"`{line}` failed ({program.last_line(*said)}); see that this is a checkout of Ingot.",
    )
    program.run(argv, words, LIMIT_S)
