"""`ingot migrate`: flags, files and stores of other servers become items, and say what will differ."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ingot.commands.migrate import migrate
from ingot.errors import IngotError
from ingot.migration.reading import from_file, from_words
from ingot.migration.source import setups
from ingot.settings.serving import Serve
from tests.sizing.gguf.writing import gguf, qwen3, tensors

pytestmark = pytest.mark.engines


def run(*words: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(migrate, [*words, "--json"], catch_exceptions=False)
    found: list[dict[str, Any]] = json.loads(result.output)["replacements"]
    return found


def refusal(*words: str) -> str:
    with pytest.raises(IngotError) as caught:
        CliRunner().invoke(migrate, list(words), catch_exceptions=False)
    return str(caught.value)


TGI = ("--model-id", "Qwen/Qwen3-8B", "--max-total-tokens", "16384", "--num-shard", "2")


def test_flags_of_tgi_become_an_item() -> None:
    (found,) = run("--from", "tgi", *TGI, "--max-concurrent-requests", "64", "--port", "80")
    assert found["item"] == {"model": "qwen3-8b", "context": 16384, "concurrency": 64}
    assert Serve(**found["item"]).context == 16384
    assert not any("not carried over" in sentence for sentence in found["differences"])


def test_what_is_printed_is_a_hosts_yaml() -> None:
    result = CliRunner().invoke(migrate, ["--from", "tgi", *TGI, "--trust-remote-code"])
    assert yaml.safe_load(result.output) == {"serve": [{"model": "qwen3-8b", "context": 16384, "concurrency": 128}]}
    assert "# - trust-remote-code: no code of a repository is run here" in result.output


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        (("--quantize", "bitsandbytes-nf4"), "quantize bitsandbytes-nf4: nothing is quantized at a start here"),
        (("--revision", "abc"), "revision abc: `ingot models lock` pins the newest commit"),
        (("--api-key", "s3cret"), "api-key: that one key is of nobody"),
        (("--lora-adapters", "x/y"), "adapters: list them under `adapters`"),
        (("--rope-scaling", "linear"), "not carried over, look at each: --rope-scaling"),
    ],
)
def test_what_differs_is_said(flag: tuple[str, str], sentence: str) -> None:
    (found,) = run("--from", "tgi", *TGI, *flag)
    assert any(said.startswith(sentence) for said in found["differences"])
    assert "s3cret" not in json.dumps(found)


def test_a_compose_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(
        "services:\n"
        "  llm:\n"
        "    image: ghcr.io/huggingface/text-generation-inference:3.3.7\n"
        "    environment: [MODEL_ID=Qwen/Qwen3-8B, NUM_SHARD=1]\n"
        "    command: --max-total-tokens 4096 --max-concurrent-requests=8\n"
        "  other: {image: redis}\n"
    )
    assert run("--from", "tgi", str(file))[0]["item"] == {"model": "qwen3-8b", "context": 4096, "concurrency": 8}


def test_a_script_that_runs_a_container_is_read(tmp_path: Path) -> None:
    file = tmp_path / "start.sh"
    file.write_text(
        "#!/bin/sh\n"
        "docker run -d --gpus all -e MAX_TOTAL_TOKENS=2048 \\\n"
        "  ghcr.io/huggingface/text-generation-inference:3.3.7 --model-id Qwen/Qwen3-8B\n"
    )
    assert run("--from", "tgi", str(file))[0]["item"]["context"] == 2048


def test_a_unit_of_ollama_is_read(tmp_path: Path) -> None:
    file = tmp_path / "ollama.service"
    file.write_text(
        "[Service]\n"
        'Environment="OLLAMA_CONTEXT_LENGTH=16384"\n'
        'Environment="OLLAMA_NUM_PARALLEL=4" "OLLAMA_KV_CACHE_TYPE=q8_0"\n'
        "ExecStart=/usr/bin/ollama serve\n"
    )
    (found,) = run("--from", "ollama", str(file), "--only", "llama3.1:8b")
    assert found["item"] == {"model": "llama-3.1-8b-instruct", "context": 16384, "concurrency": 4}
    assert any(said.startswith("OLLAMA_KV_CACHE_TYPE=q8_0") for said in found["differences"])
    assert any("not from the GGUF file" in said for said in found["differences"])
    assert "name no model" in refusal("--from", "ollama", str(file))


def store(folder: Path, name: str = "registry.ollama.ai/library/tiny/1b", **parameters: object) -> Path:
    """A store of Ollama with one model."""

    def blob(content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        (folder / "blobs" / f"sha256-{digest}").write_bytes(content)
        return f"sha256:{digest}"

    kind = "application/vnd.ollama.image."
    layers = [
        {"mediaType": f"{kind}model", "digest": blob(gguf(qwen3(**{"qwen3.context_length": 4096}), tensors()))},
        {"mediaType": f"{kind}template", "digest": blob(b"{{ .Prompt }}")},
        {"mediaType": f"{kind}params", "digest": blob(json.dumps(parameters).encode())},
    ]
    manifest = folder / "manifests" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return folder


def test_a_store_of_ollama_is_read(tmp_path: Path) -> None:
    store(tmp_path, num_ctx=2048, stop=["x"])
    store(tmp_path, "hf.co/Qwen/Qwen3-8B-GGUF/Q4_K_M")
    tiny, hub = (
        run("--from", "ollama", str(tmp_path), "--only", name)[0]
        for name in ("tiny:1b", "hf.co/Qwen/Qwen3-8B-GGUF:Q4_K_M")
    )
    assert tiny["item"] == {"model": "tiny-1b", "context": 2048, "concurrency": 1}
    assert any("parameter stop:" in said for said in tiny["differences"])
    assert any(said.startswith("model: no catalog has it; describe it in site_models") for said in tiny["differences"])
    assert any(said.startswith("template:") for said in tiny["differences"])
    assert hub["item"] == {"model": "qwen3-8b", "context": 4096, "concurrency": 1}
    assert len(run("--from", "ollama", str(tmp_path))) == 2


def test_a_model_that_cannot_be_sized_is_said(tmp_path: Path) -> None:
    store(tmp_path)
    blob = max((tmp_path / "blobs").iterdir(), key=lambda one: one.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:500])
    (found,) = run("--from", "ollama", str(tmp_path))
    assert any("ends within" in said for said in found["differences"])


def test_a_model_of_the_cloud_is_said(tmp_path: Path) -> None:
    manifest = tmp_path / "manifests" / "registry.ollama.ai" / "library" / "big" / "cloud"
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"layers": []}')
    (found,) = run("--from", "ollama", str(tmp_path))
    assert any("a model of the cloud" in said for said in found["differences"])


def test_lm_studios_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "lmstudio-community" / "Qwen3-8B-GGUF"
    folder.mkdir(parents=True)
    raw = gguf(qwen3(**{"qwen3.context_length": 40960}), tensors())
    (folder / "Qwen3-8B-Q4_K_M.gguf").write_bytes(raw)
    (folder / "mmproj-Qwen3-8B-f16.gguf").write_bytes(raw)
    (found,) = run("--from", "lmstudio", str(tmp_path))
    assert found["item"] == {"model": "qwen3-8b", "context": 8192, "concurrency": 1}
    assert any(said.startswith("projector:") for said in found["differences"])


def test_lm_studios_flags_are_read() -> None:
    words = (
        "lms",
        "load",
        "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF",
        "--context-length",
        "4096",
        "-y",
        "--gpu",
        "max",
    )
    (found,) = run("--from", "lmstudio", *words, "--identifier", "chat")
    assert found["item"] == {"model": "llama-3.1-8b-instruct", "context": 4096, "concurrency": 1}
    assert any("they asked for 'chat'" in said for said in found["differences"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--from", "tgi"), "nothing to read"),
        (("--from", "tgi", "--num-shard", "2"), "name no model (--model-id, or MODEL_ID)"),
        (("--from", "tgi", "--model-id", "a/b", "--max-total-tokens", "many"), "is 'many', expected a whole number"),
        (("--from", "tgi", "/no/such/file.yaml"), "is not there: give the file that starts TGI"),
        (("--from", "lmstudio", "--gpu", "max"), "name no model (`lms load MODEL`)"),
    ],
)
def test_too_little_is_one_sentence(words: tuple[str, ...], sentence: str) -> None:
    assert sentence in refusal(*words)


def test_wrong_files_are_one_sentence(tmp_path: Path) -> None:
    text, binary, bad = tmp_path / "a.sh", tmp_path / "b.sh", tmp_path / "c.yaml"
    text.write_text("echo nothing\n")
    binary.write_bytes(b"\xff\xfe\x00")
    bad.write_text("services: [unclosed\n")
    assert "says nothing of text-generation" in refusal("--from", "tgi", str(text))
    assert "is no text" in refusal("--from", "tgi", str(binary))
    assert "cannot be read as YAML" in refusal("--from", "tgi", str(bad))
    bad.write_text("services: {a: {image: redis}}\n")
    assert "has 0 services of text-generation, expected one" in refusal("--from", "tgi", str(bad))
    assert "expected a store of Ollama" in refusal("--from", "ollama", str(tmp_path))
    assert "has no model at PUBLISHER" in refusal("--from", "lmstudio", str(tmp_path))
    assert "expected the flags of TGI" in refusal("--from", "tgi", str(tmp_path))


def test_damaged_manifests_are_one_sentence(tmp_path: Path) -> None:
    manifest = tmp_path / "manifests" / "registry.ollama.ai" / "library" / "m" / "1"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{")
    assert "is no JSON: the store is not whole" in refusal("--from", "ollama", str(tmp_path))
    manifest.write_text(json.dumps({"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "../x"}]}))
    assert "names the blob '../x'" in refusal("--from", "ollama", str(tmp_path))


def test_words_are_read_as_a_shell_would() -> None:
    found = from_words(["A=1", "--x=2", "--on", "--y", "3", "z"], frozenset({"on"}))
    assert (found.flags, found.variables, found.words) == ({"x": "2", "on": None, "y": "3"}, {"A": "1"}, ("z",))


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"x" * (1024**2 + 1))
    with pytest.raises(IngotError, match="is larger than 1024 KiB"):
        from_file(file, "text-generation")
    assert setups("tgi", ["MODEL_ID=a/b"])[0].model == "a/b"
