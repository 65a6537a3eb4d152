"""What llama.cpp takes of a host's memory: its cache exactly, and a refusal where it is too much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ingot.sizing import (
    HostMemoryError,
    Model,
    ModelRequest,
    ReplicaPlan,
    Variant,
    Workload,
    architecture_from_config,
    plan_on_host,
)
from ingot.sizing.architecture import Layer
from ingot.sizing.attention import Attention, GatedDeltaNet, LatentAttention, Mamba2, SlidingWindow
from ingot.sizing.host_memory import SYSTEM_BYTES, cache_bytes

pytestmark = pytest.mark.engines
MIB, GIB = 1024**2, 1024**3

TINY: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "num_hidden_layers": 3, "hidden_size": 256,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "intermediate_size": 768, "vocab_size": 320,
    "max_position_embeddings": 32768, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
ARCHITECTURE = architecture_from_config(TINY)


def model(*sizes: int | None) -> Model:
    variants = tuple(
        Variant(f"v{index}", "site/tiny", "abc", "none", ARCHITECTURE, 100 - index, size, file="tiny.gguf")
        for index, size in enumerate(sizes)
    )
    return Model("tiny", variants)


def planned(memory_gib: float = 8, context: int = 2048, slots: int = 4, **asked: Any) -> tuple[ReplicaPlan, ...]:
    chosen = asked.pop("model", model(None))
    request = ModelRequest(chosen, Workload(context, slots), engine="llama.cpp", **asked)
    return plan_on_host("cpu-01", int(memory_gib * GIB), [request])


def test_the_cache_is_what_a_start_allocated() -> None:
    # b11669 with the same shape: llama_kv_cache: size = 12.00 MiB (2048 cells, 3 layers, 4/4 seqs).
    assert cache_bytes(ARCHITECTURE, 2048, 4) == 12 * MIB


def test_cells_come_in_steps() -> None:
    assert cache_bytes(ARCHITECTURE, 2000, 4) == cache_bytes(ARCHITECTURE, 2048, 4)
    (one,) = planned(context=2000)
    assert one.max_model_len == 2048


def test_weights_are_the_size_of_the_file_where_it_is_known() -> None:
    (one,) = planned(model=model(5 * GIB), memory_gib=16)
    assert one.memory.weights.bytes == 5 * GIB
    assert (one.gpu_uuids, one.engine, one.max_num_seqs) == ((), "llama.cpp", 4)


def test_the_best_variant_that_fits_is_taken() -> None:
    (one,) = planned(model=model(40 * GIB, 5 * GIB), memory_gib=16)
    assert one.variant == "v1"


def test_what_does_not_fit_is_refused_with_its_arithmetic() -> None:
    with pytest.raises(HostMemoryError) as refused:
        planned(model=model(7 * GIB), memory_gib=8)
    said = str(refused.value)
    assert said.startswith("cpu-01: tiny (v0) needs 7.") and "6.00 GiB are left of 8.00 GiB" in said
    assert said.count(". ") == 0


def test_replicas_and_models_share_one_memory() -> None:
    fits = planned(model=model(5 * GIB), memory_gib=8)
    assert len(fits) == 1
    with pytest.raises(HostMemoryError, match="2 times"):
        planned(model=model(5 * GIB), memory_gib=8, replicas=2)


def test_the_host_keeps_some_for_itself() -> None:
    (one,) = planned()
    assert one.memory.free.bytes > SYSTEM_BYTES


def test_a_context_beyond_the_models_is_refused() -> None:
    with pytest.raises(HostMemoryError, match="trained for 32,768 tokens, 40,000 are asked"):
        planned(context=40_000)


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        # Bytes of 2 slots of 8,192 tokens, as real starts of such layers printed (data/llama_cpp_buffers.json).
        (SlidingWindow(2, 64, 64, 512), 2 * 1024 * 512),
        (LatentAttention(64, 32), 2 * 8192 * 96 * 2),
        (GatedDeltaNet(4, 8, 32, 32, 4, 2), 2 * 4 * (3 * 512 + 32 * 256)),
        (Mamba2(512, 1, 16, 8, 64, 4, 2), 2 * 4 * (3 * 544 + 512 * 16)),
        (None, 0),
    ],
)
def test_what_each_kind_of_layer_keeps(kind: Attention | None, kept: int) -> None:
    shape = replace(ARCHITECTURE, layers=(Layer(kind, ()),))
    assert cache_bytes(shape, 8192, 2) == kept


@pytest.mark.parametrize(("context", "computed_mib"), [(1024, 16.04), (2048, 36.08)])
def test_an_embedders_texts_are_read_in_one_piece(context: int, computed_mib: float) -> None:
    """As starts of b11669 with the tiny model allocated it."""
    shape = architecture_from_config(TINY)
    variant = Variant("f16", "tiny", None, "none", shape, file="tiny.gguf")
    model = Model("tiny", (variant,), kind="embed")
    (made,) = plan_on_host("h", 16 * GIB, [ModelRequest(model, Workload(context, 1), engine="llama.cpp")])
    assert made.max_num_batched_tokens == context
    assert computed_mib * MIB <= made.memory.activation.bytes < 2 * computed_mib * MIB
