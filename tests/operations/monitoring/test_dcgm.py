"""NVIDIA's DCGM exporter: where it is wanted, whose it is, and what it is told."""

from __future__ import annotations

import pytest

from ingot.facts.dcgm import UNIT_FILE, Dcgm, DcgmLook
from ingot.monitoring.metrics import FROM_DCGM, ONLY_FROM_DCGM
from ingot.operations import tree
from ingot.operations.monitoring import dcgm
from tests.settings.values import settings

pytestmark = pytest.mark.observe

A10G, RTX4090, UNKNOWN = 0x2237, 0x2684, 0xFFFF
SERVES = {"serve": [{"model": "qwen3-4b", "context": 4096, "concurrency": 1}]}


@pytest.mark.parametrize(
    ("values", "devices", "wanted"),
    [
        (SERVES, (A10G,), True),
        (SERVES, (RTX4090, A10G), True),
        (SERVES, (RTX4090,), False),
        (SERVES, (UNKNOWN,), False),
        (SERVES, (), False),
        ({**SERVES, "monitoring_dcgm": "off"}, (A10G,), False),
        ({**SERVES, "engine_build": "cpu"}, (A10G,), False),
        ({}, (A10G,), False),
    ],
)
def test_it_is_wanted_where_gpus_of_data_centers_serve(
    values: dict[str, object], devices: tuple[int, ...], wanted: bool
) -> None:
    assert dcgm.is_wanted(settings(**values), devices) is wanted


@pytest.mark.parametrize(
    ("found", "wanted", "decision"),
    [
        (Dcgm(available=True), True, "install"),
        (Dcgm(), True, "leave"),
        (Dcgm(available=True), False, "leave"),
        # Somebody else's: it has the unit of its package, or none.
        (Dcgm(installed=True, available=True), True, "leave"),
        (Dcgm(installed=True, available=True), False, "leave"),
        # A run that was cut off between unit and package.
        (Dcgm(ours=True, available=True), True, "install"),
        (Dcgm(ours=True), True, "remove"),
        (Dcgm(ours=True, installed=True), True, "install"),
        (Dcgm(ours=True, installed=True, available=True), False, "remove"),
    ],
)
def test_only_ingots_own_is_changed_or_removed(found: Dcgm, wanted: bool, decision: str) -> None:
    assert dcgm.decide(found, wanted=wanted) == decision


def test_it_counts_what_rules_and_dashboards_read() -> None:
    rows = [line.split(", ") for line in dcgm.counters().splitlines()[1:]]
    assert {row[0] for row in rows} == {field for field, _ in (FROM_DCGM | ONLY_FROM_DCGM).values()}
    kinds = {row[0]: row[1] for row in rows}
    assert kinds["DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"] == "counter"
    assert kinds["DCGM_FI_DEV_ROW_REMAP_PENDING"] == "gauge", "rules take its change, not its increase"


def test_its_unit_is_closed_and_told_from_the_packages() -> None:
    [unit] = [one for one in dcgm.entries() if isinstance(one, tree.File) and one.path == UNIT_FILE]
    assert "-a 127.0.0.1:9400\n" in unit.content and "IPAddressDeny=any" in unit.content
    assert unit.content.startswith("# Written by Ingot")


def test_a_host_is_read() -> None:
    answers = {"installed": ("ii", 0), "ours": ("", 1), "available": ("", 0), "devices": ("0x2237\n0x2684\n", 1)}
    lines = [
        line
        for name, (said, status) in answers.items()
        for line in (f"@@ingot-begin {name}", *said.splitlines(), f"@@ingot-end {name} {status}")
    ]
    assert DcgmLook().process(lines) == Dcgm(True, False, True, (A10G, RTX4090))
