"""A GGUF model as llama.cpp loads it: which block caches what, and where its weights go.

What the keys leave to the code of an architecture is a table here; an architecture that is in none of them is refused,
since a wrong window or a forgotten state would be a plan that does not start. Source: llama.cpp b11434,
`src/llama-model.cpp` and `src/models/*.cpp` (load_arch_hparams), `src/llama-hparams.cpp`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ingot.sizing.engines.llama_cpp import CacheLayer, Shape, StateLayer
from ingot.sizing.gguf.errors import AbsurdCount, GgufError, UnknownGgufArchitecture
from ingot.sizing.gguf.parts import Gguf

MOST_BLOCKS = 1024
MOST_WIDTH = 2**20

#: Architectures of attention in every block, without windows (or with a window that llama.cpp does not use).
_PLAIN = """
arcee arctic baichuan bailingmoe bailingmoe2 bert bitnet bloom chameleon chatglm codeshell cogvlm command-r dbrx
deci deepseek deepseek2 dots1 ernie4_5 ernie4_5-moe exaone falcon gemma glm4 glm4moe gpt2 gptj gptneox granite
granitemoe grok grovemoe hunyuan-dense hunyuan-moe internlm2 jais jina-bert-v2 llada llama maincoder minicpm
minicpm3 minimax-m2 mistral3 mistral4 mpt nemotron nomic-bert nomic-bert-moe olmo olmoe openelm orion pangu-embedded
phi2 phi3 phimoe plamo plm qwen qwen2 qwen2moe qwen2vl qwen3 qwen3moe qwen3vl qwen3vlmoe refact rnd1 seed_oss
smollm3 stablelm starcoder starcoder2 xverse
"""
PLAIN = frozenset(_PLAIN.split())
#: Architecture -> every how many blocks one has no window (the last of each such run).
WINDOWED = {
    "afmoe": 4,
    "cohere2": 4,
    "gemma-embedding": 6,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "llama4": 4,
    "olmo2": 4,
}
#: Of these, the first of each run has no window.
DENSE_FIRST = frozenset({"smallthinker"})
#: Windows of the code: where the keys name none, and those that it takes whatever they name.
WINDOWS = {"gemma2": 4096, "llama4": 8192}
FIXED_WINDOWS = {"llama4": 8192, "smallthinker": 4096}
#: The keys name each block's own window.
BY_KEY = frozenset({"gemma4", "mimo2", "step35"})
#: Every fourth block (or as the keys say) attends, the others keep a state.
INTERVAL = frozenset({"qwen35", "qwen35moe", "qwen3next"})
#: A block without KV heads keeps a state.
BY_HEADS = frozenset({"granitehybrid", "jamba", "lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe"})
#: Every block keeps a state, and none a cache; or each keeps both.
RECURRENT = frozenset({"mamba", "mamba2"})
BOTH = frozenset({"falcon-h1"})

KNOWN = PLAIN | WINDOWED.keys() | DENSE_FIRST | BY_KEY | INTERVAL | BY_HEADS | RECURRENT | BOTH | {"exaone4"}

_BLOCK = re.compile(r"blk\.(\d{1,9})\.")
_STATEFUL = re.compile(r"blk\.(\d{1,9})\.(?:ssm|shortconv)")
#: Tensors that stay in the host's memory. Source: src/llama-arch.cpp, LLM_TENSOR_LAYER_INPUT.
_INPUT = re.compile(r"(?:token_embd|position_embd|token_types|token_embd_norm|per_layer_token_embd)\.")


def architecture_of(model: Gguf) -> str:
    """The architecture's name. Raises: GgufError where the file names none."""
    name = model.keys.get("general.architecture")
    if not isinstance(name, str) or not name:
        raise GgufError("The GGUF file names no architecture (general.architecture): it holds no model of text.")
    return name


def shape_of(model: Gguf) -> Shape:
    """The model's shape.

    Raises: UnknownGgufArchitecture, AbsurdCount, or GgufError where a key is missing or of a wrong type.
    """
    name = architecture_of(model)
    if name not in KNOWN:
        raise UnknownGgufArchitecture(
            f"Ingot does not know what architecture {name!r} of this GGUF file caches: serve another build of the "
            "model, or a safetensors variant by vllm."
        )
    keys = _Keys(model, name)
    blocks = keys.number("block_count", most=MOST_BLOCKS)
    width = keys.number("embedding_length", most=MOST_WIDTH)
    heads = keys.each("attention.head_count", blocks, 0)
    drafting = keys.number("nextn_predict_layers", 0, most=blocks)
    kv_heads = keys.each("attention.head_count_kv", blocks, None, heads)
    held = tuple(_block(keys, name, index, blocks - drafting, kv_heads[index], heads, width) for index in range(blocks))
    sharing = keys.number("attention.shared_kv_layers", 0, most=blocks)
    if sharing:
        # The last blocks read the cache of earlier ones.
        held = tuple(one if index < blocks - sharing else () for index, one in enumerate(held))
    per_block = [0] * blocks
    inputs = outputs = tied = 0
    separate = any(tensor.name == "output.weight" for tensor in model.tensors)
    for tensor in model.tensors:
        found = _BLOCK.match(tensor.name)
        if found:
            index = int(found[1])
            if index >= blocks:
                raise GgufError(f"Tensor {tensor.name!r} is of block {index}, but the keys say {blocks} blocks.")
            per_block[index] += tensor.bytes
        elif _INPUT.match(tensor.name):
            inputs += tensor.bytes
            if tensor.name == "token_embd.weight" and not separate:
                tied = tensor.bytes
        else:
            outputs += tensor.bytes
    feed_forward = max(keys.each("feed_forward_length", blocks, 0))
    return Shape(
        width=width,
        vocabulary=_vocabulary(model, keys),
        layers=held[: blocks - drafting],
        draft=held[blocks - drafting :],
        heads=max(heads),
        feed_forward=feed_forward,
        layer_weights=tuple(per_block),
        output_weights=outputs + tied,
        tied_weights=tied,
        input_weights=inputs,
        trained_context=keys.number("context_length", 0, most=2**31) or None,
    )


def _block(
    keys: _Keys, name: str, index: int, decoding: int, kv_heads: int, heads: Sequence[int], width: int
) -> tuple[CacheLayer | StateLayer, ...]:
    drafting = index >= decoding
    recurrent = name in RECURRENT | BOTH or (name in BY_HEADS and not kv_heads)
    if name in INTERVAL and not drafting:
        stated = keys.list("attention.recurrent_layers")
        interval = keys.number("full_attention_interval", 4, least=1, most=MOST_BLOCKS)
        recurrent = bool(stated[index]) if index < len(stated) else (index + 1) % interval != 0
    held: list[CacheLayer | StateLayer] = []
    # A block of feed-forward alone (nemotron_h) has neither heads nor the tensors of a state.
    if recurrent and (name not in BY_HEADS or index in keys.stateful):
        held.append(_state(keys, width))
    if kv_heads and (not recurrent or name in BOTH):
        held.append(_cache(keys, name, index, len(heads), kv_heads, heads[index], width))
    return tuple(held)


def _cache(keys: _Keys, name: str, index: int, blocks: int, kv_heads: int, heads: int, width: int) -> CacheLayer:
    window = _window(keys, name, index, blocks)
    plain = width // heads if heads else 0
    key = keys.number("attention.key_length", plain, most=MOST_WIDTH)
    value = keys.number("attention.value_length", plain, most=MOST_WIDTH)
    if window is not None:
        key = keys.number("attention.key_length_swa", key, most=MOST_WIDTH)
        value = keys.number("attention.value_length_swa", value, most=MOST_WIDTH)
    if not key or not value:
        raise GgufError(f"The keys of architecture {name!r} say neither heads nor the length of one.")
    # Latent attention keeps its vector as keys, and no values: src/llama-kv-cache.cpp. Older files lack the key and
    # are served uncompressed.
    latent = keys.number("attention.kv_lora_rank", 0, most=MOST_WIDTH) and keys.number(
        "attention.key_length_mla", 0, most=MOST_WIDTH
    )
    return CacheLayer(key * kv_heads, 0 if latent else value * kv_heads, window)


def _window(keys: _Keys, name: str, index: int, blocks: int) -> int | None:
    window = keys.number("attention.sliding_window", WINDOWS.get(name, 0), most=2**31)
    if not window:
        return None
    window = FIXED_WINDOWS.get(name, window)
    pattern = keys.list("attention.sliding_window_pattern")
    if name in BY_KEY and not pattern:
        raise GgufError(f"The keys of architecture {name!r} do not say which blocks have a window.")
    if pattern:
        return window if index < len(pattern) and pattern[index] else None
    every = keys.number("attention.sliding_window_pattern", 0, most=MOST_BLOCKS)
    if name in DENSE_FIRST:
        return window if index % (every or 4) else None
    if name == "exaone4":
        # Only the large one has windows.
        return window if blocks == 64 and index % 4 < 3 else None
    period = WINDOWED.get(name)
    if period is None:
        return None
    return window if index % (every or period) < (every or period) - 1 else None


def _state(keys: _Keys, width: int) -> StateLayer:
    short = keys.number("shortconv.l_cache", 0, most=4096)
    if short:
        return StateLayer(width * (short - 1), 0)
    kernel = keys.number("ssm.conv_kernel", most=4096)
    inner = keys.number("ssm.inner_size", most=MOST_WIDTH)
    state = keys.number("ssm.state_size", most=MOST_WIDTH)
    groups = keys.number("ssm.group_count", 0, most=MOST_WIDTH)
    return StateLayer(max(kernel - 1, 0) * (inner + 2 * groups * state), state * inner)


def _vocabulary(model: Gguf, keys: _Keys) -> int:
    for tensor in model.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.shape) == 2:
            return tensor.shape[1]
    return model.lengths.get("tokenizer.ggml.tokens", 0) or keys.number("vocab_size", 0, most=2**31)


@dataclass(frozen=True)
class _Keys:
    model: Gguf
    architecture: str

    def number(self, key: str, default: int | None = None, *, least: int = 0, most: int) -> int:
        """A number; of a list, its largest."""
        value = self.model.keys.get(f"{self.architecture}.{key}", default)
        if isinstance(value, tuple):
            value = max((one for one in value if isinstance(one, int)), default=default)
        if value is None:
            raise GgufError(f"The GGUF file lacks the key {self.architecture}.{key}: it is not whole.")
        if not isinstance(value, int):
            raise GgufError(f"Key {self.architecture}.{key} is {value!r}, expected a whole number.")
        if not least <= value <= most:
            raise AbsurdCount(
                f"Key {self.architecture}.{key} is {value}, expected {least} to {most}: do not load the file."
            )
        return int(value)

    def list(self, key: str) -> tuple[float, ...]:
        """A list of numbers; empty where there is none."""
        value = self.model.keys.get(f"{self.architecture}.{key}")
        return tuple(value) if isinstance(value, tuple) else ()

    def each(self, key: str, blocks: int, default: int | None, other: Sequence[int] = ()) -> tuple[int, ...]:
        """One number for each block: a list as it is, a single number for all, else the default or `other`."""
        listed = self.list(key)
        if listed:
            whole = tuple(int(one) for one in listed if isinstance(one, int) and 0 <= one <= MOST_WIDTH * 64)
            if len(whole) != len(listed) or len(whole) < blocks:
                raise AbsurdCount(
                    f"Key {self.architecture}.{key} has {len(whole)} whole numbers, "
                    f"expected one for each of {blocks} blocks."
                )
            return whole[:blocks]
        if f"{self.architecture}.{key}" not in self.model.keys and default is None:
            return tuple(other)
        return (self.number(key, default, most=MOST_WIDTH * 64),) * blocks

    @cached_property
    def stateful(self) -> frozenset[int]:
        """The blocks that have the tensors of a state."""
        found = (_STATEFUL.match(tensor.name) for tensor in self.model.tensors)
        return frozenset(int(one[1]) for one in found if one)
