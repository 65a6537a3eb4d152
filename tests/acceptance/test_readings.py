"""What nvidia-smi says, from recorded outputs, and what the burn-in, fio and DCGM print."""

from __future__ import annotations

import json

import pytest

from ingot.acceptance.measured import BurnIn, Point, parse_burn_in, parse_dcgm, parse_fio
from ingot.acceptance.readings import parse_look, parse_nvlink, parse_replays, parse_trace, table
from ingot.acceptance.reports import fresh
from ingot.facts.xid import SwitchError, Xid, parse_switch_errors
from tests.facts.captures import capture

pytestmark = pytest.mark.onboarding

UUID = "GPU-00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize("machine", ["h100-sxm", "h200", "l40s", "h100-mig", "rtx2080s-610"])
def test_counters_are_read_from_every_recorded_driver(machine: str) -> None:
    text = capture(f"{machine}__query-gpu-all-csv.txt")
    look = parse_look(text, text, capture(f"{machine}__nvlink-s.txt"), "", "")
    (gpu,) = look.gpus
    assert gpu.label == "GPU 0"
    assert gpu.width
    assert gpu.widest == 16
    assert gpu.generation in (3, 4, 5)
    assert not gpu.remap_failed


def test_an_h100s_counters_are_numbers() -> None:
    text = capture("h100-sxm__query-gpu-all-csv.txt")
    (gpu,) = parse_look(text, text, capture("h100-sxm__nvlink-s.txt"), "", "").gpus
    assert (gpu.name, gpu.corrected, gpu.uncorrected_ever) == ("NVIDIA H100 80GB HBM3", 0, 0)
    assert gpu.fabric == "Completed, Success"
    assert gpu.links == (18, 18)


def test_a_geforce_has_no_ecc_and_no_links() -> None:
    text = capture("rtx2080s-610__query-gpu-all-csv.txt")
    (gpu,) = parse_look(text, text, capture("rtx2080s-610__nvlink-s.txt"), "", "").gpus
    assert (gpu.corrected, gpu.uncorrected, gpu.rows_remapped, gpu.fabric, gpu.links) == (
        None,
        None,
        None,
        None,
        (0, 0),
    )


def test_links_that_are_down_are_counted() -> None:
    text = f"GPU 0: NVIDIA X (UUID: {UUID})\n\t Link 0: 26.562 GB/s\n\t Link 1: <inactive>\n"
    assert parse_nvlink(text) == {UUID: (1, 2)}


def test_replays_are_read_per_address() -> None:
    lines = '\t<gpu id="00000000:1B:00.0">\n\t\t<replay_counter>7</replay_counter>\n'
    assert parse_replays(lines) == {"0000:1b:00.0": 7}


def test_a_driver_that_refuses_a_field_leaves_a_table_empty() -> None:
    refused = 'Field "fabric.state" is not a valid field to query.\n\n'
    assert list(table(refused)) == []
    assert parse_look(refused, refused, "", "", "").gpus == ()


def test_a_trace_is_read_whole_whatever_its_parts() -> None:
    header = "timestamp, uuid, temperature.gpu, clocks.current.sm [MHz], clocks_event_reasons.sw_thermal_slowdown"
    first = f"2026/11/23 02:06:01.500, {UUID}, 41, 345, Not Active"
    second = f"2026/11/23 02:06:11.500, {UUID}, 88, [N/A], Active"
    samples = parse_trace("\n".join((header, first, "a line of something else", header, second)))
    assert [(one.at_s, one.temperature, one.clock, one.reasons) for one in samples] == [
        (0.0, 41, 345, ()),
        (10.0, 88, None, ("sw_thermal_slowdown",)),
    ]


def test_the_same_xid_twice_is_two_reports() -> None:
    one, other = Xid("0000:1b:00", 48), Xid("0000:1b:00", 63)
    assert fresh((one,), (one, one, other)) == (one, other)


def test_what_nvswitches_report_is_read() -> None:
    text = (
        "[12.1] nvidia-nvswitch0: SXid (PCI:0000:06:00.0): 20034, Fatal, Link 30 LTSSM Fault Up\n"
        "[12.2] nvidia-nvswitch0: SXid (PCI:0000:06:00.0): 28006, Non-fatal, Link 46 MC TS crumbstore MCTO\n"
    )
    fatal, other = parse_switch_errors(text)
    assert fatal == SwitchError("0000:06:00.0", 20034, True, "Link 30 LTSSM Fault Up")
    assert (other.number, other.is_fatal) == (28006, False)


def lines(*events: dict[str, object]) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


def test_a_burn_in_is_read_with_its_trace_and_its_errors() -> None:
    text = lines(
        {"phase": "software", "torch": "2.13", "cuda": "13.0", "gpus": ["a", "b"]},
        {"phase": "host_memory", "gb_per_s": 300, "threads": 64},
        {"phase": "matmul", "gpu": "a", "tflops": 760, "best_tflops": 770, "size": 8192, "dtype": "bfloat16"},
        {"phase": "error", "during": "matmul", "gpu": "b", "text": "CUDA error"},
        {"finished": "matmul", "complete": False},
        {"phase": "all_reduce", "gpu": "a", "gpus": 2, "bytes": 1, "bus_gb_per_s": 470, "wrong": 0},
        {"phase": "all_reduce", "gpu": "b", "gpus": 2, "bytes": 1, "bus_gb_per_s": 460, "wrong": 1},
        {"finished": "all_reduce", "complete": True},
        {"phase": "soak", "gpu": "a", "at_s": 1.0, "tflops": 720},
    )
    found = parse_burn_in(text + "a warning of something else\n")
    assert found.finished == ("all_reduce",)
    assert (found.all_reduce_gb_per_s, found.host_memory_gb_per_s) == (460, 300)
    a, b = found.gpus
    assert (a.matmul_tflops, a.points) == (760, (Point(1.0, 720),))
    assert (b.errors, b.wrong_sums) == (("matmul: CUDA error",), 1)


def test_an_error_is_forgotten_when_its_phase_is_gone_through_later() -> None:
    failed = {"phase": "error", "during": "copy", "gpu": "a", "text": "out of memory"}
    start = {"phase": "software", "torch": "2.13", "cuda": "13.0", "gpus": ["a"]}
    first = lines(start, failed, {"finished": "copy", "complete": False})
    assert parse_burn_in(first).gpus[0].errors == ("copy: out of memory",)
    again = parse_burn_in(first + lines({"finished": "copy", "complete": True}))
    assert (again.gpus[0].errors, again.finished) == ((), ("copy",))


def test_a_corrupted_product_is_a_sentence() -> None:
    bad = {"elements": 1, "row": 3, "column": 5, "expected": "0xc181", "got": "0xc1c1"}
    (gpu,) = parse_burn_in(lines({"phase": "soak", "gpu": "a", "at_s": 12.0, "corrupted": bad})).gpus
    assert gpu.corrupted == ("after 12 s element [3, 5] of a product is 0xc1c1, expected 0xc181 (1 elements differ)",)


def test_nothing_measured_is_nothing_known() -> None:
    assert parse_burn_in("docker: Error response from daemon\n") == BurnIn()


def test_fio_and_dcgm_are_read() -> None:
    fio = {"jobs": [{"jobname": "write", "write": {"bw_bytes": 3e9}}, {"jobname": "read", "read": {"bw_bytes": 6.5e9}}]}
    disk = parse_fio("fio: a note\n" + json.dumps(fio))
    assert disk
    assert (disk.read_gb_per_s, disk.write_gb_per_s) == (6.5, 3.0)
    tests = [
        {"name": "memory", "results": [{"status": "Pass"}, {"status": "Fail"}]},
        {"name": "pcie", "results": [{"status": "Warn"}], "test_summary": {"status": "Warn"}},
        {"name": "software", "results": [{"status": "Pass"}]},
        {"name": "nvbandwidth", "results": [{"status": "Skip"}]},
    ]
    said = parse_dcgm(json.dumps({"DCGM Diagnostic": {"test_categories": [{"category": "x", "tests": tests}]}}))
    assert said
    assert (said.passed, said.warned, said.failed) == (("software",), ("pcie",), ("memory",))


@pytest.mark.parametrize("text", ["", "not measured", "{}", '{"jobs": []}', "{", "[1]"])
def test_what_is_no_measurement_is_none(text: str) -> None:
    assert parse_fio(text) is None
    assert parse_dcgm(text) is None
