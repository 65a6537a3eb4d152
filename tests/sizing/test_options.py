"""What a model may be asked for beside its workload: adapters, drafts, text alone, long contexts, kinds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ingot.catalog import hardware_from_name, load_models
from ingot.sizing import (
    Adapter,
    DoesNotFit,
    EngineArguments,
    Hardware,
    HostPlan,
    Model,
    ModelRequest,
    ReplicaPlan,
    Speculation,
    Variant,
    Workload,
    WorkloadError,
    Yarn,
    architecture_from_config,
    plan_host,
    vllm,
)
from ingot.sizing.adapters import adapter_bytes, draft_bytes, slot_rank
from ingot.sizing.quantization import SCHEMES
from ingot.sizing.split import Parallel
from ingot.sizing.weights import from_size, stage_weights

from .conftest import GIB, QWEN3_8B, hardware, model

pytestmark = [pytest.mark.sizing, pytest.mark.models]

ENGINE = vllm("0.32.0")


def planned(request: ModelRequest, host: Hardware | None = None) -> ReplicaPlan:
    return plan_host(host or hardware(1, total_gib=80), [request], engine=ENGINE).replicas[0]


def ask(**changes: Any) -> ModelRequest:
    return replace(ModelRequest(model(), Workload(4096, 4), replicas=1), **changes)


def adapters(count: int, rank: int = 16) -> tuple[Adapter, ...]:
    return tuple(Adapter(f"adapter-{one}", f"example/adapter-{one}", None, rank) for one in range(count))


# --- adapters


def test_an_adapters_slot_is_what_a_start_with_64_of_them_logged() -> None:
    # n-qwen3-4b-lora64-4090-080: 12.49 GiB of weights with 64 slots of rank 16, 7.56 without.
    shape = load_models()["qwen3-4b"].variants[0].architecture
    assert 64 * adapter_bytes(shape, 16, Parallel()) / GIB == pytest.approx(4.93, rel=0.2)


def test_adapters_take_their_slots_from_the_cache() -> None:
    plain, tuned = planned(ask()), planned(ask(adapters=adapters(8)))
    slots = 8 * adapter_bytes(model().variants[0].architecture, 16, Parallel())
    assert tuned.memory.weights.bytes - plain.memory.weights.bytes == slots
    assert tuned.memory.graphs.bytes > plain.memory.graphs.bytes
    assert "8 LoRA slots of rank 16" in tuned.memory.weights.formula


def test_slots_have_the_next_rank_that_the_engine_knows() -> None:
    assert [slot_rank(rank) for rank in (1, 4, 8, 9, 64, 200, 512)] == [1, 8, 8, 16, 64, 256, 512]
    assert planned(ask(adapters=adapters(2, rank=12))).memory == planned(ask(adapters=adapters(2, rank=16))).memory


def test_a_host_that_is_too_small_for_adapters_says_how_many_fit() -> None:
    with pytest.raises(DoesNotFit) as refused:
        planned(ask(adapters=adapters(64, rank=128)), hardware(1))
    assert any(one.startswith("serve ") and one.endswith("of its 64 adapters") for one in refused.value.nearest)


# --- drafts


@pytest.mark.parametrize(
    ("method", "least_gib", "most_gib"), [("ngram", 0, 0), ("mtp", 0.35, 0.6), ("eagle3", 0.6, 1.1)]
)
def test_a_draft_takes_the_memory_of_its_layer(method: str, least_gib: float, most_gib: float) -> None:
    shape = model().variants[0].architecture
    assert least_gib <= draft_bytes(shape, Speculation(method, 3), Parallel()) / GIB <= most_gib


def test_a_draft_with_layers_keeps_a_cache_too() -> None:
    plain, drafted = planned(ask()), planned(ask(speculation=Speculation("mtp", 3)))
    assert drafted.block_bytes == plain.block_bytes * 37 // 36
    assert drafted.memory.weights.bytes > plain.memory.weights.bytes
    looked_up = planned(ask(speculation=Speculation("ngram", 3)))
    assert looked_up.block_bytes == plain.block_bytes
    assert looked_up.memory.weights.bytes == plain.memory.weights.bytes


def test_a_draft_whose_memory_is_not_described_is_refused_with_the_methods_that_are() -> None:
    with pytest.raises(WorkloadError, match=r"'medusa' is not planned.*choose one of .*eagle3.*ngram"):
        planned(ask(speculation=Speculation("medusa", 3)))


# --- weights by the size of their files


def int4_model(size_gib: float | None) -> Model:
    shape = load_models()["qwen3-30b-a3b"].variants[0].architecture
    size = None if size_gib is None else int(size_gib * GIB)
    variant = Variant("awq", "example/30b-awq", "r", "int4", shape, 83, checkpoint_bytes=size)
    return Model("qwen3-30b-a3b", (variant,))


def test_a_known_size_narrows_the_band_of_four_bit_weights() -> None:
    request = ModelRequest(int4_model(15.75), Workload(32768, 1), kv_cache_dtype="auto")
    found = planned(request, hardware_from_name("rtx4090"))
    assert found.memory.weights.band_bytes < 0.02 * found.memory.weights.bytes
    assert found.gpu_memory_utilization <= ENGINE.utilization
    unknown = planned(replace(request, model=int4_model(None)), hardware_from_name("rtx4090"))
    assert unknown.memory.weights.band_bytes > 5 * found.memory.weights.band_bytes
    assert unknown.gpu_memory_utilization > ENGINE.utilization  # so wide a band leaves too little of the usual share


def test_a_size_is_split_as_the_shapes_are() -> None:
    shape = model().variants[0].architecture
    whole = stage_weights(shape, "none", Parallel())[0]
    known = from_size(shape, "none", Parallel(2), int(whole * 1.02))
    assert known is not None
    assert known.stages[0] == pytest.approx(stage_weights(shape, "none", Parallel(2))[0] * 1.02, rel=1e-6)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.3, 3.0])
def test_a_size_of_something_else_is_not_believed(factor: float) -> None:
    shape = model().variants[0].architecture
    whole = stage_weights(shape, "none", Parallel())[0]
    assert from_size(shape, "none", Parallel(), int(whole * factor)) is None


def test_a_known_size_keeps_what_kernels_pad() -> None:
    shape = load_models()["gpt-oss-120b"].variants[0].architecture
    on_disk = stage_weights(shape, "mxfp4", Parallel(), padded=False)[0]
    known = from_size(shape, "mxfp4", Parallel(), on_disk)
    assert known is not None
    assert known.stages[0] / GIB == pytest.approx(65.97, rel=0.01)
    assert SCHEMES["mxfp4"].pads != (1, 1)


# --- text alone


def test_a_tower_that_is_not_asked_for_is_not_built() -> None:
    request = ModelRequest(load_models()["qwen2.5-vl-7b-instruct"], Workload(4096, 4), replicas=1)
    seeing = planned(request)
    for arguments in (
        EngineArguments(language_model_only=True),
        EngineArguments(limit_mm_per_prompt={"image": 0, "video": 0}),
    ):
        blind = planned(replace(request, arguments=arguments))
        assert blind.memory.weights.bytes < seeing.memory.weights.bytes - GIB // 2
        assert blind.memory.activation.bytes < seeing.memory.activation.bytes
    one = planned(replace(request, arguments=EngineArguments(limit_mm_per_prompt={"image": 1, "video": 0})))
    assert one.memory.weights == seeing.memory.weights


def test_a_misfit_of_a_model_that_sees_names_serving_text_alone() -> None:
    seeing = load_models()["qwen2.5-vl-7b-instruct"]
    request = ModelRequest(seeing, Workload(4096, 2), variant="bf16", kv_cache_dtype="auto")
    with pytest.raises(DoesNotFit) as refused:
        planned(request, hardware(1, total_gib=19.5))
    assert any("text alone" in one for one in refused.value.nearest)


# --- long contexts


def test_yarn_is_taken_where_a_longer_context_is_asked_for_and_never_else() -> None:
    longer = replace(model(), yarn=Yarn(4.0, 32768, 1e6))
    short = planned(ModelRequest(longer, Workload(40960, 1)))
    assert not any("YaRN" in note for note in short.notes)
    long = planned(ModelRequest(longer, Workload(131072, 1)))
    assert any("YaRN" in note and "short prompts may suffer" in note for note in long.notes)
    assert long.kv_bytes_needed > 3 * short.kv_bytes_needed
    with pytest.raises(WorkloadError, match="131073 tokens"):
        planned(ModelRequest(longer, Workload(131073, 1)))
    with pytest.raises(WorkloadError):
        planned(ModelRequest(model(), Workload(131072, 1)))


# --- kinds


def test_an_encoder_needs_no_cache_and_a_batch_of_whole_texts() -> None:
    found = planned(ModelRequest(load_models()["bge-m3"], Workload(8192, 64)), hardware(1))
    assert (found.kv_cache_tokens, found.kv_bytes_needed, found.sequence_blocks) == (0, 0, 0)
    assert found.max_num_batched_tokens >= 8192


def test_a_decoder_that_embeds_has_a_cache_and_no_sampler() -> None:
    shape = model().variants
    embedding = Model("embedding", shape, kind="embed")
    generating = Model("generating", shape)
    workload = Workload(4096, 512)
    host = hardware(1, total_gib=400)
    embeds = planned(ModelRequest(embedding, workload, replicas=1), host)
    generates = planned(ModelRequest(generating, workload, replicas=1), host)
    assert embeds.block_bytes == generates.block_bytes > 0
    assert "sampler" not in embeds.memory.activation.formula


def test_an_llm_an_embedder_and_a_reranker_share_one_gpu() -> None:
    models = load_models()
    requests = [
        ModelRequest(models["qwen3-4b"], Workload(8192, 4), share=True),
        ModelRequest(models["bge-m3"], Workload(8192, 8), share=True),
        ModelRequest(models["bge-reranker-v2-m3"], Workload(1024, 8), share=True),
    ]
    found = plan_host(hardware_from_name("l40s"), requests, engine=ENGINE)
    assert len(found.replicas) == 3
    assert {replica.gpu_indices for replica in found.replicas} == {(0,)}
    assert sum(replica.gpu_memory_utilization for replica in found.replicas) < 1


# --- designs that are not modelled


def test_an_approximate_plan_keeps_more_and_says_so_loudly() -> None:
    unknown = architecture_from_config(QWEN3_8B | {"model_type": "foobar"}, approximate=True)
    guessed = Model("foobar", (replace(model().variants[0], architecture=unknown),))
    rough, exact = planned(ModelRequest(guessed, Workload(4096, 4), replicas=1)), planned(ask())
    assert rough.memory.margin.bytes > 2 * exact.memory.margin.bytes
    assert rough.kv_bytes_needed > 1.2 * exact.kv_bytes_needed
    assert rough.notes[0].startswith("APPROXIMATE")


# --- cache in the host's memory


def test_a_cache_in_the_hosts_memory_changes_nothing_on_the_gpu() -> None:
    plain, kept = planned(ask()), planned(ask(kv_offload_gib=32.0))
    assert kept.memory == plain.memory
    assert kept.kv_offload_gib == 32.0
    assert any("32 GiB" in note and "not read" in note for note in kept.notes)
    host = plan_host(hardware(1, total_gib=80), [ask(kv_offload_gib=32.0)], engine=ENGINE)
    assert HostPlan.from_dict(host.to_dict()) == host


def test_a_cache_that_crowds_the_host_is_refused() -> None:
    host = replace(hardware(2, total_gib=80), host_memory_bytes=64 * GIB)
    assert planned(ask(kv_offload_gib=32.0), host).kv_offload_gib == 32.0
    with pytest.raises(DoesNotFit, match=r"64\.00 GiB of dropped cache"):
        planned(ask(kv_offload_gib=32.0, replicas=2), host)
    with pytest.raises(WorkloadError, match="above 0"):
        planned(ask(kv_offload_gib=0.0), host)
    with pytest.raises(WorkloadError, match=r"vllm 0\.11\.0 keeps no cache"):
        plan_host(host, [ask(kv_offload_gib=1.0)], engine=vllm("0.11.0"))
