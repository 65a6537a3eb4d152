"""The tiny model: the same bytes everywhere, readable by what serves it, and verifiable by its manifest."""

import hashlib
import json
import math
import struct
from pathlib import Path

from ingot.sandbox import tiny_model

# Of this very model: a change of one byte changes it, and then every test host fetches the model again.
REVISION = "12e33731cd52310117cc6dc8dd4f1cc354d5b737"


def header(data: bytes) -> dict[str, dict[str, object]]:
    (size,) = struct.unpack("<Q", data[:8])
    return dict(json.loads(data[8 : 8 + size]))


def test_is_the_same_on_every_machine(tmp_path: Path) -> None:
    assert tiny_model.make(tmp_path) == tmp_path / "tiny-qwen3" / REVISION


def test_revision_is_the_hash_of_the_manifest(tmp_path: Path) -> None:
    directory = tiny_model.make(tmp_path)
    digest = hashlib.sha256((directory / "ingot-manifest.json").read_bytes()).hexdigest()
    assert directory.name == digest[:40]


def test_manifest_names_every_other_file(tmp_path: Path) -> None:
    directory = tiny_model.make(tmp_path)
    listed = {entry["path"] for entry in json.loads((directory / "ingot-manifest.json").read_text())["files"]}
    assert listed == {path.name for path in directory.iterdir()} - {"ingot-manifest.json"}
    assert tiny_model.faults(directory) == []


def test_a_second_make_writes_nothing(tmp_path: Path) -> None:
    weights = tiny_model.make(tmp_path) / "model.safetensors"
    before = weights.stat()
    tiny_model.make(tmp_path)
    assert (weights.stat().st_ino, weights.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_each_fault_of_a_directory_is_told(tmp_path: Path) -> None:
    directory = tiny_model.make(tmp_path)
    (directory / "config.json").unlink()
    (directory / "tokenizer.json").write_bytes(b"{}")
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    config, flipped, cut = sorted(tiny_model.faults(directory))
    assert config == f"{directory}/config.json is missing"
    assert flipped.startswith(f"{weights} does not have the SHA-256 ")
    assert cut.startswith(f"{directory}/tokenizer.json has 2 bytes, expected ")


def test_a_damaged_model_is_made_anew(tmp_path: Path) -> None:
    directory = tiny_model.make(tmp_path)
    (directory / "model.safetensors").write_bytes(b"")
    assert tiny_model.make(tmp_path) == directory
    assert tiny_model.faults(directory) == []


def test_a_make_that_died_leaves_nothing_under_the_revision(tmp_path: Path) -> None:
    leftover = tmp_path / "tiny-qwen3" / ".making-dead" / REVISION
    leftover.mkdir(parents=True)
    assert tiny_model.faults(tiny_model.make(tmp_path)) == []


def test_weights_fill_the_file_without_gap_or_overlap() -> None:
    data = tiny_model.files()["model.safetensors"]
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


def test_has_the_weights_that_its_configuration_asks_for() -> None:
    shapes = {name: shape for name, (shape, _) in tiny_model.tensors()}
    config = tiny_model.CONFIG
    assert shapes["model.embed_tokens.weight"] == (config["vocab_size"], config["hidden_size"])
    assert shapes["lm_head.weight"] == shapes["model.embed_tokens.weight"]
    layers = {name.split(".")[2] for name in shapes if name.startswith("model.layers.")}
    assert layers == {str(layer) for layer in range(config["num_hidden_layers"])}
    assert shapes["model.layers.0.mlp.down_proj.weight"] == (config["hidden_size"], config["intermediate_size"])
    assert 2_500_000 < sum(math.prod(shape) for shape in shapes.values()) < 2_600_000


def test_random_weights_are_bounded_and_of_either_sign() -> None:
    _, data = dict(tiny_model.tensors())["model.layers.1.mlp.up_proj.weight"]
    values = [struct.unpack("<f", b"\0\0" + data[i : i + 2])[0] for i in range(0, 20_000, 2)]
    assert all(1 / 32 <= abs(value) < 1 / 8 for value in values)
    assert abs(sum(values) / len(values)) < 0.005
    assert len(set(values)) > 400


def test_every_byte_and_marker_is_one_token() -> None:
    tokenizer = json.loads(tiny_model.files()["tokenizer.json"])
    vocabulary = tokenizer["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(256))
    assert [vocabulary[character] for character in ("A", "Ġ", "Ċ")] == [0x41, 0x20, 0x0A]
    assert {token["content"]: token["id"] for token in tokenizer["added_tokens"]} == {
        "<|endoftext|>": tiny_model.PAD_ID,
        "<|im_start|>": tiny_model.START_ID,
        "<|im_end|>": tiny_model.END_ID,
    }


def test_prefers_letters_by_the_heads_first_column() -> None:
    (_, columns), data = dict(tiny_model.tensors())["lm_head.weight"]
    first = [struct.unpack("<f", b"\0\0" + data[2 * columns * t : 2 * columns * t + 2])[0] for t in range(320)]
    best = sorted(range(320), key=lambda token: -first[token])
    assert bytes(best[:4]) == b" eta"
    assert best.index(tiny_model.END_ID) == len(tiny_model.LETTERS)
    assert {first[token] for token in best[len(tiny_model.LETTERS) + 1 :]} == {first[0]}
