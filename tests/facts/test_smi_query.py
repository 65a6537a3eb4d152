"""nvidia-smi's CSV as many drivers print it, read by its header."""

import pytest

from ingot.facts.errors import ParseError
from ingot.facts.smi_query import parse_query
from tests.facts.captures import capture, names

pytestmark = pytest.mark.driver

MIB = 1 << 20
WITH_HEADER = [name for name in names("*csv*") if "noheader" not in name]


@pytest.mark.parametrize("name", WITH_HEADER)
def test_every_capture_is_read(name: str) -> None:
    query = parse_query(capture(name))
    lines = [line for line in capture(name).splitlines() if line.strip()]
    assert len(query.rows) == len(lines) - 1
    assert not any(row.fault for row in query.rows)


@pytest.mark.parametrize("name", [name for name in WITH_HEADER if "sizing" in name or "all-csv" in name])
def test_total_is_reserved_and_used_and_free(name: str) -> None:
    """The driver's own sum, up to its rounding to MiB: columns were not mixed up."""
    for row in parse_query(capture(name)).rows:
        assert row.total_bytes and row.reserved_bytes is not None
        assert row.used_bytes is not None and row.free_bytes is not None
        assert abs(row.total_bytes - row.reserved_bytes - row.used_bytes - row.free_bytes) <= 2 * MIB


def test_an_h200_is_read_whole() -> None:
    (row,) = parse_query(capture("h200__query-gpu-all-csv.txt")).rows
    assert (row.name, row.index, row.bus_id, row.device_id) == ("NVIDIA H200", 0, "0000:83:00.0", 0x2335)
    assert (row.total_bytes, row.compute_capability) == (143771 * MIB, (9, 0))
    assert (row.mig_enabled, row.ecc_enabled, row.persistence) == (False, True, True)
    assert (row.fabric_state, row.fabric_status) == ("Completed", "Success")
    assert (row.remap_pending, row.remap_failed, row.ecc_uncorrected) == (False, False, 0)


def test_a_card_without_fabric_ecc_or_mig_has_none_of_them() -> None:
    (row,) = parse_query(
        capture("derived__linux-x86_64__nvidia-geforce-rtx-2080-super__610.57.04__sizing.csv.txt")
    ).rows
    assert (row.fabric_state, row.mig_enabled, row.ecc_enabled, row.ecc_uncorrected) == (None, None, None, None)


def test_unified_memory_has_no_memory_of_its_own() -> None:
    (row,) = parse_query(capture("gb10__query-csv.txt")).rows
    assert (row.total_bytes, row.free_bytes, row.fault) == (None, None, None)


def test_units_may_be_in_the_header_alone() -> None:
    (row,) = parse_query("index, memory.total [MiB]\n0, 24564\n").rows
    assert row.total_bytes == 24564 * MIB


@pytest.mark.parametrize(
    "marker", ["[N/A]", "N/A", "[Not Supported]", "Not Supported", "[Insufficient Permissions]", "", "[Not Found]"]
)
def test_an_absent_figure_is_none(marker: str) -> None:
    (row,) = parse_query(f"index, uuid, memory.total [MiB], compute_cap\n0, GPU-1, {marker}, {marker}\n").rows
    assert (row.total_bytes, row.compute_capability, row.fault) == (None, None, None)


@pytest.mark.parametrize("marker", ["[GPU is lost]", "GPU is lost", "[GPU requires reset]", "[Unknown Error]"])
def test_a_fault_marker_is_a_fault_of_its_row_only(marker: str) -> None:
    rows = parse_query(f"index, uuid, memory.total [MiB]\n0, GPU-1, 24564 MiB\n1, GPU-2, {marker}\n").rows
    assert [row.fault for row in rows] == [None, marker.strip("[]")]


def test_a_sensor_with_an_unknown_error_is_no_lost_gpu() -> None:
    (row,) = parse_query("index, memory.total [MiB], power.limit [W]\n0, 24564 MiB, [Unknown Error]\n").rows
    assert (row.fault, row.total_bytes) == (None, 24564 * MIB)


def test_warnings_around_the_table_are_messages() -> None:
    query = parse_query(
        "WARNING: infoROM is corrupted at gpu 0000:3B:00.0\nindex, name\n0, Tesla T4\n"
        "WARNING: infoROM is corrupted at gpu 0000:3B:00.0\n"
    )
    assert [row.name for row in query.rows] == ["Tesla T4"]
    assert len(query.messages) == 2


def test_a_domain_beyond_16_bits_stays() -> None:
    (row,) = parse_query("index, pci.bus_id\n0, 00010000:81:00.0\n").rows
    assert row.bus_id == "10000:81:00.0"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (capture("rtx4090__query-csv-noheader.txt"), "no header line"),
        ("", "no header line"),
        ("index, name, uuid\n0, Tesla T4\n", "2 cells where the header has 3"),
        ("index, memory.total [MiB]\n0, lots MiB\n", "memory.total is 'lots MiB'"),
        ("index, memory.total\n0, 24564\n", "expected a number with its unit"),
        ("index, name\nzero, Tesla T4\n", "index is 'zero'"),
        ("index, compute_cap\n0, new\n", "compute_cap is 'new'"),
        ("index, pci.bus_id\n0, 83:00\n", "not a PCI address"),
    ],
)
def test_what_is_no_such_table_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(ParseError, match=says) as error:
        parse_query(text)
    assert "\n" not in str(error.value)
