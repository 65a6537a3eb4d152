"""The catalog reads into the planner's types, and says what is wrong with an entry."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ingot.catalog import hardware_from_name, load_gpus, load_models, peaks
from ingot.sizing import CatalogError
from ingot.sizing.units import MIB

from .conftest import QWEN3_8B

pytestmark = pytest.mark.sizing

SITE: dict[str, Any] = {
    "tiny-qwen3": {
        "title": "Random weights",
        "config": {**QWEN3_8B, "num_hidden_layers": 4, "hidden_size": 256, "head_dim": 32, "vocab_size": 300},
        "variants": [
            {"name": "int4", "repository": "tiny-qwen3-int4", "revision": "abc", "quantization": "int4"},
            {"name": "bf16", "repository": "tiny-qwen3", "revision": "abc"},
        ],
    }
}


def test_a_sites_own_models_join_the_catalog_and_may_replace_its_entries() -> None:
    models = load_models(SITE)
    assert [variant.name for variant in models["tiny-qwen3"].variants] == ["bf16", "int4"]
    assert "qwen3-8b" in models
    replaced = load_models({"qwen3-8b": SITE["tiny-qwen3"]})
    assert len(replaced["qwen3-8b"].variants[0].architecture.layers) == 4


def test_a_revision_that_nobody_pinned_is_none_and_never_invented() -> None:
    for model in load_models().values():
        for variant in model.variants:
            assert variant.revision is None or len(variant.revision) == 40


def test_a_site_pins_the_commits_of_models_that_the_catalog_leaves_open() -> None:
    pinned = load_models({"qwen3-4b": {"revisions": {"bf16": "a" * 40}}})["qwen3-4b"]
    assert {variant.name: variant.revision for variant in pinned.variants}["bf16"] == "a" * 40
    assert len(pinned.variants) == len(load_models()["qwen3-4b"].variants)


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ({"qwen9": {"revisions": {"bf16": "a" * 40}}}, "'qwen9', which is in no catalog"),
        ({"qwen3-4b": {"revisions": {"bf61": "a" * 40}}}, "expected variant: commit, of bf16"),
    ],
)
def test_a_pin_of_something_unknown_is_refused(site: dict[str, Any], words: str) -> None:
    with pytest.raises(CatalogError, match=words):
        load_models(site)


@pytest.mark.parametrize("name", load_models())
def test_every_model_has_the_size_its_name_says(name: str) -> None:
    billions = load_models()[name].variants[0].architecture.parameters / 1e9
    stated = [float(part.removesuffix("b")) for part in name.split("-") if part[0].isdigit() and part.endswith("b")]
    # Ministral 3 3B is 3.4 billion parameters of language and 0.4 of pictures, by its card.
    if "moe" not in name and "-17b-" not in name and name != "ministral-3-3b-instruct-2512":
        for size in stated[:1]:
            assert billions == pytest.approx(size, rel=0.25)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        # Their cards state language and pictures apart: 3.4 + 0.4, 8.4 + 0.4, 13.5 + 0.4; and 120 of which 12 work.
        ("ministral-3-3b-instruct-2512", 3.8),
        ("ministral-3-8b-instruct-2512", 8.8),
        ("ministral-3-14b-instruct-2512", 13.9),
        ("nemotron-3-super-120b-a12b", 120.6),
    ],
)
def test_parameters_are_those_that_the_card_states(name: str, billions: float) -> None:
    assert load_models()[name].variants[0].architecture.parameters / 1e9 == pytest.approx(billions, rel=0.02)


def test_gemma_4s_experts_stand_beside_a_dense_part() -> None:
    # A published start of vLLM logged "Model loading took 48.5 GiB" (myoceane.fr, post 10289).
    architecture = load_models()["gemma-4-26b-a4b-it"].variants[0].architecture
    assert architecture.parameters * 2 / 2**30 == pytest.approx(48.5, rel=0.02)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"variants": []}, "'variants'"),
        ({"config": {}}, "'config'"),
        ({"config": {"model_type": "llama"}}, "hidden_size"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"variants": [{"name": "x"}]}, "'repository'"),
        ({"variants": [{"name": "x", "repository": "y", "quantization": "fp7"}]}, "'fp7', expected one of none"),
        ({"variants": [{"name": "x", "repository": "y"}] * 2}, "two variants of one name"),
        ({"variants": ["x"]}, "is str"),
    ],
)
def test_a_wrong_entry_is_named_with_its_key(change: dict[str, Any], words: str) -> None:
    entry = copy.deepcopy(SITE["tiny-qwen3"]) | change
    with pytest.raises(CatalogError, match=words):
        load_models({"tiny-qwen3": entry})


def test_every_gpu_has_sound_figures() -> None:
    for gpu in load_gpus().values():
        assert gpu.tier in ("entry", "mid", "large")
        assert 100 <= gpu.bandwidth_gb <= 10_000
        assert gpu.cuda_gib is None or 0.9 < gpu.cuda_gib * 1024 / gpu.memory_mib <= 1.001
        assert gpu.fp8_tflops is None or gpu.fp8_tflops > gpu.bf16_tflops
        assert (gpu.fp8_tflops is not None) == (gpu.capability >= (8, 9))
    assert len({gpu.name for gpu in load_gpus().values()}) == len(load_gpus()) == len(peaks())


def test_gpus_are_found_by_name_and_number() -> None:
    assert len(hardware_from_name("a10gx4").gpus) == 4
    assert len(hardware_from_name("rtx4090").gpus) == 1
    mixed = hardware_from_name("rtx3090+rtx3060").gpus
    assert [gpu.vram_bytes // MIB for gpu in mixed] == [24576, 12288]
    assert hardware_from_name("h100x8").islands == (tuple(range(8)),)
    assert len(hardware_from_name("a10gx4").islands) == 4


@pytest.mark.parametrize("name", ["", "rtx9999", "rtx4090x0", "rtx4090x1000", "x4", "rtx4090+"])
def test_a_gpu_that_nobody_listed_is_refused(name: str) -> None:
    with pytest.raises(CatalogError, match="is not a GPU of the catalog"):
        hardware_from_name(name)
