"""Ingot itself for a control machine without internet: the checkout as it is committed, and the wheels of its locks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ingot.bundle.store import Entry, Store
from ingot.errors import IngotError

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
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except FileNotFoundError:
        raise IngotError(f"{argv[0]} is not on this machine; install it.") from None
    except subprocess.TimeoutExpired:
        raise IngotError(f"`{' '.join(argv[:4])}` did not end within {LIMIT_S} s; run it again.") from None
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise IngotError(f"`{' '.join(argv[:4])}` failed ({' '.join(reason)}); see that this is a checkout of Ingot.")
