"""A GGUF file's shape: what each block caches, and where weights go."""

from __future__ import annotations

import io

import pytest

from ingot.sizing.engines.llama_cpp import CacheLayer, Settings, Shape, StateLayer, cache_bytes, state_bytes
from ingot.sizing.gguf.errors import AbsurdCount, GgufError, UnknownGgufArchitecture
from ingot.sizing.gguf.header import read
from ingot.sizing.gguf.parts import joined
from ingot.sizing.gguf.shape import shape_of
from tests.sizing.gguf.writing import gguf, qwen3, tensors

pytestmark = pytest.mark.engines


def shape(keys: dict[str, object], held: list[tuple[str, tuple[int, ...], str]] | None = None) -> Shape:
    raw = gguf(keys, tensors() if held is None else held)
    return shape_of(joined([("m.gguf", read(io.BytesIO(raw), len(raw)))]))


def of(architecture: str, blocks: int, **more: object) -> dict[str, object]:
    base = {"block_count": blocks, "embedding_length": 256, "attention.head_count": 4, "attention.head_count_kv": 2}
    return {"general.architecture": architecture} | {f"{architecture}.{key}": one for key, one in (base | more).items()}


def test_plain_attention() -> None:
    found = shape(qwen3())
    assert found.layers == ((CacheLayer(128, 128),),) * 2
    assert (found.width, found.vocabulary, found.heads, found.feed_forward) == (256, 320, 4, 512)


def test_a_tied_embedding_is_held_twice() -> None:
    embedding = 256 // 32 * 34 * 320
    tied = shape(qwen3())
    assert (tied.input_weights, tied.output_weights) == (embedding, embedding + 1024)
    separate = shape(qwen3(), [*tensors(), ("output.weight", (256, 320), "f16")])
    assert (separate.input_weights, separate.output_weights) == (embedding, 256 * 320 * 2 + 1024)
    assert separate.layer_weights == (256 // 32 * 34 * 256 + 1024,) * 2


@pytest.mark.parametrize(
    ("architecture", "every", "windowed"),
    [("gemma3", 6, [0, 1, 2, 3, 4, 6, 7]), ("gpt-oss", 2, [0, 2, 4, 6]), ("smallthinker", 4, [1, 2, 3, 5, 6, 7])],
)
def test_windows_follow_the_architectures_pattern(architecture: str, every: int, windowed: list[int]) -> None:
    found = shape(of(architecture, 8, **{"attention.sliding_window": 512}), tensors(0))
    assert [index for index, block in enumerate(found.layers) if block[0].window] == windowed  # type: ignore[union-attr]


def test_windows_follow_the_keys_of_each_block() -> None:
    """Gemma 4: windowed blocks have lengths of their own."""
    keys = {
        "attention.sliding_window": 1024,
        "attention.sliding_window_pattern": [True, False],
        "attention.key_length": 512,
        "attention.value_length": 512,
        "attention.key_length_swa": 256,
        "attention.value_length_swa": 256,
    }
    found = shape(of("gemma4", 2, **keys), tensors(0))
    assert found.layers == ((CacheLayer(512, 512, 1024),), (CacheLayer(1024, 1024),))


def test_latent_attention_keeps_no_values() -> None:
    keys = {
        "attention.head_count_kv": 1,
        "attention.key_length": 576,
        "attention.value_length": 512,
        "attention.kv_lora_rank": 512,
        "attention.key_length_mla": 192,
    }
    assert shape(of("deepseek2", 1, **keys), tensors(0)).layers == ((CacheLayer(576, 0),),)


def test_state_and_draft_of_qwen35() -> None:
    """Qwen3.6 27B with its MTP block: 16 caches, 48 states, one draft, as its start printed."""
    keys = {
        "nextn_predict_layers": 1,
        "attention.key_length": 256,
        "attention.value_length": 256,
        "attention.head_count_kv": 4,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 6144,
        "ssm.state_size": 128,
        "ssm.group_count": 16,
    }
    found = shape(of("qwen35", 65, **keys), tensors(0))
    assert found.layers[0] == (StateLayer(3 * 10240, 128 * 6144),)
    assert found.layers[3] == (CacheLayer(1024, 1024),)
    assert found.draft == ((CacheLayer(1024, 1024),),)
    settings = Settings(131072, 4, unified=True, key_type="q8_0", value_type="q8_0")
    assert cache_bytes(found.layers, settings) / 2**20 == 4352
    assert state_bytes(found.layers, settings) / 2**20 == 598.5
    assert cache_bytes(found.draft, settings) / 2**20 == 272


def test_blocks_without_heads_keep_a_state() -> None:
    keys = {"attention.head_count_kv": [0, 2, 0], "ssm.conv_kernel": 4, "ssm.inner_size": 512, "ssm.state_size": 16}
    held = [("blk.0.ssm_in.weight", (256, 32), "f16"), ("blk.2.ffn_up.weight", (256, 32), "f16")]
    found = shape(of("nemotron_h", 3, **keys), held)
    assert [[type(one) for one in block] for block in found.layers] == [[StateLayer], [CacheLayer], []]


def test_blocks_that_read_an_earlier_cache_keep_none() -> None:
    keys = {"attention.shared_kv_layers": 3, "attention.sliding_window": 512}
    found = shape(of("gemma3n", 5, **keys), tensors(0))
    assert [bool(block) for block in found.layers] == [True, True, False, False, False]


def test_an_unknown_architecture_is_refused_in_one_sentence() -> None:
    with pytest.raises(UnknownGgufArchitecture, match="what architecture 'rwkv9' of this GGUF file caches: serve"):
        shape(of("rwkv9", 2))


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({"qwen3.block_count": 2**31}, AbsurdCount, "qwen3.block_count is 2147483648"),
        ({"qwen3.block_count": "two"}, GgufError, "expected a whole number"),
        ({"qwen3.attention.head_count_kv": [2]}, AbsurdCount, "expected one for each of 2 blocks"),
        ({"qwen3.nextn_predict_layers": 3}, AbsurdCount, "nextn_predict_layers is 3"),
    ],
)
def test_absurd_keys_are_refused(more: dict[str, object], kind: type[GgufError], words: str) -> None:
    with pytest.raises(kind, match=words):
        shape(qwen3(**more))


def test_a_missing_key_is_named() -> None:
    keys = qwen3()
    del keys["qwen3.embedding_length"]
    with pytest.raises(GgufError, match=r"lacks the key qwen3\.embedding_length"):
        shape(keys)
    with pytest.raises(GgufError, match="names no architecture"):
        shape({"general.name": "x"})
