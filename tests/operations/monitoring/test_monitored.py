"""Who is watched, who watches, and what each opens."""

from __future__ import annotations

import pytest
from pyinfra.api.config import Config
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State

from ingot.operations import monitored
from ingot.operations.gateway import fronting
from tests.settings.values import DEFAULTS

pytestmark = pytest.mark.observe

SERVE = [{"model": "qwen3-4b", "context": 4096, "concurrency": 1}]


def inventory(**groups: list[str]) -> Inventory:
    """Two hosts that serve and one that does not, in these groups."""
    hosts = [("gpu-01", {"serve": SERVE}), ("gpu-02", {"serve": SERVE}), ("watch-01", {})]
    made = Inventory((hosts, dict(DEFAULTS)), **{name: (members, {}) for name, members in groups.items()})
    State(made, Config())
    return made


def test_without_a_monitor_nobody_is_watched_and_no_port_is_opened() -> None:
    assert [monitored.ports(one) for one in inventory()] == [(), (), ()]


def test_a_monitor_without_models_needs_no_gpu_and_watches_all() -> None:
    found = {one.name: one for one in inventory(monitor=["watch-01"])}
    assert monitored.ports(found["gpu-01"]) == (9443,)
    assert monitored.ports(found["watch-01"]) == (9443, 9444)
    assert fronting.has_no_engine(found["watch-01"]) and not fronting.has_no_engine(found["gpu-01"])


def test_a_monitor_may_serve_too() -> None:
    found = {one.name: one for one in inventory(monitor=["gpu-01"])}
    assert monitored.is_monitor(found["gpu-01"]) and not fronting.has_no_engine(found["gpu-01"])
