"""Files of the control machine that hold secrets: private from their first byte, replaced in one step."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace(path: Path, content: str, mode: int) -> None:
    """Write a file so that readers, and a power loss, see the old content or the new, never a part."""
    _temporary(path, content, mode).replace(path)
    _sync_directory(path.parent)


def create_once(path: Path, content: str) -> None:
    """Create a private file with its whole content, unless another process was first."""
    private_directory(path.parent)
    temporary = _temporary(path, content, 0o600)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    _sync_directory(path.parent)


def private_directory(path: Path) -> None:
    """Make a directory that only its owner may enter, if it is missing."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def _temporary(path: Path, content: str, mode: int) -> Path:
    # mkstemp opens with mode 0600, so a secret is never readable by others, not for a moment.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        # A full disk must not leave half a secret behind.
        Path(name).unlink()
        raise
    return Path(name)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
