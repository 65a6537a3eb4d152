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
    ],
)
def test_a_gpu_is_found_by_what_shops_and_drivers_call_it(typed: str, name: str, count: int) -> None:
    found = hardware_from_name(typed)
    assert [gpu.name for gpu in found.gpus] == [name] * count


def test_every_gpu_is_found_by_its_key_and_by_its_drivers_name() -> None:
    for key, gpu in load_gpus().items():
        assert hardware_from_name(key).gpus[0].name == gpu.name
        assert hardware_from_name(gpu.name).gpus[0].name == gpu.name


def test_a_gpu_that_nobody_sells_is_answered_with_the_nearest() -> None:
    with pytest.raises(CatalogError, match=r"'rtx4091x2' is not a GPU of the catalog.*rtx4090"):
        hardware_from_name("rtx4091x2")
