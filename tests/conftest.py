"""Tests on hosts are shared out over pytest-xdist's workers (`--dist loadscope`), each with a sandbox of its own.

A worker gets whole groups, so that a host is booted once for all tests that live with it.
"""

from __future__ import annotations

import os
from typing import Any

import gevent
import pytest

#: Directories of `tests/` whose files share hosts.
SHARED = ("e2e", "rollout", "gateway", "monitoring", "onboarding")
#: Of the longest, the files whose host has its own file beside inventories/sandbox.py: half of the work.
MEMBERS = ("test_departure.py", "test_deploy.py", "test_going_back.py", "test_kinds.py")
#: The groups that take longest, in this order: one that begins last must be short.
FIRST = (
    "e2e",
    "e2e/members",
    "tests/found/test_states.py",
    "rollout",
    "gateway",
    "tests/engines/test_group_on_hosts.py",
    "tests/bundle/test_on_hosts.py",
    "tests/driver/test_on_hosts.py",
)
WORKER = os.environ.get("PYTEST_XDIST_WORKER")


def group(nodeid: str) -> str:
    """The tests that one worker runs one after the other: those of a directory that shares hosts, or of a file."""
    path = nodeid.split("::")[0]
    directory = path.split("/")[1]
    if directory == "e2e" and path.endswith(MEMBERS):
        return "e2e/members"
    return directory if directory in SHARED else path


def pytest_configure(config: pytest.Config) -> None:
    if WORKER:
        # pyinfra has gevent take the place of threads. A worker that waits for its next test would look to it like one
        # that waits for nothing, which it ends.
        waits = gevent.get_hub().loop.timer(3600, 3600)
        waits.start(lambda: None)
        config.add_cleanup(waits.stop)
        state = os.environ.get("INGOT_SANDBOX_STATE") or "/var/lib/ingot-sandbox"
        os.environ["INGOT_SANDBOX_STATE"] = f"{state}-{WORKER}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(FIRST)}
    if WORKER and any(item.get_closest_marker("e2e") for item in items):
        items.sort(key=lambda item: order.get(group(item.nodeid), len(order)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    scheduling = LoadScopeScheduling(config, log)
    scheduling._split_scope = group
    return scheduling
