"""Every row of the packaged device table, and the ids that no table knows."""

import pytest

from ingot.compat import (
    Architecture,
    Card,
    Decision,
    Device,
    DriverRequest,
    Flavour,
    Kind,
    Machine,
    Refused,
    decide,
    flavours,
    lookup,
)
from ingot.compat.devices import RANGES, table
from ingot.compat.rules import first_driver

pytestmark = pytest.mark.driver

ROWS = sorted(table().values(), key=lambda device: device.device_id)


def test_the_table_holds_every_row_of_its_source() -> None:
    assert len(ROWS) >= 924


@pytest.mark.parametrize("device", ROWS, ids=lambda device: f"{device.device_id:04x}")
def test_a_row_gets_the_driver_of_its_architecture(device: object) -> None:
    row = lookup(device.device_id)  # type: ignore[attr-defined]
    assert row == device
    if row.kind is Kind.NVSWITCH:
        return
    decided: Decision | None
    try:
        decided, rule = decide(Machine(gpus=(Card(row.device_id),))), ""
    except Refused as refusal:
        decided, rule = None, refusal.rule.name
    if row.architecture < Architecture.MAXWELL:
        assert rule == "architecture without a supported driver"
        return
    assert decided is not None, rule
    wanted = Flavour.OPEN if row.architecture >= Architecture.TURING else Flavour.PROPRIETARY
    assert decided.flavour is wanted
    assert decided.branch == 580


@pytest.mark.parametrize("device", ROWS, ids=lambda device: f"{device.device_id:04x}")
def test_the_range_of_a_row_agrees_with_the_table(device: object) -> None:
    """What an unknown id would get from its range is what its known neighbours have."""
    row = lookup(device.device_id)  # type: ignore[attr-defined]
    by_range = next((found for first, last, found in RANGES if first <= row.device_id <= last), None)
    if row.kind is Kind.GPU:
        assert by_range is row.architecture


@pytest.mark.parametrize("device_id", [0x1AC2, 0x1AF1, 0x22A3])
def test_a_switch_is_no_gpu(device_id: int) -> None:
    assert lookup(device_id).kind is Kind.NVSWITCH


def test_an_unknown_id_gets_the_architecture_of_its_range() -> None:
    assert lookup(0x2BFF).architecture is Architecture.BLACKWELL
    assert lookup(0x2333).architecture is Architecture.HOPPER
    assert lookup(0x2BFF) == Device(0x2BFF, Architecture.BLACKWELL, f"NVIDIA {Architecture.BLACKWELL} GPU")
    assert lookup(0x3FFF) == Device(0x3FFF, Architecture.UNKNOWN, "NVIDIA GPU unknown to Ingot")


@pytest.mark.parametrize(
    ("device_id", "drives"),
    [
        (0x1000, ""),
        (0x1340, "proprietary"),
        (0x1DF6, "proprietary"),
        (0x1E02, "open proprietary"),
        (0x2330, "open proprietary"),
        (0x2901, "open"),
        (0x2B85, "open"),
    ],
)
def test_each_architecture_has_its_flavours(device_id: int, drives: str) -> None:
    assert " ".join(flavours(lookup(device_id))) == drives


@pytest.mark.parametrize(
    ("device_id", "first"),
    [(0x317F, "0"), (0x3180, "580"), (0x31C2, "580"), (0x327F, "580"), (0x3280, "0"), (0x2684, "535"), (0x1E02, "0")],
)
def test_a_range_of_new_gpus_has_its_first_driver(device_id: int, first: str) -> None:
    assert first_driver(lookup(device_id)) == first


def test_an_id_beyond_every_range_is_treated_as_the_newest_with_a_warning() -> None:
    decision = decide(Machine(gpus=(Card(0x3FFF),)))
    assert decision.flavour is Flavour.OPEN
    assert "newer than Ingot's device table" in decision.warnings[0].text


@pytest.mark.parametrize("device_id", [0x2342, 0x2348, 0x2901, 0x2B85, 0x2E12, 0x3182])
def test_what_runs_with_open_modules_alone_refuses_the_proprietary_ones(device_id: int) -> None:
    with pytest.raises(Refused, match="expected 'open'"):
        decide(Machine(gpus=(Card(device_id),)), DriverRequest(flavour=Flavour.PROPRIETARY))
