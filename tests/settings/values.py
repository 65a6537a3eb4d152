"""Hosts with the values of group_data/all.py and others on top, as pyinfra merges them."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pyinfra.api.config import Config
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State

from ingot.settings import Settings, of_host

ALL = Path(__file__).parents[2] / "group_data" / "all.py"
DEFAULTS: Mapping[str, Any] = {
    name: value for name, value in runpy.run_path(str(ALL)).items() if not name.startswith("__")
}


class Data(SimpleNamespace):
    """A host's data as pyinfra merges it, for hosts that are no pyinfra hosts."""

    def dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def get(self, name: str, otherwise: Any = None) -> Any:
        return vars(self).get(name, otherwise)


def settings(**values: Any) -> Settings:
    """The settings of a host: `values` over the defaults."""
    return of_host(host(**values))


def host(
    name: str = "gpu-01",
    *,
    own: Mapping[str, Any] | None = None,
    groups: Mapping[str, Mapping[str, Any]] | None = None,
    given: Mapping[str, Any] | None = None,
    **values: Any,
) -> Host:
    """A host that nobody connects to: `values` over the defaults, `own` from its file, `given` by --data."""
    named = {group: ([name], dict(data)) for group, data in (groups or {}).items()}
    inventory = Inventory(([(name, dict(own or {}))], {**DEFAULTS, **values}), override_data=dict(given or {}), **named)
    State(inventory, Config())
    return inventory.get_host(name)
