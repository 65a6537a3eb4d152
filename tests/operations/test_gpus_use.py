"""A host may say which GPUs Ingot may use; instances (MIG) are GPUs of their own."""

from typing import Any

import pytest

from ingot.catalog import load_models
from ingot.errors import IngotError
from ingot.facts.smi_fault import Fault, GpuFault
from ingot.operations.gpus_on_bus import promised
from ingot.operations.gpus_use import answering, chosen
from ingot.sizing import GPU, Hardware, ModelRequest, Workload, plan_host, vllm

pytestmark = pytest.mark.driver

GPUS = tuple(GPU(index, f"GPU-{index}a", "NVIDIA A10G", 23028 << 20) for index in range(4))
INSTANCES = tuple(
    GPU(
        index,
        f"MIG-{index}a",
        "NVIDIA H100 80GB HBM3 MIG 3g.40gb",
        40320 << 20,
        compute_capability=(9, 0),
        mig_profile="3g.40gb",
    )
    for index in range(2)
)


@pytest.mark.parametrize(
    ("use", "indices"),
    [(None, [0, 1, 2, 3]), ([2], [2]), (["0", "GPU-3a"], [0, 3]), (["gpu-1A", 1], [1]), ((3, 0), [0, 3])],
)
def test_gpus_are_chosen_by_index_or_uuid_in_the_host_s_order(use: Any, indices: list[int]) -> None:
    assert [gpu.index for gpu in chosen(GPUS, use)] == indices


@pytest.mark.parametrize(
    ("use", "says"),
    [
        ([4], "gpus_use names 4, expected GPUs of this host: 0 (GPU-0a), 1"),
        (["GPU-9"], "gpus_use names gpu-9"),
    ],
)
def test_a_choice_that_cannot_be_is_one_sentence(use: Any, says: str) -> None:
    with pytest.raises(IngotError) as error:
        chosen(GPUS, use)
    assert says in str(error.value)
    assert "; correct" in str(error.value)


def test_a_gpu_that_is_left_alone_may_be_lost() -> None:
    fault = GpuFault(Fault.LOST, "GPU 3", GPUS[:3])
    assert answering(fault, [0, 1]) == GPUS[:2]
    assert answering(fault, [0, 3]) is fault
    assert answering(fault, None) is fault
    # What keeps every GPU from answering is nobody's alone.
    assert answering(GpuFault(Fault.MISMATCH, "", GPUS), [0]).kind is Fault.MISMATCH


def test_each_instance_serves_on_its_own_and_none_is_joined_with_another() -> None:
    small, large = (
        plan_host(Hardware("gpu-01", INSTANCES), [request], engine=vllm("0.33.0"))
        for request in (
            ModelRequest(load_models()["qwen2.5-7b-instruct"], Workload(8192, 4)),
            ModelRequest(load_models()["qwen3-32b"], Workload(8192, 4)),
        )
    )
    for made in (small, large):
        assert [one.gpu_uuids for one in made.replicas] == [("MIG-0a",), ("MIG-1a",)]


@pytest.mark.parametrize("use", [[0, 1], ["GPU-3a23c669-1f69", "GPU-9a9a6c50-2a47"]])
def test_while_only_the_kind_of_gpu_is_known_as_many_as_are_named_are_used(use: list[object]) -> None:
    assert promised(GPUS, use) == GPUS[:2]


@pytest.mark.parametrize("use", [[4]])
def test_what_cannot_be_is_refused_before_there_is_a_driver_too(use: Any) -> None:
    with pytest.raises(IngotError, match="gpus_use"):
        promised(GPUS, use)
