"""Which kind of attention or state each layer of a config has: stated per layer, or by a family's pattern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ingot.sizing.attention import (
    Attention,
    ChunkedLocal,
    FullAttention,
    GatedDeltaNet,
    LatentAttention,
    Mamba2,
    SlidingWindow,
)
from ingot.sizing.errors import ConfigError, UnknownArchitecture
from ingot.sizing.families import CACHELESS_MODEL_TYPES
from ingot.sizing.units import DTYPE_BYTES

# One letter per layer: mixer, attention, feed-forward, experts (each its own layer).
PATTERN = {"M": "only mamba", "*": "only attention", "-": "only mlp", "E": "only mlp"}
KINDS = {
    "full_attention": "full",
    "attention": "full",
    "global_attention": "full",
    "sliding_attention": "sliding",
    "local_attention": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "delta",
    "mamba": "mamba",
    "mamba2": "mamba",
}


class Fields(Protocol):
    """What a config reader offers."""

    text: Mapping[str, Any]
    name: str
    model_type: str
    hidden: int
    heads: int

    def first(self, keys: Sequence[str], *, default: Any = None) -> Any: ...
    def count(self, *keys: str, default: int | None = None, least: int = 1) -> int: ...
    def kv_heads(self) -> int: ...
    def head_dim(self) -> int: ...
    def is_latent(self) -> bool: ...


def layer_kind(config: Fields, index: int, depth: int) -> str:
    """full, sliding, chunked, delta, mamba, latent, none; "only …" for layers without a feed-forward part."""
    if config.model_type in CACHELESS_MODEL_TYPES:
        return "none"
    if config.is_latent():
        return "latent"
    pattern = config.first(("hybrid_override_pattern",))
    if isinstance(pattern, str):
        if len(pattern) != depth or pattern[index] not in PATTERN:
            raise ConfigError(
                f"{config.name}: config.json has a hybrid_override_pattern of {len(pattern)} letters for {depth} "
                f"layers, expected one of {', '.join(PATTERN)} per layer: take config.json from the model's repository."
            )
        return PATTERN[pattern[index]]
    stated = config.first(("layer_types", "layers_block_type"))
    if isinstance(stated, list):
        if len(stated) < depth or str(stated[index]) not in KINDS:
            found = stated[index] if index < len(stated) else "nothing"
            raise UnknownArchitecture(
                f"{config.name}: layer {index} is {found!r}, expected one of {', '.join(KINDS)}: measure it "
                "once with its engine, or choose another model."
            )
        return KINDS[str(stated[index])]
    return _kind_by_family(config, index)


def _kind_by_family(config: Fields, index: int) -> str:
    model_type = config.model_type
    if model_type.startswith(("qwen3_next", "qwen3_5")):
        return "full" if (index + 1) % config.count("full_attention_interval", default=4) == 0 else "delta"
    if model_type == "mamba2":
        return "only mamba"
    if model_type.startswith(("granitemoehybrid", "nemotron_h", "bamba")):
        raise ConfigError(
            f"{config.name}: config.json does not say which layers are attention (layer_types or "
            "hybrid_override_pattern): take config.json from the model's repository."
        )
    if model_type in ("llama4_text", "llama4") and config.first(("attention_chunk_size",)):
        return "full" if (index + 1) % 4 == 0 else "chunked"
    if not config.first(("sliding_window",)):
        return "full"
    if model_type in ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen2_5_vl", "qwen2_vl"):
        if not config.first(("use_sliding_window",), default=False):
            return "full"
        return "sliding" if index >= config.count("max_window_layers", default=0, least=0) else "full"
    if model_type == "gemma2":
        return "sliding" if index % 2 == 0 else "full"
    if model_type == "gpt_oss":
        return "sliding" if index % 2 == 0 else "full"
    every = {"gemma3": 6, "gemma3_text": 6, "cohere2": 4, "gemma3n_text": 5, "olmo3": 4, "exaone4": 4}.get(model_type)
    every = config.count("sliding_window_pattern", "_sliding_window_pattern", default=every or 0, least=0)
    if every:
        return "full" if (index + 1) % every == 0 else "sliding"
    return "sliding"


def attention_of(config: Fields, kind: str, index: int, depth: int, *, shared: bool = True) -> Attention | None:
    """What a layer of this kind caches. `shared` False ignores that it may read another layer's cache."""
    bare = kind.removeprefix("only ")
    if bare in ("mlp", "none"):
        return None
    if bare == "latent":
        return LatentAttention(config.count("kv_lora_rank"), config.count("qk_rope_head_dim"))
    if bare == "delta":
        return GatedDeltaNet(
            key_heads=config.count("linear_num_key_heads"),
            value_heads=config.count("linear_num_value_heads"),
            key_dim=config.count("linear_key_head_dim"),
            value_dim=config.count("linear_value_head_dim"),
            kernel=config.count("linear_conv_kernel_dim"),
            state_element_bytes=_state_bytes(config, ("mamba_ssm_dtype",), 2),
        )
    if bare == "mamba":
        return _mamba(config)
    if shared and index >= depth - config.count("num_kv_shared_layers", default=0, least=0):
        return None
    kv_heads, head_dim = config.kv_heads(), config.head_dim()
    if bare == "full" and config.first(("global_head_dim",)):
        head_dim = config.count("global_head_dim")
        kv_heads = config.count("num_global_key_value_heads", default=kv_heads)
    if bare == "sliding":
        # Cohere's own token is not part of its window (vLLM models/commandr.py).
        extra = 1 if config.model_type == "cohere2" else 0
        return SlidingWindow(kv_heads, head_dim, head_dim, config.count("sliding_window") + extra)
    if bare == "chunked":
        return ChunkedLocal(kv_heads, head_dim, head_dim, config.count("attention_chunk_size"))
    return FullAttention(kv_heads, head_dim, head_dim)


def _mamba(config: Fields) -> Mamba2:
    heads = config.count("mamba_num_heads", "mamba_n_heads", "n_mamba_heads", "num_heads")
    head_dim = config.count("mamba_head_dim", "mamba_d_head", "mamba_headdim", "head_dim")
    expanded = config.first(("mamba_expand", "expand"))
    nemotron = config.model_type.startswith("nemotron")
    inner = heads * head_dim if nemotron or not expanded else int(float(expanded) * config.hidden)
    return Mamba2(
        intermediate=inner,
        groups=config.count("mamba_n_groups", "n_groups", "mamba_ngroups", default=1),
        state=config.count("mamba_d_state", "ssm_state_size", "state_size"),
        heads=heads,
        head_dim=head_dim,
        kernel=config.count("mamba_d_conv", "conv_kernel"),
        state_element_bytes=_state_bytes(config, ("mamba_ssm_cache_dtype",), 4 if nemotron else 2),
        assumed=nemotron and config.first(("mamba_ssm_cache_dtype",)) is None,
    )


def _state_bytes(config: Fields, keys: Sequence[str], default: int) -> int:
    named = config.first(keys)
    return default if named is None else int(DTYPE_BYTES.get(str(named), default))
