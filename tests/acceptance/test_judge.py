"""The judgement of an acceptance: what fails, what is warned of, and what each reason says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.acceptance.finding import Measured, Verdict
from ingot.acceptance.judge import judge
from ingot.acceptance.measured import Diagnostics, DiskRates
from ingot.acceptance.readings import Look
from ingot.acceptance.speed import medians
from ingot.facts.xid import SwitchError, Xid
from tests.acceptance.box import COUNTERS, HEALTHY, NAME, SAMPLES, burned, counted, sampled, uuid

pytestmark = pytest.mark.onboarding

XID = Xid("0000:13:00", 79, "GPU has fallen off the bus.")


def xids(before: tuple[Xid, ...], after: tuple[Xid, ...]) -> Measured:
    return replace(HEALTHY, before=Look(COUNTERS, before), after=Look(COUNTERS, after))


def switched(error: SwitchError) -> Measured:
    return replace(HEALTHY, after=Look(COUNTERS, switch_errors=(error,)))


def test_a_healthy_box_passes_without_a_word() -> None:
    assert judge(HEALTHY) == (Verdict.PASS, ())


FAILS = [
    (counted(2, uncorrected=1, uncorrected_ever=1), "GPU 2 had 1 uncorrectable memory errors during the run"),
    (counted(2, before=True, uncorrected=2), "GPU 2 had 2 uncorrectable memory errors since its last reset"),
    (counted(2, remap_failed=True), "GPU 2 could not remap a bad memory row; have the card replaced"),
    (counted(2, rows_remapped=1), "GPU 2 remapped 1 memory rows during the run"),
    (xids((), (XID,)), "GPU 3 reported Xid 79 during the run: the GPU fell off the bus"),
    (switched(SwitchError("0000:06:00.0", 20034, True, "Link 30 Fault Up")), "the NVSwitch at 0000:06:00.0 reported"),
    (replace(HEALTHY, after=Look(COUNTERS[:7])), "GPU 7 answered before the run and does not any more"),
    (sampled(4, width=8), "GPU 4 uses 8 of its 16 PCIe lanes, others of its kind more; check its seat and riser"),
    (sampled(4, generation=4), "GPU 4 runs its PCIe link at generation 4 under load, expected 5"),
    (counted(1, before=True, links=(17, 18)), "GPU 1 has 17 of 18 NVLinks active"),
    (counted(1, before=True, links=(0, 0)), "GPU 1 has 0 NVLinks where the others have 18"),
    (counted(1, before=True, fabric="In Progress, N/A"), "GPU 1 is not part of the NVLink fabric (In Progress, N/A)"),
    (sampled(5, reasons=("hw_thermal_slowdown",)), "GPU 5 slowed down for heat (hardware) in 100% of the samples"),
    (burned(6, wrong_products=1, corrupted=("after 3 s element [3, 5] of a product is 0xc1c1, expected 0xc181",)),
     "GPU 6 computes wrong: after 3 s element [3, 5] of a product is 0xc1c1, expected 0xc181"),
    (burned(6, wrong_samples=2), "GPU 6: 2 elements of a product are not what a CPU computes"),
    (burned(6, wrong_memory=1), "GPU 6: 1 numbers of its memory are not what was written"),
    (burned(6, wrong_sums=9), "GPU 6: 9 sums of an all-reduce are wrong"),
    (burned(6, errors=("matmul: did not answer any more and was ended",)), "GPU 6 could not be burned in: matmul: did"),
    (burned(6, matmul_tflops=560), "GPU 6: matmul 560 TFLOP/s, expected at least 692.3 (data sheet 989)"),
    (burned(6, matmul_tflops=680), "GPU 6: matmul 680 TFLOP/s, 11% below its siblings' 760"),
    (burned(6, to_device_gb_per_s=25), "GPU 6: host to device 25 GB/s, expected at least 44.11; check seat"),
    (replace(HEALTHY, burn_in=replace(HEALTHY.burn_in, all_reduce_gb_per_s=300)), "all-reduce over all GPUs 300"),
    (replace(HEALTHY, differences=("ordered 2 TB of memory, found 1984 GiB",)), "ordered 2 TB of memory"),
    (replace(HEALTHY, undone=("the burn-in ended before soak",)), "the burn-in ended before soak"),
    (replace(HEALTHY, diagnostics=Diagnostics(failed=("memory",))), "DCGM's memory failed; read `dcgmi diag`"),
]  # fmt: skip
WARNS = [
    (counted(2, corrected=4), "GPU 2 corrected 4 memory errors during the run"),
    (counted(2, remap_pending=True), "GPU 2 has a memory row to remap; reset it or reboot, and accept again"),
    (counted(2, replays=3), "GPU 2 repeated 3 PCIe packets during the run; check its seat and riser"),
    (xids((), (Xid("0000:13:00", 31, "MMU Fault"),)), "GPU 3 reported Xid 31 during the run (MMU Fault)"),
    (xids((), (Xid("0000:13:00", 63),)), "GPU 3 reported Xid 63 during the run"),
    (xids((XID, XID), (XID, XID)), "GPU 3 reported Xid 79 2 times since boot, before the run"),
    (switched(SwitchError("0000:06:00.0", 28006, False, "MC TS")), "the NVSwitch at 0000:06:00.0 reported SXid 28006"),
    (sampled(5, temperature=79), "GPU 5 reached 79 °C, its siblings 62 °C; check airflow"),
    (burned(6, checksum="0000"), "GPU 6 computes another product than its siblings from the same numbers"),
    (burned(6, matmul_tflops=715), "GPU 6: matmul 715 TFLOP/s, 6% below its siblings' 760"),
    (burned(6, to_host_gb_per_s=48), "GPU 6: device to host 48 GB/s, 13% below its siblings' 55.4"),
    (burned(6, copy_gb_per_s=2550), "GPU 6: memory copy 2550 GB/s, expected at least 2613 (data sheet 3350)"),
    (replace(HEALTHY, nvme_ordered=True, disk=DiskRates(0.4, 0.2)), "the cache root reads 0.4 GB/s, expected 1"),
    (replace(HEALTHY, missing=("the disk could not be measured",)), "the disk could not be measured"),
    (replace(HEALTHY, diagnostics=Diagnostics(warned=("pcie",))), "DCGM warns of pcie"),
]  # fmt: skip


@pytest.mark.parametrize(("measured", "reason"), FAILS, ids=[reason for _, reason in FAILS])
def test_a_fault_fails(measured: Measured, reason: str) -> None:
    verdict, findings = judge(measured)
    assert verdict is Verdict.FAIL
    assert any(one.verdict is Verdict.FAIL and one.text.startswith(reason) for one in findings), findings


@pytest.mark.parametrize(("measured", "reason"), WARNS, ids=[reason for _, reason in WARNS])
def test_a_doubt_is_warned_of(measured: Measured, reason: str) -> None:
    verdict, findings = judge(measured)
    assert any(one.verdict is Verdict.WARN and one.text.startswith(reason) for one in findings), findings
    assert verdict is (Verdict.FAIL if any(one.verdict is Verdict.FAIL for one in findings) else Verdict.WARN)


def test_reasons_name_the_gpu_they_are_about() -> None:
    (finding,) = judge(burned(6, matmul_tflops=715))[1]
    assert finding.uuid == uuid(6)


def test_what_was_in_the_log_before_is_not_held_against_the_run() -> None:
    assert not any("during the run" in one.text for one in judge(xids((XID,), (XID,)))[1])


def test_one_sample_of_heat_in_many_is_a_warning() -> None:
    hot = replace(SAMPLES[5], reasons=("sw_thermal_slowdown",))
    (finding,) = judge(replace(HEALTHY, samples=(*(SAMPLES * 2), hot)))[1]
    assert finding.verdict is Verdict.WARN
    assert finding.text.startswith("GPU 5 slowed down for heat (driver) in 2% of the samples")


def test_idle_samples_say_nothing_of_links_and_heat() -> None:
    idle = replace(SAMPLES[0], utilization=0, generation=1, reasons=("hw_thermal_slowdown",))
    assert judge(replace(HEALTHY, samples=(*SAMPLES, idle))) == (Verdict.PASS, ())


def test_a_link_that_is_narrow_on_every_card_is_the_boards() -> None:
    narrow = replace(HEALTHY, samples=tuple(replace(one, width=8) for one in SAMPLES))
    verdict, findings = judge(narrow)
    assert "GPU 0 uses 8 of its 16 PCIe lanes, as all of its kind here: the board gives no more" in findings[0].text
    assert verdict is Verdict.WARN


def test_a_gpu_that_nobody_listed_is_judged_by_its_siblings_alone() -> None:
    gpus = tuple(replace(one, name="NVIDIA R300") for one in COUNTERS)
    unknown = replace(burned(6, matmul_tflops=100), before=Look(gpus), after=Look(gpus))
    (finding,) = judge(unknown)[1]
    assert "below its siblings'" in finding.text


def test_a_host_below_the_fleet_is_named() -> None:
    fleet = [{NAME: {"matmul": 810.0}}, {NAME: {"matmul": 820.0}}, {"NVIDIA L4": {"matmul": 60.0}}]
    verdict, (finding,) = judge(HEALTHY, fleet)
    assert verdict is Verdict.WARN
    assert finding.text.startswith(f"its {NAME}: matmul 760 TFLOP/s, 7% below other hosts' 815")


def test_a_host_tells_the_fleet_its_medians() -> None:
    assert medians(burned(6, matmul_tflops=100))[NAME]["matmul"] == 760


def test_without_a_burn_in_only_the_rest_is_judged() -> None:
    assert judge(replace(HEALTHY, burn_in=None, samples=())) == (Verdict.PASS, ())
