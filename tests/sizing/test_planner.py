"""The planner's rules, one behaviour each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.catalog import hardware_from_name, load_models, peaks
from ingot.sizing import (
    GPU,
    Calibration,
    CalibrationKey,
    DoesNotFit,
    Hardware,
    HardwareError,
    HostPlan,
    ModelRequest,
    PlanError,
    Workload,
    WorkloadError,
    plan_host,
    vllm,
)
from ingot.sizing.calibration import dump, load

from .conftest import GIB, QWEN3_8B, hardware, model

pytestmark = pytest.mark.sizing

ENGINE = vllm("0.32.0")


def plan(host: Hardware, *requests: ModelRequest, **options: object) -> HostPlan:
    return plan_host(host, requests, engine=ENGINE, **options)  # type: ignore[arg-type]


def ask(context: int = 4096, concurrency: int = 4, **changes: object) -> ModelRequest:
    return ModelRequest(model(), Workload(context, concurrency), **changes)  # type: ignore[arg-type]


def splits_of(found: HostPlan) -> list[int]:
    """GPUs of each replica."""
    return [len(replica.gpu_indices) for replica in found.replicas]


def test_a_number_of_replicas_is_met_with_the_fewest_gpus_and_leaves_others_free() -> None:
    found = plan(hardware(4), ask(replicas=2))
    assert [replica.gpu_indices for replica in found.replicas] == [(0,), (1,)]


def test_concurrency_is_what_the_host_serves_in_all() -> None:
    # 32 sequences of 16,384 tokens on four A10G: two replicas over two GPUs hold them together, one over four as well.
    request = ModelRequest(load_models()["qwen2.5-7b-instruct"], Workload(16384, 32))
    found = plan(hardware_from_name("a10gx4"), request, peaks=peaks())
    assert splits_of(found) == [2, 2]
    assert all(16 <= replica.max_concurrency < 32 for replica in found.replicas)
    assert all(replica.kv_bytes_needed < replica.memory.kv_cache.bytes for replica in found.replicas)
    assert sum(replica.max_concurrency for replica in found.replicas) >= 32
    assert {replica.max_num_seqs for replica in found.replicas} == {32}  # one may take more while another has fewer


def test_the_goal_decides_between_replicas_and_splits() -> None:
    request = ModelRequest(load_models()["qwen2.5-7b-instruct"], Workload(16384, 32))
    fast = plan(hardware_from_name("a10gx4"), replace(request, goal="latency"), peaks=peaks())
    assert splits_of(fast) == [4]
    linked = ModelRequest(load_models()["qwen3-8b"], Workload(8192, 512))
    assert len(splits_of(plan(hardware_from_name("h100x8"), linked, peaks=peaks()))) > 1
    assert splits_of(plan(hardware_from_name("h100x8"), replace(linked, goal="latency"), peaks=peaks())) == [8]


def test_no_replica_is_made_that_would_have_no_sequence() -> None:
    found = plan(hardware(8, nvlink=True), ask(4096, 2))
    assert len(found.replicas) <= 2


def test_processors_keep_one_rank_for_each_replica() -> None:
    found = plan_host(hardware(3), [ask()], engine=vllm("0.32.0", "cpu"))
    assert [replica.gpu_indices for replica in found.replicas] == [(0,), (1,), (2,)]


def test_gpus_of_another_kind_serve_too() -> None:
    small = [replace(gpu, name="small") for gpu in hardware(2).gpus]
    large = replace(hardware(3, total_gib=80).gpus[2], name="large")
    found = plan(Hardware("h", (*small, large)), ask(4096, 8))
    assert {replica.gpu_name for replica in found.replicas} == {"small", "large"}


def test_more_than_the_default_share_is_taken_only_where_nothing_else_fits() -> None:
    config = QWEN3_8B | {"num_hidden_layers": 40}
    request = ModelRequest(model(config), Workload(4096, 1), kv_cache_dtype="auto")
    sizes = [size / 10 for size in range(180, 260)]
    tight = next(
        found.replicas[0]
        for size in sizes
        if (found := _plan_or_none(hardware(1, total_gib=size), request)) is not None
    )
    assert 0.92 < tight.gpu_memory_utilization <= 0.95
    assert any("nothing else may use the GPU" in note for note in tight.notes)
    roomy = plan(hardware(1, total_gib=40), request).replicas[0]
    assert roomy.gpu_memory_utilization <= 0.92


def _plan_or_none(host: Hardware, request: ModelRequest) -> HostPlan | None:
    try:
        return plan(host, request)
    except DoesNotFit:
        return None


def test_better_weights_are_taken_over_more_replicas() -> None:
    request = ModelRequest(model(none=100, awq_int4=84), Workload(16384, 8), kv_cache_dtype="auto")
    found = plan(hardware(2), request)
    assert [replica.variant for replica in found.replicas] == ["none"]
    assert found.replicas[0].tensor_parallel_size == 2


def test_worse_weights_are_taken_where_better_do_not_fit() -> None:
    request = ModelRequest(model(none=100, fp8=95, awq_int4=84), Workload(4096, 4))
    assert plan(hardware(1, total_gib=16), request).replicas[0].variant == "fp8"
    assert plan(hardware(1, total_gib=10), request).replicas[0].variant == "awq-int4"


def test_an_fp8_cache_is_taken_before_worse_weights_and_only_where_it_runs() -> None:
    request = ModelRequest(model(none=100, awq_int4=84), Workload(12288, 4))
    assert plan(hardware(1), request).replicas[0].kv_cache_dtype == "fp8"
    ampere = replace(hardware(1).gpus[0], compute_capability=(8, 6))
    older = plan(Hardware("h", (ampere,)), request).replicas[0]
    assert (older.variant, older.kv_cache_dtype) == ("awq-int4", "auto")


def test_one_nvlink_island_is_taken_before_gpus_of_two() -> None:
    pairs = {0: {3}, 3: {0}, 1: {2}, 2: {1}}
    gpus = tuple(replace(gpu, nvlink_peers=frozenset(pairs[gpu.index])) for gpu in hardware(4).gpus)
    found = plan(Hardware("h", gpus), ask(16384, 16, kv_cache_dtype="auto", replicas=2))
    assert [replica.gpu_indices for replica in found.replicas] == [(0, 3), (1, 2)]


def test_the_smallest_kind_of_gpu_that_will_do_is_taken_first() -> None:
    small = replace(hardware(1, total_gib=24).gpus[0], name="small")
    large = replace(hardware(2, total_gib=80).gpus[1], name="large")
    found = plan(Hardware("h", (large, small)), ask(replicas=1))
    assert found.replicas[0].gpu_name == "small"


def test_gpus_of_different_kinds_are_not_mixed_in_a_replica() -> None:
    small = replace(hardware(1, total_gib=12).gpus[0], name="small")
    large = replace(hardware(2, total_gib=24).gpus[1], name="large")
    found = plan(Hardware("h", (small, large)), ask())
    assert [replica.gpu_name for replica in found.replicas] == ["large"]


def test_pipeline_stages_are_used_only_where_tensor_parallelism_cannot() -> None:
    config = QWEN3_8B | {"num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584}
    request = ModelRequest(model(config), Workload(16384, 16), kv_cache_dtype="auto")
    found = plan(hardware(3, total_gib=16), request).replicas[0]
    assert (found.tensor_parallel_size, found.pipeline_parallel_size) == (1, 3)


def test_data_parallel_ranks_share_experts_where_copied_caches_leave_too_little_room() -> None:
    request = ModelRequest(load_models()["deepseek-r1"], Workload(32768, 4))
    assert plan(hardware_from_name("h200x8"), request).replicas[0].tensor_parallel_size == 8
    wanted = replace(request, workload=Workload(32768, 32))
    (spread,) = plan(hardware_from_name("h200x8"), wanted).replicas
    assert (spread.tensor_parallel_size, spread.data_parallel_size, spread.expert_parallel) == (1, 8, True)
    assert spread.max_num_seqs == 4 and spread.max_concurrency >= 32
    older = plan_host(hardware_from_name("h200x8"), [wanted], engine=vllm("0.8.5"))
    assert older.replicas[0].data_parallel_size == 1


def test_several_models_get_a_replica_each_before_any_gets_two() -> None:
    requests = [ask(), ModelRequest(model(name="other"), Workload(4096, 4))]
    found = plan(hardware(3), *requests)
    assert [replica.model for replica in found.replicas].count("other") >= 1
    assert len(found.replicas) == 3


def test_quality_is_given_up_where_all_models_are_to_fit() -> None:
    first = ModelRequest(model(none=100, awq_int4=84), Workload(16384, 5), kv_cache_dtype="auto")
    second = ModelRequest(model(name="other", none=100), Workload(4096, 4))
    found = {replica.model: replica.variant for replica in plan(hardware(2), first, second).replicas}
    assert found == {"qwen3-8b": "awq-int4", "other": "none"}


def test_models_share_a_gpu_only_when_asked() -> None:
    requests = [
        ModelRequest(model(awq_int4=84), Workload(2048, 2)),
        ModelRequest(model(name="other", awq_int4=84), Workload(2048, 2)),
    ]
    with pytest.raises(DoesNotFit, match="share"):
        plan(hardware(1), *requests)
    found = plan(hardware(1), *(replace(request, share=True) for request in requests))
    assert [replica.gpu_indices for replica in found.replicas] == [(0,), (0,)]
    assert sum(replica.gpu_memory_utilization for replica in found.replicas) < 1


def test_memory_that_others_use_is_left_alone() -> None:
    found = plan(hardware(1, free_gib=20.0), ask())
    assert found.replicas[0].gpu_memory_utilization <= 20 / 24
    with pytest.raises(DoesNotFit):
        plan(hardware(1, free_gib=15.0), ask())


def test_a_mig_instance_counts_as_one_gpu() -> None:
    instance = GPU(0, "MIG-1", "NVIDIA H100 80GB HBM3 MIG 3g.40gb", 40 * GIB, None, (9, 0), mig_profile="3g.40gb")
    assert plan(Hardware("h", (instance,)), ask()).replicas[0].gpu_uuids == ("MIG-1",)


def test_unified_memory_leaves_the_host_its_own() -> None:
    gb10 = GPU(0, "GPU-0", "NVIDIA GB10", 120 * GIB, 116 * GIB, (12, 1), unified_memory=True)
    assert plan(Hardware("h", (gb10,)), ask()).replicas[0].gpu_memory_utilization <= 0.9


def test_gpus_without_bfloat16_serve_in_float16() -> None:
    old = replace(hardware(1).gpus[0], compute_capability=(7, 5))
    assert plan(Hardware("h", (old,)), ask()).replicas[0].dtype == "float16"
    assert plan(hardware(1), ask()).replicas[0].dtype == "auto"


def test_replicas_stop_at_the_wished_rate() -> None:
    host = hardware_from_name("rtx4090x8")
    request = ModelRequest(model(), Workload(4096, 4, tokens_per_second=100.0))
    few = plan(host, request, peaks=peaks())
    assert 1 <= len(few.replicas) < 8
    assert sum(replica.estimate.decode_tokens_per_s for replica in few.replicas if replica.estimate) >= 100


def test_throughput_is_labelled_an_estimate() -> None:
    rates = plan(hardware_from_name("rtx4090"), ask(), peaks=peaks()).replicas[0].estimate
    assert rates is not None
    assert rates.basis.startswith("estimate")
    assert 50 < rates.decode_tokens_per_s < 1008e9 / 16e9 * 4


def test_a_plan_survives_being_stored() -> None:
    found = plan(hardware_from_name("h100x8"), ask(32768, 16), peaks=peaks())
    assert HostPlan.from_dict(found.to_dict()) == found
    with pytest.raises(PlanError, match=r"^The stored plan has schema 0, expected \d+: deploy again\.$"):
        HostPlan.from_dict({"schema": 0})
    with pytest.raises(PlanError):
        HostPlan.from_dict({**found.to_dict(), "replicas": [{}]})


# --- what does not fit teaches


def test_the_arithmetic_is_shown_and_what_would_fit() -> None:
    with pytest.raises(DoesNotFit) as refused:
        plan(hardware(1), ask(32768, 32))
    error = refused.value
    assert str(error).startswith("gpu-01: qwen3-8b with 32768 tokens for 32 sequences does not fit on 1 x ")
    assert error.binding == "KV cache"
    assert [row[0] for row in error.table][:3] == ["memory of the GPU", "the engine may take", "- weights"]
    assert any("tokens of context" in one for one in error.nearest)
    assert any("at once" in one for one in error.nearest)
    assert any(one.startswith("use 8 x") for one in error.nearest)


def test_weights_that_are_too_large_are_named() -> None:
    with pytest.raises(DoesNotFit) as refused:
        plan(hardware(1, total_gib=13), ask())
    assert refused.value.binding == "weights"
    assert refused.value.nearest == ("use 2 x NVIDIA GeForce RTX 4090",)


def test_a_fixed_variant_that_does_not_fit_points_to_others() -> None:
    request = ModelRequest(model(none=100, awq_int4=84), Workload(4096, 4), variant="none")
    with pytest.raises(DoesNotFit) as refused:
        plan(hardware(1, total_gib=12), request)
    assert "let another variant than none be chosen" in refused.value.nearest


# --- bad input


def test_bad_hardware_is_one_sentence() -> None:
    gpu = hardware(1).gpus[0]
    for wrong, words in (
        ((), "no GPU"),
        ((replace(gpu, vram_bytes=0),), "more than zero"),
        ((replace(gpu, vram_bytes=-5),), "more than zero"),
        ((replace(gpu, free_bytes=25 * GIB),), "expected between zero and the total"),
        ((replace(gpu, uuid=""),), "no UUID"),
        ((gpu, replace(gpu, index=1)), "share the UUID"),
        ((gpu, replace(gpu, uuid="other")), "two GPUs have the index"),
    ):
        with pytest.raises(HardwareError, match=words):
            plan(Hardware("h", wrong), ask())


def test_a_gpu_that_nobody_listed_is_planned_by_its_memory() -> None:
    unknown = GPU(0, "GPU-0", "NVIDIA Nobody Knows 9000", 48 * GIB)
    assert plan(Hardware("h", (unknown,)), ask()).replicas[0].gpu_name == "NVIDIA Nobody Knows 9000"


def test_a_workload_beyond_the_model_is_refused() -> None:
    with pytest.raises(WorkloadError, match="100000 tokens, it was trained for 40960"):
        plan(hardware(8), ask(100_000, 1))
    for context, concurrency in ((0, 1), (1, 0), (-1, 1), (True, 1)):
        with pytest.raises(WorkloadError):
            Workload(context, concurrency)


def test_a_variant_that_is_not_there_is_refused() -> None:
    with pytest.raises(WorkloadError, match="no variant 'fp7', expected one of none"):
        plan(hardware(1), ask(variant="fp7"))


# --- the loop closes


def measurement(found: HostPlan, **measured: int) -> Calibration:
    replica = found.replicas[0]
    key = CalibrationKey(
        repository=replica.repository,
        quantization=replica.quantization,
        engine=found.engine,
        build="cuda",
        gpu=replica.gpu_name,
        tensor_parallel_size=replica.tensor_parallel_size,
        pipeline_parallel_size=replica.pipeline_parallel_size,
        max_num_seqs=replica.max_num_seqs,
        max_num_batched_tokens=replica.max_num_batched_tokens,
    )
    return Calibration(
        key,
        gpu_total_bytes=replica.memory.total.bytes,
        gpu_memory_utilization=replica.gpu_memory_utilization,
        **measured,
    )


def test_a_measured_start_replaces_the_defaults_of_the_next_plan() -> None:
    first = plan(hardware(1), ask())
    memory = first.replicas[0].memory
    predicted = memory.kv_cache.bytes + memory.margin.bytes
    real = measurement(first, weights_bytes=memory.weights.bytes, available_kv_bytes=predicted - GIB)
    again = plan(hardware(1), ask(), calibrations=load(dump([real]))).replicas[0].memory
    assert again.activation.basis == "measured"
    assert again.kv_cache.bytes + again.margin.bytes == pytest.approx(predicted - GIB, abs=2)
    assert again.margin.bytes < memory.margin.bytes


def test_a_measurement_holds_only_for_its_own_shape() -> None:
    first = plan(hardware(1), ask())
    real = measurement(first, activation_bytes=3 * GIB)
    assert plan(hardware(1), ask(4096, 5), calibrations=[real]).replicas[0].memory.activation.basis == "default"
    assert plan(hardware(1), ask(), calibrations=[real]).replicas[0].memory.activation.bytes == 3 * GIB


def test_a_start_that_compiled_is_never_the_last_word() -> None:
    first = plan(hardware(1), ask())
    memory = first.replicas[0].memory
    cold = replace(
        measurement(first, weights_bytes=memory.weights.bytes + 5, available_kv_bytes=memory.kv_cache.bytes - GIB),
        compiled=True,
    )
    after = plan(hardware(1), ask(), calibrations=load(dump([cold]))).replicas[0].memory
    assert after.weights.basis == "measured"
    assert (after.activation.basis, after.activation.bytes) == ("default", memory.activation.bytes)
    warm = measurement(first, activation_bytes=GIB)
    for order in ([warm, cold], [cold, warm]):
        assert plan(hardware(1), ask(), calibrations=order).replicas[0].memory.activation.bytes == GIB


def test_measurements_that_cannot_be_read_say_so() -> None:
    with pytest.raises(PlanError, match="schema"):
        load({"schema": 99})
    with pytest.raises(PlanError, match=r"measured\.json"):
        load({"schema": 1, "measured": [{"key": {}}]})
