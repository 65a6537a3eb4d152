"""What Prometheus is told to scrape."""

from __future__ import annotations

import json

import pytest

from ingot.monitoring.targets import Member, listings, nodes

pytestmark = pytest.mark.observe


def test_each_host_is_one_target_under_its_own_name() -> None:
    members = [Member("gpu-02", "10.0.0.2", 9443), Member("gpu-01", "fd00::1", 9555)]
    assert json.loads(nodes(members)) == [
        {"targets": ["[fd00::1]:9555"], "labels": {"host": "gpu-01"}},
        {"targets": ["10.0.0.2:9443"], "labels": {"host": "gpu-02"}},
    ]


def test_each_host_is_asked_for_its_engines_with_its_name_in_the_address() -> None:
    assert listings([Member("gpu-01", "10.0.0.1", 9443)], "replica") == [
        "https://10.0.0.1:9443/targets/replica?host=gpu-01"
    ]


def test_no_members_are_no_targets() -> None:
    assert json.loads(nodes([])) == []
