"""A healthy box of eight H100, to be made worse by tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ingot.acceptance.finding import Measured
from ingot.acceptance.measured import BurnIn, DiskRates, GpuBurnIn
from ingot.acceptance.readings import GpuCounters, Look, Sample

NAME = "NVIDIA H100 80GB HBM3"


def uuid(index: int) -> str:
    return f"GPU-{index}"


COUNTERS = tuple(
    GpuCounters(
        uuid=uuid(index),
        index=index,
        name=NAME,
        address=f"0000:{index + 16:02x}:00.0",
        corrected=0,
        uncorrected=0,
        corrected_ever=3,
        uncorrected_ever=0,
        rows_remapped=0,
        generation=5,
        width=16,
        widest=16,
        fabric="Completed, Success",
        links=(18, 18),
        replays=0,
    )
    for index in range(8)
)
SAMPLES = tuple(
    Sample(float(second), uuid(index), 62, 70, 1750, 690, 100, 5, 16, ("sw_power_cap",))
    for second in range(20)
    for index in range(8)
)
GPUS = tuple(
    GpuBurnIn(
        uuid=uuid(index),
        matmul_tflops=760,
        copy_gb_per_s=2960,
        to_device_gb_per_s=55.2,
        to_host_gb_per_s=55.4,
        peer_gb_per_s=370,
        soak_tflops=720,
        soak_s=60,
        products=40000,
        memory_bytes=300 << 30,
        checksum="00ff",
    )
    for index in range(8)
)
HEALTHY = Measured(
    before=Look(COUNTERS, driver="580.173.02"),
    after=Look(COUNTERS, driver="580.173.02"),
    samples=SAMPLES,
    burn_in=BurnIn(GPUS, all_reduce_gb_per_s=470, host_memory_gb_per_s=300),
    disk=DiskRates(6.2, 3.1),
)


def burned(index: int, **changed: Any) -> Measured:
    """The box with other figures of one GPU."""
    assert HEALTHY.burn_in
    gpus = tuple(replace(one, **changed) if one.uuid == uuid(index) else one for one in GPUS)
    return replace(HEALTHY, burn_in=replace(HEALTHY.burn_in, gpus=gpus))


def counted(index: int, *, before: bool = False, **changed: Any) -> Measured:
    """The box with other counters of one GPU after the run, or before and after it."""
    look = Look(tuple(replace(one, **changed) if one.index == index else one for one in COUNTERS), driver="580.173.02")
    return replace(HEALTHY, after=look, before=look if before else HEALTHY.before)


def sampled(index: int, **changed: Any) -> Measured:
    """The box with other samples of one GPU."""
    samples = tuple(replace(one, **changed) if one.uuid == uuid(index) else one for one in SAMPLES)
    return replace(HEALTHY, samples=samples)
