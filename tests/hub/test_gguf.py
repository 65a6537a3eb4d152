"""GGUF files of a repository: their headers are read where they lie, and wrong ones are refused in one sentence."""

from __future__ import annotations

import http.server
import threading
from functools import partial
from pathlib import Path

import pytest

from ingot.catalog.lock import Locked, LockedFile
from ingot.errors import IngotError
from ingot.hub import gguf as hub_gguf
from ingot.hub.client import Hub
from ingot.hub.gguf import checked_gguf
from ingot.hub.places import InDirectory, OnHub, OnMirror, Place
from ingot.hub.resolve import Wish, resolve
from ingot.sizing import Architecture, Variant, architecture_from_config
from tests.hub.standin import Repository, StandIn, hub
from tests.sizing.gguf.writing import gguf, qwen3, tensors

pytestmark = pytest.mark.engines

COMMIT = "a" * 40
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "intermediate_size": 512, "vocab_size": 320,
    "max_position_embeddings": 4096, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip


def architecture(**changes: object) -> Architecture:
    return architecture_from_config({**CONFIG, **changes})


def locked(files: dict[str, bytes], repository: str = "org/m") -> Locked:
    return Locked(repository, COMMIT, tuple(LockedFile(path, len(raw), None, "b" * 40) for path, raw in files.items()))


def in_directory(folder: Path, files: dict[str, bytes]) -> tuple[Place, Locked]:
    for path, raw in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(raw)
    return InDirectory(), locked(files, str(folder))


def refusal(folder: Path, files: dict[str, bytes], path: str, stated: Architecture | None = None) -> str:
    place, found = in_directory(folder, files)
    with pytest.raises(IngotError) as caught:
        checked_gguf(place, found, path, stated or architecture())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("piece", [7, 4096, hub_gguf.PIECE_BYTES])
def test_a_hubs_file_is_read_in_pieces(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_gguf, "PIECE_BYTES", piece)
    raw = gguf(qwen3(**{"tokenizer.ggml.tokens": ["a", "b"]}), tensors())
    files = {"sub/m.gguf": raw}
    standin: StandIn
    with hub() as standin:
        standin.repositories["org/m"] = Repository({COMMIT: dict(files)}, COMMIT)
        shape = checked_gguf(OnHub(Hub(standin.url)), locked(files), "sub/m.gguf", architecture())
        asked = len(standin.asked)
    assert (shape.width, len(shape.layers)) == (256, 2)
    # No more of it than the header.
    assert asked <= 1600 // piece + 2


def test_a_mirrors_file_is_read(tmp_path: Path) -> None:
    files = {"m.gguf": gguf(qwen3(), tensors())}
    in_directory(tmp_path / "org" / "m" / COMMIT, files)
    shape = checked_gguf(OnMirror(f"file:{tmp_path}"), locked(files), "m.gguf", architecture())
    assert shape.vocabulary == 320


def test_a_hub_that_gives_no_parts_is_refused() -> None:
    with hub() as standin:
        standin.first.append((200, {"X-Ranges": "none"}))
        with pytest.raises(IngotError, match="gives no part of a file"):
            Hub(standin.url).part("Qwen/Qwen3-0.6B", "main", "config.json", 0, 10)


def test_a_whole_set_is_one_model(tmp_path: Path) -> None:
    every = tensors()
    keys = [{"split.no": index, "split.count": 2, "split.tensors.count": 6} for index in range(2)]
    files = {
        "m-00001-of-00002.gguf": gguf({**qwen3(), **keys[0]}, every[:3]),
        "m-00002-of-00002.gguf": gguf(keys[1], every[3:]),
    }
    place, found = in_directory(tmp_path, files)
    assert sum(checked_gguf(place, found, "m-00001-of-00002.gguf", architecture()).layer_weights) > 0
    del files["m-00002-of-00002.gguf"]
    assert "m-00002-of-00002.gguf is not there" in refusal(tmp_path, files, "m-00001-of-00002.gguf")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (gguf(qwen3(), tensors())[:-1000], "ends within tensor"),
        (b"<html></html>", "does not begin with GGUF"),
        (gguf({**qwen3(), "general.architecture": "rwkv9"}), "does not know what architecture 'rwkv9'"),
        (b"GGUF\3\0\0\0" + b"\xff" * 16, "tensors, more than it can hold"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path, raw: bytes, words: str) -> None:
    said = refusal(tmp_path, {"m.gguf": raw}, "m.gguf")
    assert said.startswith(f"m.gguf of {tmp_path} cannot be served (") and words in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": 3}, "2 layers instead of 3"),
        ({"hidden_size": 512}, "256 of hidden size instead of 512"),
        ({"num_key_value_heads": 4}, "layer 0 keeps 256 numbers of a token instead of 512"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    said = refusal(tmp_path, {"m.gguf": gguf(qwen3(), tensors())}, "m.gguf", architecture(**changes))
    assert words in said and said.endswith("correct the entry's config")


def test_a_lock_takes_no_damaged_file(tmp_path: Path) -> None:
    """`ingot models lock` reads the header of what a variant names."""
    raw = gguf(qwen3(), tensors())
    place, _ = in_directory(tmp_path, {"m.gguf": raw})
    variant = Variant("q8", str(tmp_path), None, "gguf-q4", architecture(), file="m.gguf")
    wish = Wish(str(tmp_path), "m", "m (q8)", place, variant=variant)
    assert resolve([wish], None, "hub", update=False).failed == {}
    (tmp_path / "m.gguf").write_bytes(raw[:-1000])
    failed = resolve([wish], None, "hub", update=False).failed["m (q8)"]
    assert "ends within tensor" in failed


def test_a_mirror_without_ranges_is_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_gguf, "PIECE_BYTES", 512)
    files = {"m.gguf": gguf(qwen3(), tensors())}
    in_directory(tmp_path / "org" / "m" / COMMIT, files)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mirror = OnMirror(f"http://127.0.0.1:{server.server_port}")
        assert checked_gguf(mirror, locked(files), "m.gguf", architecture()).vocabulary == 320
        server.shutdown()
