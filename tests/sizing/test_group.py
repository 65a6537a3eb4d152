"""A replica over several hosts: tensor parallel on the GPUs of each, a pipeline stage each."""

from dataclasses import replace

import pytest

from ingot.catalog import hardware_from_name, load_models
from ingot.sizing import (
    DoesNotFit,
    Hardware,
    HardwareError,
    HostPlan,
    ModelRequest,
    Workload,
    WorkloadError,
    plan_group,
    plan_host,
    vllm,
)

MODELS = load_models({})
ENGINE = vllm("0.33.0")
HOSTS = ("gpu-01", "gpu-02")


def hardware(gpus: str) -> Hardware:
    return replace(hardware_from_name(gpus), host="gpu-01")


def request(model: str, variant: str | None = None, hosts: tuple[str, ...] = HOSTS) -> ModelRequest:
    return ModelRequest(MODELS[model], Workload(8192, 8), variant=variant, hosts=hosts)


def test_a_model_that_no_single_host_holds_has_a_stage_on_each() -> None:
    alone = hardware("rtx4090x2")
    with pytest.raises(DoesNotFit):
        plan_host(alone, [request("qwen3-32b", "bf16", ())], engine=ENGINE)
    made = plan_group(alone, request("qwen3-32b", "bf16", ("a", "b", "gpu-01")), engine=ENGINE)
    (one,) = made.replicas
    assert (one.tensor_parallel_size, one.pipeline_parallel_size) == (2, 3)
    assert one.gpu_uuids == tuple(gpu.uuid for gpu in alone.gpus)
    assert one.hosts == ("a", "b", "gpu-01")
    assert HostPlan.from_dict(made.to_dict()) == made


def test_memory_is_that_of_the_tightest_stage_and_all_give_as_many_blocks() -> None:
    (whole,) = plan_host(
        hardware("rtx4090x4"), [replace(request("qwen3-32b", "bf16"), hosts=())], engine=ENGINE
    ).replicas
    (both,) = plan_group(hardware("rtx4090x4"), request("qwen3-32b", "bf16"), engine=ENGINE).replicas
    # Half the layers each, but the embeddings of the first or the head of the last besides.
    assert whole.memory.weights.bytes / 2 < both.memory.weights.bytes < whole.memory.weights.bytes
    assert both.kv_cache_tokens > 2 * whole.kv_cache_tokens


def test_the_stages_of_every_host_are_planned_alike() -> None:
    first = plan_group(hardware("h100x8"), request("qwen3-235b-a22b"), engine=ENGINE)
    second = plan_group(replace(hardware("h100x8"), host="gpu-02"), request("qwen3-235b-a22b"), engine=ENGINE)
    assert first.replicas == second.replicas
    assert len(first.replicas) == 1


def test_what_cannot_be_cut_like_that_is_refused_in_a_sentence() -> None:
    with pytest.raises(HardwareError, match="several kinds"):
        plan_group(hardware("rtx3090+rtx3060"), request("qwen3-8b"), engine=ENGINE)
    with pytest.raises(WorkloadError, match="cannot be cut over its 3 GPUs"):
        plan_group(hardware("rtx4090x3"), request("qwen3-8b"), engine=ENGINE)
    with pytest.raises(DoesNotFit, match="gpu-01"):
        plan_group(hardware("rtx4090x1"), request("qwen3-32b", "bf16"), engine=ENGINE)
