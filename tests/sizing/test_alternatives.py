"""What a plan could have been instead, and why it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.catalog import hardware_from_name, load_models, peaks
from ingot.sizing import DoesNotFit, ModelRequest, Workload, alternatives, plan_host, vllm

from .conftest import hardware, model

pytestmark = pytest.mark.sizing

ENGINE = vllm("0.32.0")
SEVEN = ModelRequest(load_models()["qwen2.5-7b-instruct"], Workload(16384, 32))


def test_three_are_named_with_their_service_and_the_reason_why_they_lost() -> None:
    found = alternatives(hardware_from_name("a10gx4"), [SEVEN], engine=ENGINE, peaks=peaks())
    assert len(found) == 3
    assert found[0].what == "1 replica of bf16 over 4 x NVIDIA A10G"
    assert "fewer tokens/s at 32 sequences" in found[0].why
    assert all(one.tokens_per_s and one.request_s for one in found)


def test_the_reason_follows_the_goal() -> None:
    fast = replace(SEVEN, goal="latency")
    found = alternatives(hardware_from_name("a10gx4"), [fast], engine=ENGINE, peaks=peaks())
    assert found[0].what == "2 replicas of bf16 over 2 x NVIDIA A10G each"
    assert "longer" in found[0].why


def test_what_is_planned_is_no_alternative_to_itself() -> None:
    request = ModelRequest(load_models()["llama-3.3-70b-instruct"], Workload(8192, 16))
    host = hardware_from_name("h100x8")
    (planned,) = plan_host(host, [request], engine=ENGINE, peaks=peaks()).replicas
    assert planned.tensor_parallel_size == 8
    named = [one.what for one in alternatives(host, [request], engine=ENGINE, peaks=peaks(), most=20)]
    assert len(named) == len(set(named)) > 3
    assert "1 replica of bf16 over 8 x NVIDIA H100 80GB HBM3" not in named


def test_worse_weights_are_named_as_worse() -> None:
    request = ModelRequest(model(none=100, awq_int4=84), Workload(4096, 2), kv_cache_dtype="auto")
    found = alternatives(hardware(1), [request], engine=ENGINE)
    assert [one.why for one in found] == ["awq-int4 keeps less of the model's quality than none"]
    assert found[0].tokens_per_s is None  # nobody listed this GPU's peak figures


def test_what_does_not_fit_says_what_is_missing() -> None:
    request = ModelRequest(model(), Workload(16384, 8), kv_cache_dtype="auto")
    found = alternatives(hardware(2), [request], engine=ENGINE)
    (small,) = [one for one in found if one.what.endswith("on one NVIDIA GeForce RTX 4090 each")]
    assert "does not fit" in small.why
    assert "are missing" in small.why


def test_each_model_is_tried_on_what_the_others_leave() -> None:
    requests = [
        ModelRequest(model(none=100, awq_int4=84), Workload(4096, 2), replicas=1),
        ModelRequest(model(name="other", none=100, awq_int4=84), Workload(4096, 2), replicas=1),
    ]
    found = alternatives(hardware(2), requests, engine=ENGINE)
    assert {one.model for one in found} == {"qwen3-8b", "other"}
    assert all(one.gpus == 1 for one in found)


def test_a_host_without_a_plan_has_no_alternatives() -> None:
    with pytest.raises(DoesNotFit):
        alternatives(hardware(1, total_gib=8), [ModelRequest(model(), Workload(4096, 2))], engine=ENGINE)
