"""What an operation says about the changes it makes: one line each, and a diff under `--diff`."""

from __future__ import annotations

from collections.abc import Iterable

from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.context import host, state
from pyinfra.operations.util.files import generate_color_diff

from ingot.runs import told

_ANNOUNCED = "ingot_announced"


def announce(sentences: Iterable[str]) -> None:
    """Say each change, "would …" while pyinfra prepares (`--dry` ends there) and plainly while it executes.

    A sentence starts with its verb: `write /etc/ingot/a.conf (new)`.
    """
    would = "" if state.is_executing else "would "
    for sentence in sentences:
        host.connector_data.setdefault(_ANNOUNCED, []).append(sentence)
        if state.is_executing:
            told.changed(host, sentence)
        logger.info(f"{host.print_prefix}{would}{sentence}")


def announced(of: Host) -> list[str]:
    """What a host's operations announced so far, in order."""
    return list(of.connector_data.get(_ANNOUNCED, ()))


def wants_diff() -> bool:
    """Whether the run was asked to show differences (`--diff`)."""
    return bool(state.config.DIFF)


def show_diff(path: str, old: bytes, new: bytes) -> None:
    """Print the difference between two versions of a text file, once per run although bodies run twice."""
    shown = host.connector_data.setdefault("ingot_shown_diffs", set())
    key = (path, old, new)
    if key in shown:
        return
    shown.add(key)
    try:
        before, after = (text.decode().splitlines(keepends=True) for text in (old, new))
    except UnicodeDecodeError:
        logger.info(f"{host.print_prefix}{path} is not text: no difference shown")
        return
    for line in generate_color_diff(before, after):
        logger.info(f"{host.print_prefix}  {line}")
