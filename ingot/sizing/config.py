"""Reads a Hugging Face config.json, whatever its dialect, into an Architecture.

Field names and their precedence follow vLLM 0.32, `transformers_utils/model_arch_config_convertor.py` and
`config/model.py`. What Ingot cannot compute exactly it refuses (UnknownArchitecture) and never approximates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ingot.sizing import blocks
from ingot.sizing.architecture import Architecture, Encoder, Layer, WeightGroup
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
from ingot.sizing.units import DTYPE_BYTES

TEXT_CONFIG_KEYS = ("text_config", "llm_config", "language_config", "thinker_config", "llm", "language_model")
KV_HEAD_KEYS = ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups")
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers")
HEAD_KEYS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads")
HIDDEN_KEYS = ("hidden_size", "n_embd", "d_model", "dim", "model_dim")
FEED_FORWARD_KEYS = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "d_ff", "decoder_ffn_dim")
EXPERT_KEYS = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
EXPERTS_PER_TOKEN_KEYS = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "top_k_experts",
    "moe_topk",
    "moe_top_k",
    "experts_per_token",
)
LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
# Rope scalings whose factor is already contained in max_position_embeddings, or does not extend it.
ROPE_WITHOUT_FACTOR = frozenset({"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"})
LATENT_MODEL_TYPES = frozenset(
    {
        "deepseek_v2",
        "deepseek_v3",
        "kimi_k2",
        "glm4_moe_lite",
        "longcat_flash",
        "pangu_ultra_moe",
        "axk1",
    }
)
# Designs whose caches have parts that are not computed here: sparse attention indexers, compressed layers, memories
# of other kinds. The value says what is missing.
NOT_MODELLED = {
    "deepseek_v32": "its sparse attention keeps an indexer cache beside the latent one",
    "deepseek_v4": "its layers compress their caches at several ratios",
    "deepseek_v41": "its layers compress their caches at several ratios",
    "glm_moe_dsa": "its sparse attention keeps an indexer cache beside the latent one",
    "glm5_next": "its sparse attention keeps an indexer cache beside the latent one",
    "kimi_linear": "its Kimi delta attention layers have states that are not described here",
    "minimax_text_01": "its lightning attention layers have states that are not described here",
    "minimax_m1": "its lightning attention layers have states that are not described here",
    "rwkv": "it has no attention cache that is described here",
    "t5": "its encoder and decoder share memory in a way that is not described here",
    "whisper": "its encoder and decoder share memory in a way that is not described here",
}
UNGATED_MODEL_TYPES = frozenset(
    {"opt", "gpt2", "gpt_neox", "gpt_bigcode", "falcon", "bloom", "mpt", "phi", "starcoder2"}
)
LARGEST = 2**40


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """The architecture that a config.json describes.

    Raises UnknownArchitecture where the design is not modelled and ConfigError where the config cannot be true.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"A model's config is {type(config).__name__}, expected an object: pass config.json's content."
        )
    return _Reader(config).read()


class _Reader:
    """One pass over one config: `outer` is the file, `text` the part that describes the decoder."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.outer = config
        self.text = _text_config(config)
        architectures = config.get("architectures") or ()
        if isinstance(architectures, str):
            architectures = (architectures,)
        self.name = str(architectures[0]) if architectures else str(config.get("model_type") or "unnamed")
        self.model_type = str(self.text.get("model_type") or config.get("model_type") or "")

    # --- fields

    def first(self, keys: Sequence[str], *, default: Any = None) -> Any:
        """The first of `keys` that is present and not null, in the text config, then in the whole."""
        for source in (self.text, self.outer):
            for key in keys:
                if source.get(key) is not None:
                    return source[key]
        return default

    def count(self, keys: Sequence[str], *, default: int | None = None, least: int = 1) -> int:
        """A whole number of at least `least`. Raises ConfigError."""
        value = self.first(keys)
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            value = value[0]
        if value is None:
            if default is None:
                raise ConfigError(
                    f"{self.name}: config.json has none of {', '.join(keys)}, expected one: "
                    "take config.json from the model's repository."
                )
            return default
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < LARGEST:
            raise ConfigError(
                f"{self.name}: config.json says {keys[0]} = {value!r}, expected a whole number of at least {least}: "
                "take config.json from the model's repository."
            )
        return value

    # --- parts

    def read(self) -> Architecture:
        if self.model_type in NOT_MODELLED:
            raise UnknownArchitecture(
                f"{self.name} ({self.model_type}) is not modelled: {NOT_MODELLED[self.model_type]}. "
                "Measure it once with its engine, or choose another model."
            )
        self.hidden = self.count(HIDDEN_KEYS)
        self.heads = self.count(HEAD_KEYS)
        self.vocab = self.count(("vocab_size", "padded_vocab_size", "n_vocab"))
        depth = self.count(LAYER_KEYS)
        if depth > 4096:
            raise ConfigError(f"{self.name}: config.json says {depth} layers, expected at most 4096.")
        layers = tuple(self.layer(index, depth) for index in range(depth))
        tied = bool(self.first(("tie_word_embeddings",), default=False))
        embedding = (blocks.vocabulary("embedding", self.vocab, self.hidden),)
        head: tuple[WeightGroup, ...] = blocks.norms(self.hidden)
        if not tied:
            head = (*head, blocks.vocabulary("output head", self.vocab, self.hidden))
        return Architecture(
            name=self.name,
            model_type=self.model_type,
            layers=layers,
            hidden_size=self.hidden,
            vocab_size=self.vocab,
            attention_heads=self.heads,
            feed_forward=self.count(FEED_FORWARD_KEYS, default=self.expert_width(), least=0),
            max_model_len=self.max_model_len(),
            dtype=self.dtype(),
            embedding=embedding,
            head=head,
            encoder=self.encoder(),
            experts=self.experts(),
            experts_per_token=self.count(EXPERTS_PER_TOKEN_KEYS, default=0, least=0),
            expert_width=self.expert_width() if self.experts() else 0,
            tied=tied,
        )

    def layer(self, index: int, depth: int) -> Layer:
        attention = self.attention(index)
        if isinstance(attention, LatentAttention):
            mixer = blocks.latent_attention_block(
                self.hidden,
                self.heads,
                self.count(("q_lora_rank",), default=0, least=0) or None,
                attention.kv_lora_rank,
                self.count(("qk_nope_head_dim",)),
                attention.rope_dim,
                self.count(("v_head_dim",)),
            )
        elif isinstance(attention, GatedDeltaNet):
            mixer = blocks.delta_net_block(self.hidden, attention)
        elif isinstance(attention, Mamba2):
            mixer = blocks.mamba_block(self.hidden, attention)
        else:
            mixer = blocks.attention_block(
                self.hidden, self.heads, attention.kv_heads, attention.head_dim, attention.head_dim_v
            )
        return Layer(attention, (*mixer, *self.feed_forward(index), *blocks.norms(self.hidden, self.hidden)))

    def attention(self, index: int) -> Attention:
        if self.model_type in LATENT_MODEL_TYPES or self.text.get("kv_lora_rank"):
            return LatentAttention(self.count(("kv_lora_rank",)), self.count(("qk_rope_head_dim",)))
        kind = self.layer_kind(index)
        if kind == "linear_attention":
            return GatedDeltaNet(
                key_heads=self.count(("linear_num_key_heads",)),
                value_heads=self.count(("linear_num_value_heads",)),
                key_dim=self.count(("linear_key_head_dim",)),
                value_dim=self.count(("linear_value_head_dim",)),
                kernel=self.count(("linear_conv_kernel_dim",)),
                state_element_bytes=int(DTYPE_BYTES.get(str(self.first(("mamba_ssm_dtype",))), 2)),
            )
        head_dim = self.head_dim()
        kv_heads = self.kv_heads()
        window = self.first(("sliding_window",))
        if kind == "sliding_attention" and window:
            return SlidingWindow(kv_heads, head_dim, head_dim, self.count(("sliding_window",)))
        if kind == "chunked_attention":
            return ChunkedLocal(kv_heads, head_dim, head_dim, self.count(("attention_chunk_size",)))
        return FullAttention(kv_heads, head_dim, head_dim)

    def layer_kind(self, index: int) -> str:
        kinds = self.first(("layer_types",))
        if isinstance(kinds, list) and index < len(kinds):
            return str(kinds[index])
        return "full_attention"

    def head_dim(self) -> int:
        explicit = self.first(("head_dim", "hidden_size_per_head"))
        if explicit:
            return self.count(("head_dim", "hidden_size_per_head"))
        if self.hidden % self.heads:
            raise ConfigError(
                f"{self.name}: config.json has no head_dim, and hidden_size {self.hidden} does not divide by "
                f"{self.heads} attention heads: take config.json from the model's repository."
            )
        return self.hidden // self.heads

    def kv_heads(self) -> int:
        kv_heads = self.count(KV_HEAD_KEYS, default=self.heads)
        if self.heads % kv_heads:
            raise ConfigError(
                f"{self.name}: config.json says {self.heads} attention heads and {kv_heads} key-value heads, expected "
                "the first to be a multiple of the second: take config.json from the model's repository."
            )
        return kv_heads

    def experts(self) -> int:
        return self.count(EXPERT_KEYS, default=0, least=0)

    def expert_width(self) -> int:
        return self.count(("moe_intermediate_size", "expert_dim", *FEED_FORWARD_KEYS), default=0, least=0)

    def feed_forward(self, index: int) -> tuple[WeightGroup, ...]:
        gated = self.model_type not in UNGATED_MODEL_TYPES
        experts = self.experts()
        if experts > 1 and index >= self.count(("first_k_dense_replace",), default=0, least=0):
            shared = self.count(("shared_expert_intermediate_size",), default=0, least=0)
            shared += self.count(("n_shared_experts",), default=0, least=0) * self.expert_width()
            return blocks.expert_block(self.hidden, experts, self.expert_width(), shared_width=shared, gated=gated)
        return blocks.dense_block(self.hidden, self.count(FEED_FORWARD_KEYS), gated=gated)

    def encoder(self) -> Encoder | None:
        vision = self.outer.get("vision_config")
        if not isinstance(vision, Mapping):
            return None
        hidden, depth = vision.get("hidden_size"), vision.get("depth") or vision.get("num_hidden_layers")
        if not isinstance(hidden, int) or not isinstance(depth, int):
            return None
        width = vision.get("intermediate_size")
        width = width if isinstance(width, int) else 4 * hidden
        return Encoder(parameters=depth * (4 * hidden * hidden + 3 * hidden * width), hidden_size=hidden, depth=depth)

    def dtype(self) -> str:
        dtype = str(self.first(("torch_dtype", "dtype"), default="bfloat16")).removeprefix("torch.")
        if dtype not in DTYPE_BYTES:
            raise ConfigError(f"{self.name}: config.json says torch_dtype = {dtype!r}, expected one like bfloat16.")
        # Engines do not serve in 32 bits unless told to.
        return "bfloat16" if DTYPE_BYTES[dtype] > 2 else dtype

    def max_model_len(self) -> int | None:
        lengths = [
            int(self.text[key]) for key in LENGTH_KEYS if isinstance(self.text.get(key), int) and self.text[key] > 0
        ]
        if not lengths:
            return None
        return min(lengths)


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the config that describes the decoder: nested in multimodal models."""
    for key in TEXT_CONFIG_KEYS:
        nested = config.get(key)
        if isinstance(nested, Mapping):
            return _text_config(nested) if key == "thinker_config" else nested
    return config
