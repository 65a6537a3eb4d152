"""Tests on hosts are shared out over pytest-xdist's workers (`--dist loadscope`), each with a sandbox of its own.

A worker gets whole groups, so that a host is booted once for all tests that live with it.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

#: Directories of `tests/` whose files share hosts, the longest first: a group that begins last must be short. Half of
#: the longest has as much to do as the next.
SHARED = ("e2e", "e2e, second half", "rollout", "gateway", "monitoring", "onboarding")
SECOND_HALF = "test_k"
WORKER = os.environ.get("PYTEST_XDIST_WORKER")


def group(nodeid: str) -> str:
    """The tests that one worker runs one after the other: those of a directory that shares hosts, or of a file."""
    path = nodeid.split("::")[0]
    directory, file = path.split("/")[1], path.rpartition("/")[2]
    if directory == "e2e" and file >= SECOND_HALF:
        return "e2e, second half"
    return directory if directory in SHARED else path


def pytest_configure() -> None:
    if WORKER:
        state = os.environ.get("INGOT_SANDBOX_STATE") or "/var/lib/ingot-sandbox"
        os.environ["INGOT_SANDBOX_STATE"] = f"{state}-{WORKER}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(SHARED)}
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
