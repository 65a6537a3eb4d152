"""`ingot models add` reads a repository's own files and writes a model that plans at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingot.catalog import load_models, site
from ingot.sizing import CatalogError
from tests.hub.standin import QWEN3, SECOND, Repository, StandIn, hub

pytestmark = pytest.mark.models

INGOT = Path(sys.executable).with_name("ingot")


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with hub() as made:
        yield made


def add(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(INGOT), "models", "add", *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_a_repository_of_a_hub_becomes_a_model(tmp_path: Path, standin: StandIn) -> None:
    done = add(tmp_path, "Qwen/Qwen3-0.6B", "--hub", standin.url, "--name", "mine")
    assert done.returncode == 0, done.stderr
    assert "Arguments are those of" in done.stderr or "differ in their arguments" in done.stderr
    model = load_models(site.read(tmp_path / "inventories" / "models.site.yaml"))["mine"]
    (variant,) = model.variants
    assert (variant.repository, variant.revision, variant.checkpoint_bytes) == ("Qwen/Qwen3-0.6B", SECOND, 1503300328)
    assert variant.architecture == load_models()["qwen3-0.6b"].variants[0].architecture


def test_a_quantised_one_says_so(tmp_path: Path, standin: StandIn) -> None:
    assert add(tmp_path, "Qwen/Qwen3-0.6B-FP8", "--hub", standin.url).returncode == 0
    model = load_models(site.read(tmp_path / "inventories" / "models.site.yaml"))["qwen3-0.6b-fp8"]
    assert model.variants[0].quantization == "fp8-block"


def test_an_embedder_is_told_by_its_modules(tmp_path: Path, standin: StandIn) -> None:
    files = {"config.json": json.dumps(QWEN3).encode(), "model.safetensors": 9, "modules.json": b"[]"}
    standin.repositories["org/embedder"] = Repository({"e" * 40: files}, "e" * 40)
    assert add(tmp_path, "org/embedder", "--hub", standin.url).returncode == 0
    assert load_models(site.read(tmp_path / "inventories" / "models.site.yaml"))["embedder"].kind == "embed"


def test_a_directory_of_this_machine_becomes_a_model(tmp_path: Path) -> None:
    directory = tmp_path / "My-Model"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(QWEN3))
    (directory / "model.safetensors").write_bytes(b"w" * 10)
    done = add(tmp_path, str(directory))
    assert done.returncode == 0, done.stderr
    model = load_models(site.read(tmp_path / "inventories" / "models.site.yaml"))["my-model"]
    assert model.variants[0].repository == str(directory)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({**QWEN3, "architectures": ["FooBarForCausalLM"]}, "FooBarForCausalLM"),
        ({"model_type": "qwen3"}, "config.json has none of"),
    ],
)
def test_what_cannot_be_planned_or_served_is_refused_and_nothing_is_written(
    tmp_path: Path, standin: StandIn, config: dict[str, object], words: str
) -> None:
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": 9}
    standin.repositories["org/odd"] = Repository({"e" * 40: files}, "e" * 40)
    done = add(tmp_path, "org/odd", "--hub", standin.url)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "inventories").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing/directory/here"], "is no directory here and no ORG/NAME"),
        (["qwen3"], "is no directory here and no ORG/NAME"),
        (["Qwen/Qwen3-0.6B", "--name", "my model"], "--name is 'my model'"),
    ],
)
def test_what_is_no_name_is_refused_before_a_hub_is_asked(words: list[str], said: str, tmp_path: Path) -> None:
    done = add(tmp_path, *words, "--hub", "http://127.0.0.1:1")
    assert done.returncode != 0 and said in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_not_written_over(tmp_path: Path, standin: StandIn) -> None:
    taken = add(tmp_path, "Qwen/Qwen3-0.6B", "--hub", standin.url)
    assert taken.returncode == 1 and "the catalog has a model qwen3-0.6b already; pass --name" in taken.stderr
    assert add(tmp_path, "Qwen/Qwen3-0.6B", "--hub", standin.url, "--name", "mine").returncode == 0
    again = add(tmp_path, "Qwen/Qwen3-0.6B", "--hub", standin.url, "--name", "mine")
    assert again.returncode == 1 and "has a model mine already; pass --replace" in again.stderr
    assert add(tmp_path, "Qwen/Qwen3-0.6B", "--hub", standin.url, "--name", "mine", "--replace").returncode == 0


def test_a_sites_file_that_is_wrong_names_itself(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("mine: {config: {}, variants: []}")
    with pytest.raises(CatalogError, match=r"models\.yaml: The catalog's model mine"):
        site.read(tmp_path / "models.yaml")
