"""The preflight of new members: the same judgement as a deploy's, over the inventory's own connection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host

from ingot.inventory import fleet
from ingot.operations.preflight.preflight import Judged, judge


def preflight(inventory: Path, names: Sequence[str]) -> dict[str, Judged]:
    """What would stop a deploy of each host, all hosts at the same time; a host that pyinfra cannot reach says so.

    Raises: IngotError when the inventory cannot be loaded.
    """
    state = fleet.load(inventory)
    hosts = fleet.chosen(state, inventory, names)
    return dict(zip([name for name, _ in hosts], fleet.at_once(state, [host for _, host in hosts], _one), strict=True))


def _one(host: Host) -> Judged:
    try:
        host.connect(show_errors=False, raise_exceptions=True)
    except ConnectError as refused:
        return Judged((str(refused.args[0]).removeprefix(f"{host.name}: ").rstrip("."),))
    try:
        return judge(host)
    finally:
        host.disconnect()
