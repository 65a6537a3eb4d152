"""Weights per rank against what engines logged, and the rules by which they are divided."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from ingot.catalog import load_models
from ingot.sizing import CheckpointMismatch, architecture_from_config
from ingot.sizing.checkpoint import parse_headers, read_checkpoint
from ingot.sizing.split import Parallel, pipeline_stages, spread_sizes, tensor_sizes
from ingot.sizing.weights import stage_weights

from .conftest import GIB

pytestmark = pytest.mark.sizing


@pytest.mark.parametrize(
    ("name", "scheme", "tensor", "logged_gib"),
    [
        ("llama-3.1-8b-instruct", "none", 1, 14.99),
        ("qwen2.5-7b-instruct", "none", 1, 14.25),
        ("qwen3-32b", "none", 1, 61.03),
        ("qwen3-32b", "none", 2, 30.59),
        ("qwen3-30b-a3b-instruct", "none", 1, 56.93),
        ("qwen3-30b-a3b-instruct", "fp8-block", 1, 29.08),
        ("mistral-small-3.2-24b-instruct", "none", 1, 44.76),
        ("llama-3.3-70b-instruct", "int8", 1, 67.72),
        ("qwen2.5-14b-instruct", "awq-int4", 1, 9.38),
        ("qwen2.5-32b-instruct", "none", 4, 15.39),
        ("gpt-oss-20b", "mxfp4", 1, 13.72),
        ("gpt-oss-120b", "mxfp4", 1, 65.97),
        ("gpt-oss-120b", "mxfp4", 4, 17.22),
        ("qwen3-235b-a22b", "fp8-block", 8, 27.67),
        ("qwen3-embedding-8b", "none", 1, 14.11),
    ],
)
def test_weights_are_what_engines_logged(name: str, scheme: str, tensor: int, logged_gib: float) -> None:
    architecture = load_models()[name].variants[0].architecture
    (own,) = stage_weights(architecture, scheme, Parallel(tensor))
    assert own / GIB == pytest.approx(logged_gib, rel=0.015)


def test_awq_files_are_met_to_the_byte() -> None:
    """As the published index of a Llama 70B's files says: metadata.total_size."""
    (variant,) = (one for one in load_models()["llama-3.1-70b-instruct"].variants if one.name == "awq")
    (own,) = stage_weights(variant.architecture, "awq-int4", Parallel())
    assert own == variant.checkpoint_bytes == 39_767_785_472


def test_the_remainder_of_layers_goes_before_the_last_stage() -> None:
    assert [last - first for first, last in pipeline_stages(61, 4)] == [15, 15, 16, 15]
    assert [last - first for first, last in pipeline_stages(62, 4)] == [15, 16, 16, 15]
    assert pipeline_stages(61, 4)[-1][1] == 61


def test_the_first_stage_holds_the_embedding_and_the_last_the_head() -> None:
    architecture = load_models()["llama-3.1-8b-instruct"].variants[0].architecture
    first, middle, _, last = stage_weights(architecture, "none", Parallel(1, 4))
    vocabulary = 128256 * 4096 * 2
    assert first - middle == vocabulary
    assert last - middle == pytest.approx(vocabulary, rel=0.001)


def test_experts_are_spread_by_expert_parallelism_and_the_rest_is_not() -> None:
    architecture = load_models()["deepseek-r1"].variants[0].architecture
    tensor = stage_weights(architecture, "fp8-block", Parallel(8))[0]
    spread = stage_weights(architecture, "fp8-block", Parallel(1, 1, 8, expert=True))[0]
    assert tensor < spread < 1.5 * tensor


def test_tensor_sizes_divide_the_heads() -> None:
    assert tensor_sizes(load_models()["qwen2.5-7b-instruct"].variants[0].architecture, 8) == (1, 2, 4)
    assert tensor_sizes(load_models()["qwen3-8b"].variants[0].architecture, 8) == (1, 2, 4, 8)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("deepseek-r1", [(1, 2), (1, 4), (1, 8)]),  # a latent cache never splits
        ("qwen3-30b-a3b-instruct", [(4, 2)]),  # four key-value heads
        ("gpt-oss-120b", []),  # eight: tensor parallelism does as well
        ("qwen3-8b", []),  # no experts to share
    ],
)
def test_experts_are_spread_where_the_cache_would_be_copied(name: str, sizes: list[tuple[int, int]]) -> None:
    found = spread_sizes(load_models()[name].variants[0].architecture, 8)
    assert [(one.tensor, one.data) for one in found] == sizes
    assert all(one.expert for one in found)


# --- files

SMALL: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 128,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


def headers(layers: int = 2) -> dict[str, Any]:
    shapes: dict[str, list[int]] = {"model.embed_tokens.weight": [128, 64], "lm_head.weight": [128, 64],
                                    "model.norm.weight": [64]}  # fmt: skip
    for layer in range(layers):
        shapes |= {
            f"model.layers.{layer}.{name}.weight": shape
            for name, shape in {
                "self_attn.q_proj": [64, 64], "self_attn.k_proj": [32, 64], "self_attn.v_proj": [32, 64],
                "self_attn.o_proj": [64, 64], "mlp.gate_proj": [128, 64], "mlp.up_proj": [128, 64],
                "mlp.down_proj": [64, 128], "input_layernorm": [64], "post_attention_layernorm": [64],
            }.items()
        }  # fmt: skip
    found, start = {}, 0
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        found[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, start + size]}
        start += size
    return found


def write(path: Path, header: dict[str, Any]) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


@pytest.mark.parametrize("parallel", [Parallel(1), Parallel(2), Parallel(4), Parallel(1, 2), Parallel(2, 2)])
def test_files_and_config_agree_on_every_split(parallel: Parallel, tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", headers())
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint is not None
    architecture = architecture_from_config(SMALL)
    checkpoint.check(architecture, "none")
    assert checkpoint.stages(architecture, parallel) == stage_weights(architecture, "none", parallel)


def test_a_draft_in_the_files_is_not_loaded() -> None:
    architecture = architecture_from_config(SMALL)
    with_draft = parse_headers([headers(layers=3)])
    assert with_draft.stages(architecture, Parallel()) == parse_headers([headers()]).stages(architecture, Parallel())


def test_files_of_another_model_are_refused() -> None:
    architecture = architecture_from_config(SMALL | {"num_hidden_layers": 4})
    with pytest.raises(CheckpointMismatch, match=r"2 layers, config\.json says 4"):
        parse_headers([headers()]).check(architecture, "none")
    with pytest.raises(CheckpointMismatch, match="the files hold"):
        parse_headers([headers()]).check(architecture_from_config(SMALL | {"vocab_size": 4096}), "none")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"not a header")
    with pytest.raises(CheckpointMismatch, match="no safetensors file"):
        read_checkpoint(tmp_path)
    broken = headers()
    broken["lm_head.weight"]["shape"] = [1, 1]
    with pytest.raises(CheckpointMismatch, match="its shape needs 2"):
        parse_headers([broken])
