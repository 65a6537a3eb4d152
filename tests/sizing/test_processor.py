"""How fast llama.cpp may be on a processor: its memory's bandwidth, its cores, and what is assumed of either."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.sizing import Architecture, ModelRequest, Processor, ReplicaPlan, Workload, plan_on_host
from ingot.sizing.processor import REACHED, UNKNOWN_BANDWIDTH, ProcessorPace
from tests.sizing.test_host_memory import ARCHITECTURE, GIB, model

pytestmark = pytest.mark.engines

KNOWN = Processor(64 * GIB, cores=16, modules=8, speed=3200, channels=8)


def planned(processor: Processor | None, slots: int = 4) -> ReplicaPlan:
    request = ModelRequest(model(4 * GIB), Workload(2048, slots), engine="llama.cpp")
    (one,) = plan_on_host("cpu-01", 64 * GIB, [request], processor)
    return one


def pace(processor: Processor, shape: Architecture = ARCHITECTURE, size: int = 4 * GIB) -> ProcessorPace:
    return ProcessorPace(shape, processor, size, 0)


def test_channels_that_the_kernel_knows_give_the_bandwidth() -> None:
    # Eight channels of DDR4-3200: 204.8 GB/s, as AMD and Intel state it for such processors.
    assert KNOWN.bandwidth == pytest.approx(204.8e9)
    assert "205 GB/s of memory bandwidth (8 channels at 3,200 MT/s)" in KNOWN.basis


def test_without_channels_modules_are_taken_to_share_them() -> None:
    assert replace(KNOWN, channels=0).bandwidth == pytest.approx(102.4e9)
    assert "1 channel at" in Processor(modules=1, speed=2666).basis


@pytest.mark.parametrize("untold", [Processor(), Processor(modules=4), Processor(speed=3200)])
def test_what_is_not_told_is_assumed_and_said(untold: Processor) -> None:
    assert untold.bandwidth == UNKNOWN_BANDWIDTH
    assert "19 GB/s of memory bandwidth, which is assumed" in untold.basis


def test_one_answer_reads_the_weights_for_each_token() -> None:
    # All of the file but the rows of its embedding.
    read = 1 - 320 * 256 / ARCHITECTURE.parameters
    assert pace(KNOWN).decode_s(1, 0) == pytest.approx(4 * GIB * read / (KNOWN.bandwidth * REACHED), rel=1e-6)


def test_sequences_share_what_is_read_until_the_cores_are_busy() -> None:
    found = pace(KNOWN)
    assert found.decode_s(8, 0) == found.decode_s(1, 0)
    assert found.bound(1, 0) == "memory bandwidth"
    small = pace(KNOWN, size=1024)
    assert small.decode_s(8, 0) == pytest.approx(8 * small.decode_s(1, 0))
    assert small.bound(8, 0) == "arithmetic"


def test_a_plan_says_its_rates_and_that_they_are_an_estimate() -> None:
    rates = planned(KNOWN).estimate
    assert rates is not None and rates.sequences == 4
    assert rates.basis.startswith("estimate: from 205 GB/s") and "its first start measures" in rates.basis
    slower = planned(replace(KNOWN, speed=1600)).estimate
    assert slower is not None and slower.decode_tokens_per_s < rates.decode_tokens_per_s


def test_nothing_is_estimated_of_a_processor_that_nobody_looked_at() -> None:
    assert planned(None).estimate is None
