"""The targets of a bundle: from files that their hosts have written, or asked over SSH."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pyinfra.api.host import Host

from ingot.bundle.target import Target, TargetLook, of_file
from ingot.errors import IngotError
from ingot.facts.errors import Unread
from ingot.inventory.fleet import Selected, asked


def targets(chosen: Selected, states: Sequence[Path]) -> tuple[list[tuple[Host, Target]], list[str]]:
    """Each host with its state; the sentences of those that cannot be had.

    Raises: IngotError for a file of no host, or one that holds no state.
    """
    given = {path.name.partition(".state")[0]: path for path in states}
    for name, path in given.items():
        if name not in chosen.names:
            raise IngotError(f"{path}: {name} is none of {', '.join(chosen.names)}; call a host's file NAME.state.")
    found = [(host, of_file(given[host.name])) for host in chosen.hosts if host.name in given]
    others = tuple(host for host in chosen.hosts if host.name not in given)
    errors: list[str] = []
    for host, answer in zip(others, asked(replace(chosen, hosts=others), _looked), strict=True):
        if isinstance(answer, IngotError):
            errors.append(f"{str(answer).rstrip('.')}; or give its state with --state, see `ingot bundle look`.")
        else:
            found.append((host, answer))
    return found, errors


def _looked(host: Host) -> Target:
    found = host.get_fact(TargetLook)
    if isinstance(found, Unread):
        raise IngotError(found.sentence(host.name))
    return found
