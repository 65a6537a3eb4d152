"""The tiny models: the same bytes everywhere, readable by what serves them, and verifiable by their manifests."""

import hashlib
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ingot.sandbox.tiny_models import adapter, directory, embedder, generator, letters, qwen3, reranker, transcriber

#: Of these very models: a change of one byte changes it, and then every test host fetches the model again.
REVISIONS = {
    generator: "53fafb959c56b34b7aca3cf5356cd5013b717a0c",
    embedder: "7336cf0279135242a19842cb16fe65d91bf1ac22",
    reranker: "e09eb2dbb6e29a1bc8e3c8ed7f5eada97c000485",
    transcriber: "3fdcfe24484abfea202dfcb02a6a980e9f2727ca",
}
MODELS = pytest.mark.parametrize("model", REVISIONS, ids=lambda model: model.NAME)


def header(data: bytes) -> dict[str, dict[str, object]]:
    (size,) = struct.unpack("<Q", data[:8])
    return dict(json.loads(data[8 : 8 + size]))


def values(data: bytes) -> list[float]:
    return [struct.unpack("<f", b"\0\0" + data[i : i + 2])[0] for i in range(0, len(data), 2)]


@MODELS
def test_is_the_same_on_every_machine(model: ModuleType, tmp_path: Path) -> None:
    assert model.make(tmp_path) == tmp_path / model.NAME / REVISIONS[model]


def test_the_adapter_is_the_same_on_every_machine_and_fits_its_base(tmp_path: Path) -> None:
    made = adapter.make(tmp_path)
    assert made == tmp_path / "tiny-adapter" / "6c3510641891ffc58a1bea2f96d352b9e4f3a5e1"
    assert directory.faults(made) == []
    base = header(generator.files()["model.safetensors"])
    for name, entry in header(adapter.files()["adapter_model.safetensors"]).items():
        if name != "__metadata__":
            beside = name.removeprefix("base_model.model.").replace(".lora_A", "").replace(".lora_B", "")
            side = 1 if ".lora_A" in name else 0
            assert entry["shape"][1 if side else 0] == base[beside]["shape"][side]  # type: ignore[index]


@MODELS
def test_manifest_names_every_other_file(model: ModuleType, tmp_path: Path) -> None:
    made = model.make(tmp_path)
    listed = {entry["path"] for entry in json.loads((made / "ingot-manifest.json").read_text())["files"]}
    there = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert listed == there - {"ingot-manifest.json"}
    assert directory.faults(made) == []


@MODELS
def test_weights_fill_the_file_without_gap_or_overlap(model: ModuleType) -> None:
    data = model.files()["model.safetensors"]
    entries = header(data)
    del entries["__metadata__"]
    ends = sorted(tuple(entry["data_offsets"]) for entry in entries.values())  # type: ignore[arg-type]
    assert [start for start, _ in ends] == [0, *(end for _, end in ends[:-1])]
    (size,) = struct.unpack("<Q", data[:8])
    assert len(data) == 8 + size + ends[-1][1]
    assert size % 8 == 0
    for entry in entries.values():
        start, end = entry["data_offsets"]  # type: ignore[misc]
        assert end - start == 2 * math.prod(entry["shape"])  # type: ignore[arg-type]


@MODELS
def test_every_token_has_a_row_of_the_embedding(model: ModuleType) -> None:
    tokens = json.loads(model.files()["tokenizer.json"])
    ids = [*tokens["model"]["vocab"].values(), *(token["id"] for token in tokens["added_tokens"])]
    assert sorted(ids) == list(range(len(ids)))
    width = model.CONFIG.get("hidden_size") or model.CONFIG["d_model"]
    embeddings = [shape for name, (shape, _) in model.tensors() if "embed_tokens" in name or "word_embeddings" in name]
    assert embeddings == [(model.CONFIG["vocab_size"], width)]
    assert len(ids) <= model.CONFIG["vocab_size"]


def test_revision_is_the_hash_of_the_manifest(tmp_path: Path) -> None:
    made = generator.make(tmp_path)
    digest = hashlib.sha256((made / "ingot-manifest.json").read_bytes()).hexdigest()
    assert made.name == digest[:40]


def test_a_second_make_writes_nothing(tmp_path: Path) -> None:
    weights = generator.make(tmp_path) / "model.safetensors"
    before = weights.stat()
    generator.make(tmp_path)
    assert (weights.stat().st_ino, weights.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_each_fault_of_a_directory_is_told(tmp_path: Path) -> None:
    made = generator.make(tmp_path)
    (made / "config.json").unlink()
    (made / "tokenizer.json").write_bytes(b"{}")
    weights = made / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    config, flipped, cut = sorted(directory.faults(made))
    assert config == f"{made}/config.json is missing"
    assert flipped.startswith(f"{weights} does not have the SHA-256 ")
    assert cut.startswith(f"{made}/tokenizer.json has 2 bytes, expected ")


def test_a_damaged_model_is_made_anew(tmp_path: Path) -> None:
    made = generator.make(tmp_path)
    (made / "model.safetensors").write_bytes(b"")
    assert generator.make(tmp_path) == made
    assert directory.faults(made) == []


def test_a_make_that_died_leaves_nothing_under_the_revision(tmp_path: Path) -> None:
    leftover = tmp_path / "tiny-qwen3" / ".making-dead" / REVISIONS[generator]
    leftover.mkdir(parents=True)
    assert directory.faults(generator.make(tmp_path)) == []


def test_a_qwen3_has_the_weights_that_its_configuration_asks_for() -> None:
    shapes = {name: shape for name, (shape, _) in generator.tensors()}
    config = generator.CONFIG
    assert shapes["lm_head.weight"] == shapes["model.embed_tokens.weight"]
    layers = {name.split(".")[2] for name in shapes if name.startswith("model.layers.")}
    assert layers == {str(layer) for layer in range(config["num_hidden_layers"])}
    assert shapes["model.layers.0.mlp.down_proj.weight"] == (config["hidden_size"], config["intermediate_size"])
    assert 2_500_000 < sum(math.prod(shape) for shape in shapes.values()) < 2_600_000


def test_random_weights_are_bounded_and_of_either_sign() -> None:
    _, data = dict(generator.tensors())["model.layers.1.mlp.up_proj.weight"]
    some = values(data[:20_000])
    assert all(1 / 32 <= abs(value) < 1 / 8 for value in some)
    assert abs(sum(some) / len(some)) < 0.005
    assert len(set(some)) > 400


def test_no_model_has_the_weights_of_another() -> None:
    bodies = [dict(model.tensors())["model.layers.0.mlp.up_proj.weight"] for model in (generator, reranker)]
    assert bodies[0] != bodies[1]


def test_every_byte_and_marker_is_one_token() -> None:
    tokenizer = json.loads(generator.files()["tokenizer.json"])
    vocabulary = tokenizer["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(256))
    assert [vocabulary[character] for character in ("A", "Ġ", "Ċ")] == [0x41, 0x20, 0x0A]
    marks = {token["content"]: (token["id"], token["special"]) for token in tokenizer["added_tokens"]}
    assert marks == {
        "<|endoftext|>": (qwen3.PAD_ID, True),
        "<|im_start|>": (qwen3.START_ID, True),
        "<|im_end|>": (qwen3.END_ID, True),
        # A caller sees these, and parsers look for them.
        **{mark: (259 + index, False) for index, mark in enumerate(qwen3.MARKS)},
    }


@pytest.mark.parametrize(
    ("head", "end_id"),
    [
        (lambda: dict(generator.tensors())["lm_head.weight"], qwen3.END_ID),
        (lambda: dict(transcriber.tensors())["model.decoder.embed_tokens.weight"], transcriber.END_ID),
    ],
    ids=["generator", "transcriber"],
)
def test_letters_are_preferred_by_the_heads_first_column(
    head: Callable[[], tuple[tuple[int, ...], bytes]], end_id: int
) -> None:
    (rows, columns), data = head()
    first = values(data)[::columns]
    best = sorted(range(rows), key=lambda token: -first[token])
    assert bytes(best[:4]) == b"_eta"
    text, structure = len(letters.LETTERS) + 1, len(letters.STRUCTURE)
    assert end_id in best[:text]
    # Where a grammar allows them, quotes and braces come before spaces.
    assert bytes(sorted(best[text : text + structure])) == bytes(sorted(letters.STRUCTURE.encode()))
    assert {first[token] for token in best[text + structure :]} == {first[ord(" ")]}


def test_the_transcriber_hears_what_whisper_hears() -> None:
    preprocessor = json.loads(transcriber.files()["preprocessor_config.json"])
    frames = preprocessor["n_samples"] // preprocessor["hop_length"]
    assert frames == preprocessor["nb_max_frames"] == 2 * transcriber.CONFIG["max_source_positions"]
    _, data = dict(transcriber.tensors())["model.encoder.embed_positions.weight"]
    assert values(data)[:64] == [0.0] * 32 + [1.0] * 32
