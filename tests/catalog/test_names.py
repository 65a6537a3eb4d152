"""What people type finds what they mean; what nobody can mean is answered with the nearest three."""

from __future__ import annotations

import pytest

from ingot.catalog import find_model, hardware_from_name, load_gpus, load_models
from ingot.sizing import CatalogError

pytestmark = pytest.mark.models


@pytest.mark.parametrize(
    ("typed", "model", "variant"),
    [
        ("qwen3-8b", "qwen3-8b", None),
        ("Qwen/Qwen3-8B", "qwen3-8b", None),
        ("Qwen3-8B", "qwen3-8b", None),
        ("Qwen/Qwen3-8B-AWQ", "qwen3-8b", "awq"),
        ("qwen3_8b", "qwen3-8b", None),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b-instruct", None),
        ("openai/gpt-oss-20b", "gpt-oss-20b", None),
        ("BAAI/bge-m3", "bge-m3", None),
        ("Whisper-Large-V3", "whisper-large-v3", None),
    ],
)
def test_a_model_is_found_by_the_hubs_name_too(typed: str, model: str, variant: str | None) -> None:
    found, chosen = find_model(typed, load_models())
    assert (found.name, chosen) == (model, variant)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("Qwen/Qwen3-9B", "qwen3-8b"), ("llama-3.3-70", "llama-3.3-70b-instruct"), ("gptoss-120", "gpt-oss-120b")],
)
def test_a_model_that_is_not_there_is_answered_with_the_nearest_three(typed: str, offered: str) -> None:
    with pytest.raises(CatalogError) as refused:
        find_model(typed, load_models())
    said = str(refused.value).partition("the nearest are ")[2]
    assert offered in said
    assert said.count(",") == 1 and said.count(" and ") == 1


def test_what_is_like_nothing_gets_no_offer() -> None:
    with pytest.raises(CatalogError, match=r"^'§§§' is no model of the catalog$"):
        find_model("§§§", load_models())


@pytest.mark.parametrize(
    ("typed", "name", "count"),
    [
        ("4090", "NVIDIA GeForce RTX 4090", 1),
        ("rtx-4090", "NVIDIA GeForce RTX 4090", 1),
        ("RTX 4090", "NVIDIA GeForce RTX 4090", 1),
        ("rtx4090x2", "NVIDIA GeForce RTX 4090", 2),
        ("2x RTX 4090", "NVIDIA GeForce RTX 4090", 2),
        ("NVIDIA GeForce RTX 4090 x 2", "NVIDIA GeForce RTX 4090", 2),
        ("4060 Ti", "NVIDIA GeForce RTX 4060 Ti", 1),
        ("NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM4-80GB", 1),
        ("Tesla T4", "Tesla T4", 1),
        ("a10gx4", "NVIDIA A10G", 4),
        ("h100-nvl", "NVIDIA H100 NVL", 1),
        ("NVIDIA RTX 6000 Ada Generation", "NVIDIA RTX 6000 Ada Generation", 1),
        ("A100-40GB", "NVIDIA A100-SXM4-40GB", 1),
        ("2x A100 80GB", "NVIDIA A100-SXM4-80GB", 2),
        ("NVIDIA A100 80GB PCIe", "NVIDIA A100 80GB PCIe", 1),
        ("H100-PCIe", "NVIDIA H100 PCIe", 1),
        ("RTX 4090 24GB", "NVIDIA GeForce RTX 4090", 1),
        ("L40S 48GB", "NVIDIA L40S", 1),
        ("dgx spark", "NVIDIA GB10", 1),
    ],
)
def test_a_gpu_is_found_by_what_shops_and_drivers_call_it(typed: str, name: str, count: int) -> None:
    found = hardware_from_name(typed)
    assert [gpu.name for gpu in found.gpus] == [name] * count


def test_every_gpu_is_found_by_its_key_and_by_its_drivers_name() -> None:
    for key, gpu in load_gpus().items():
        assert hardware_from_name(key).gpus[0].name == gpu.name
        assert hardware_from_name(gpu.name).gpus[0].name == gpu.name


@pytest.mark.parametrize("typed", ["RTX 4090 48GB", "RTX 3060 8GB", "A100 60GB"])
def test_a_size_that_a_card_does_not_have_names_no_card(typed: str) -> None:
    with pytest.raises(CatalogError, match="is not a GPU of the catalog"):
        hardware_from_name(typed)


@pytest.mark.parametrize(("typed", "offered"), [("a100", {"a100-40g", "a100-80g"}), ("v100", {"v100-16g", "v100-32g"})])
def test_a_name_of_several_sizes_is_answered_with_them(typed: str, offered: set[str]) -> None:
    with pytest.raises(CatalogError) as refused:
        hardware_from_name(typed)
    said = str(refused.value).partition("the nearest are ")[2]
    assert all(f" {one}" in f" {said}" for one in offered)


def test_the_models_of_a_family_are_offered_before_others() -> None:
    with pytest.raises(CatalogError) as refused:
        find_model("mistral-large", load_models())
    assert "the nearest are mistral-" in str(refused.value)


def test_a_gpu_that_nobody_sells_is_answered_with_the_nearest() -> None:
    with pytest.raises(CatalogError, match=r"'rtx4091x2' is not a GPU of the catalog.*rtx4090"):
        hardware_from_name("rtx4091x2")
