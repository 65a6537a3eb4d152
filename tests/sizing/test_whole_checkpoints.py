"""Weight files of small models: what each rank loads of them under each split, and what is said of those that are none.

The rules are judged elsewhere, on models whose starts are known (test_weights.py). Here each kind of tensor, under each
of its names, changes something that is written down.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingot.sizing import Architecture, SizingError, architecture_from_config
from ingot.sizing.checkpoint import HEADER_BYTES, LARGEST_HEADER, Checkpoint, Tensor, parse_headers, read_checkpoint
from ingot.sizing.split import Parallel
from tests.sizing.conftest import as_written, titles
from tests.sizing.test_whole_configs import BASE, EXPERTS, LATENT

pytestmark = pytest.mark.sizing

SPLITS = (
    Parallel(), Parallel(2), Parallel(4), Parallel(1, 2), Parallel(2, 3), Parallel(2, 1, 2, expert=True),
    Parallel(2, 1, 2),
)  # fmt: skip
#: Tensors by where they lie; each has a size of its own, so that a sum says which of them are in it.
IN_LAYERS = (
    "self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight", "self_attn.o_proj.weight",
    "self_attn.q_proj.bias", "self_attn.q_a_proj.weight", "self_attn.kv_a_proj_with_mqa.weight", "mlp.up_proj.weight",
    "mlp.gate.weight", "mlp.gate.e_score_correction_bias", "mlp.router.weight", "mlp.experts.1.up_proj.weight",
    "mlp.experts.1.up_proj.bias", "mlp.shared_expert_gate.weight", "input_layernorm.weight", "rotary_emb.inv_freq",
)  # fmt: skip
AROUND = (
    "model.embed_tokens.weight", "transformer.wte.weight", "transformer.word_embeddings.weight", "lm_head.weight",
    "embed_out.weight", "model.norm.weight", "norm.weight", "transformer.ln_f.weight", "final_layernorm.weight",
    "visual.blocks.0.attn.qkv.weight", "vision_tower.layers.1.k_proj.weight", "audio_tower.layers.2.norm.weight",
    "multi_modal_projector.linear.weight", "mm_projector.weight", "image_newline", "mtp.layers.0.weight",
    "nextn.weight",
    "model.layers.4.eh_proj.weight", "model.layers.3.shared_head.weight", "model.layers.9.mlp.up_proj.weight",
)  # fmt: skip


def shape(**changes: Any) -> Architecture:
    return architecture_from_config({**BASE, **changes})


def files(prefix: str = "model.layers") -> Checkpoint:
    names = [f"{prefix}.{layer}.{name}" for layer in range(4) for name in IN_LAYERS]
    return Checkpoint(tuple(Tensor(name, 1000 * 2**at % 99991) for at, name in enumerate((*names, *AROUND))))


def loaded(architecture: Architecture, checkpoint: Checkpoint) -> Iterator[str]:
    yield f"  {checkpoint.total} bytes"
    for split in SPLITS:
        stages = checkpoint.stages(architecture, split)
        yield f"  {split.tensor}x{split.pipeline}x{split.data}{' spread' if split.expert else ''}: {stages}"


def sentence(does: Any, *arguments: Any) -> str:
    try:
        return f"  {does(*arguments)}"
    except SizingError as error:
        return f"  {type(error).__name__}: {error}"


def checked(sizes: Iterable[tuple[str, int]], quantization: str = "none", **changes: Any) -> str:
    tensors = tuple(Tensor(name, size) for name, size in sizes)
    return sentence(lambda: Checkpoint(tensors).check(shape(**changes), quantization))


def one_in_each(layers: int, size: int) -> list[tuple[str, int]]:
    return [(f"model.layers.{layer}.mlp.weight", size) for layer in range(layers)]


#: 131,648 parameters of two bytes each: within a quarter of that, over four layers.
WHOLE = 2 * 131_648
LEAST, MOST = int(WHOLE * 0.75), int(WHOLE * 1.25)
CASES = {
    "plain": lambda: loaded(shape(), files()),
    "tied": lambda: loaded(shape(tie_word_embeddings=True), files()),
    "layers by other names": lambda: (
        line for prefix in ("transformer.h", "decoder.layers", "blocks", "layers")
        for line in loaded(shape(), files(prefix))
    ),
    "latent": lambda: loaded(shape(**LATENT), files()),
    "experts": lambda: loaded(shape(**EXPERTS), files()),
    "one key-value head": lambda: loaded(shape(num_key_value_heads=1), files()),
    "no attention": lambda: loaded(shape(model_type="bert"), files()),
    "as large as its config says": lambda: [
        checked(one_in_each(4, WHOLE // 4)), checked([("x", WHOLE)]), checked([]), checked(one_in_each(3, WHOLE // 3)),
        checked(one_in_each(5, WHOLE // 5)), checked([("vision.layers.0.x", WHOLE)]),
        checked([*one_in_each(3, 1), ("visual.layers.3.x", WHOLE)]), checked([("x", LEAST)]), checked([("x",
        LEAST - 1)]),
        checked([("x", MOST)]), checked([("x", MOST + 1)]), checked([("x", WHOLE), ("mtp.x", WHOLE)]),
        checked([("x", WHOLE // 2)], "fp8"), checked([("x", WHOLE // 4)], "fp8"), checked([("x", WHOLE)], "awq-int4"),
        checked([("x", WHOLE * 2)], "fp8"),
    ],
    "headers": lambda: [
        sentence(parse_headers, [header]) for header in (
            {}, {"__metadata__": {"format": "pt"}, "b": described("F32", [2, 3], 0, 24), "a": described("I8", [], 3,
            4)},
            {name: described(name, [3], 7, 7 + 3 * size) for name, size in HEADER_BYTES.items()},
            {"x": described("F16", [2], 0, 5)}, {"x": described("F15", [2], 0, 4)}, {"x": 7}, {"x": {}}, {"x": None},
            {"x": described("F16", ["a"], 0, 4)}, {"x": described("F16", 2, 0, 4)},
            {"x": {"dtype": "F16", "shape": [2], "data_offsets": [0]}}, {"x": {"dtype": "F16", "shape": [2]}},
        )
    ],
}  # fmt: skip


def described(dtype: str, sides: Any, start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": sides, "data_offsets": [start, end]}


@pytest.mark.parametrize("name", CASES)
def test_each_checkpoint_is_loaded_as_written(name: str) -> None:
    as_written("checkpoints.txt", name, CASES[name]())


def test_nothing_else_is_written() -> None:
    assert titles("checkpoints.txt") == list(CASES)


def stored(directory: Path, name: str, header: bytes, length: int | None = None) -> None:
    (directory / name).write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + b"tensors")


def test_files_are_read_by_their_headers_alone_and_in_any_order(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) is None
    (tmp_path / "config.json").write_text("{}")
    assert read_checkpoint(tmp_path) is None
    stored(tmp_path, "b.safetensors", json.dumps({"y": described("U8", [3], 0, 3)}).encode())
    stored(
        tmp_path,
        "a.safetensors",
        json.dumps({"z": described("U8", [4], 0, 4), "é": described("U8", [], 0, 1)}).encode(),
    )
    assert read_checkpoint(tmp_path) == Checkpoint((Tensor("y", 3), Tensor("z", 4), Tensor("é", 1)))


@pytest.mark.parametrize(
    ("header", "length", "says"),
    [
        (b"{}", LARGEST_HEADER + 1, "(no header length)"),
        (b"{}", LARGEST_HEADER, "(Extra data: line 1 column 3 (char 2))"),
        (b"{", None, "(Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        (b"[]", None, "(its header is no object)"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, header: bytes, length: int | None, says: str) -> None:
    stored(tmp_path, "x.safetensors", header, length)
    with pytest.raises(SizingError) as refused:
        read_checkpoint(tmp_path)
    assert str(refused.value) == f"x.safetensors is no safetensors file {says}: fetch it again."


def test_a_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"1234567")
    with pytest.raises(
        SizingError, match=r"^x.safetensors is no safetensors file \(no header length\): fetch it again.$"
    ):
        read_checkpoint(tmp_path)


def test_checkpoints_of_the_same_tensors_are_planned_once() -> None:
    assert hash(files()) == hash(files()) != hash(replace(files(), tensors=files().tensors[1:]))
