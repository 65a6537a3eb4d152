"""Reads a Hugging Face config.json, whatever its dialect, into an Architecture.

Field names and their precedence follow vLLM 0.32, `transformers_utils/model_arch_config_convertor.py` and
`config/model.py`. Ingot refuses what it cannot compute exactly (UnknownArchitecture), unless the caller asks for an
approximation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ingot.sizing import blocks
from ingot.sizing.architecture import Architecture, Encoder, Layer, WeightGroup
from ingot.sizing.attention import Attention, CrossAttention, FullAttention, GatedDeltaNet, LatentAttention, Mamba2
from ingot.sizing.encoders import MOST_LAYERS, encoder_of, speech_encoder
from ingot.sizing.errors import ConfigError, UnknownArchitecture
from ingot.sizing.families import (
    CACHELESS_MODEL_TYPES,
    CROSS_MODEL_TYPES,
    LATENT_MODEL_TYPES,
    TIED_MODEL_TYPES,
    UNGATED_MODEL_TYPES,
    why_not_modelled,
)
from ingot.sizing.layers import attention_of, layer_kind
from ingot.sizing.quantization import scheme_of_config
from ingot.sizing.units import DTYPE_BYTES

TEXT_CONFIG_KEYS = ("thinker_config", "text_config", "llm_config", "language_config", "llm", "language_model")
KV_HEAD_KEYS = ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups")
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers")
DECODER_LAYER_KEYS = ("decoder_layers", *LAYER_KEYS)
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
    "moe_k",
    "experts_per_token",
)
VOCAB_KEYS = ("vocab_size", "padded_vocab_size", "n_vocab")
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
# Encoders that number positions from behind their padding token.
POSITIONS_FROM_PAD = frozenset({"roberta", "xlm-roberta", "camembert"})
LARGEST = 2**40


def architecture_from_config(config: Mapping[str, Any], *, approximate: bool = False) -> Architecture:
    """The architecture that a config.json describes.

    With `approximate`, a design that is not modelled is read as layers of plain attention and marked as such, so that
    its plan keeps a wide margin. Raises UnknownArchitecture where the design is not modelled and ConfigError where the
    config cannot be true.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(f"A model's config is {type(config).__name__}, expected config.json's content, an object.")
    return Reader(config, approximate=approximate).read()


class Reader:
    """One pass over one config: `outer` is the file, `text` the part that describes the decoder."""

    def __init__(self, config: Mapping[str, Any], *, approximate: bool = False) -> None:
        self.outer = config
        self.approximate = approximate
        self.text = text_config(config)
        architectures = config.get("architectures") or ()
        if isinstance(architectures, str):
            architectures = (architectures,)
        if not isinstance(architectures, Sequence):
            raise ConfigError(f"config.json says architectures = {architectures!r}, expected a list of one name.")
        self.model_type = str(self.text.get("model_type") or config.get("model_type") or "")
        self.name = str(architectures[0]) if architectures else self.model_type or "unnamed"

    # --- fields

    def first(self, keys: Sequence[str], *, default: Any = None) -> Any:
        """The first of `keys` that is present and not null, in the text config, then in the whole."""
        for source in (self.text, self.outer):
            for key in keys:
                if source.get(key) is not None:
                    return source[key]
        return default

    def count(self, *keys: str, default: int | None = None, least: int = 1) -> int:
        """A whole number of at least `least`. Raises ConfigError."""
        key = next((key for key in keys if self.first((key,)) is not None), keys[0])
        value = self.first((key,))
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
                f"{self.name}: config.json says {key} = {value!r}, expected a whole number of at least {least}: "
                "take config.json from the model's repository."
            )
        return value

    # --- parts

    def read(self) -> Architecture:
        """The whole architecture. Raises UnknownArchitecture and ConfigError."""
        unknown = why_not_modelled((self.model_type, str(self.outer.get("model_type") or "")))
        if unknown and not self.approximate:
            raise UnknownArchitecture(
                f"{self.name} ({self.model_type}) is not modelled: {unknown}. Plan it with a wide margin by "
                "`approximate: true` in its entry of the site's models, or choose another model."
            )
        self.hidden = self.count(*HIDDEN_KEYS)
        self.heads = self.count(*HEAD_KEYS)
        self.vocab = self.count(*VOCAB_KEYS)
        self.experts = self.count(*EXPERT_KEYS, default=0, least=0)
        self.expert_width = self.count("moe_intermediate_size", *FEED_FORWARD_KEYS, default=0, least=0)
        crossed = self.model_type in CROSS_MODEL_TYPES
        depth = self.count(*(DECODER_LAYER_KEYS if crossed else LAYER_KEYS))
        if depth > MOST_LAYERS:
            raise ConfigError(f"{self.name}: config.json says {depth} layers, expected at most {MOST_LAYERS}.")
        known: dict[Any, Layer] = {}
        layers = []
        for index in range(depth):
            for layer in (self.layer(index, depth), *([self.cross_layer()] if crossed else [])):
                layers.append(known.setdefault((layer.attention, layer.weights), layer))
        tied = bool(self.first(("tie_word_embeddings",), default=self.model_type in TIED_MODEL_TYPES))
        head: tuple[WeightGroup, ...] = blocks.norms(self.hidden)
        if not tied:
            head = (*head, blocks.vocabulary("output head", self.vocab, self.hidden))
        scheme, cache = scheme_of_config(self.outer) if isinstance(self.quantization(), Mapping) else (None, None)
        return Architecture(
            name=self.name,
            model_type=self.model_type,
            layers=tuple(layers),
            hidden_size=self.hidden,
            vocab_size=self.vocab,
            attention_heads=self.heads,
            feed_forward=self.count(*FEED_FORWARD_KEYS, default=self.expert_width, least=0),
            max_model_len=self.max_model_len(),
            dtype=self.dtype(),
            embedding=self.embeddings(depth),
            head=head,
            encoder=self.encoder(),
            experts=self.experts if self.experts > 1 else 0,
            experts_per_token=self.count(*EXPERTS_PER_TOKEN_KEYS, default=0, least=0),
            expert_width=self.expert_width if self.experts > 1 else 0,
            tied=tied,
            kv_cache_dtype=cache,
            quantization=scheme,
            outer_type=str(self.outer.get("model_type") or ""),
            approximate=bool(unknown),
        )

    def embeddings(self, depth: int) -> tuple[WeightGroup, ...]:
        """The embedding, and those that Gemma's small models keep for every layer."""
        own = blocks.vocabulary("embedding", self.vocab, self.hidden)
        width = self.count("hidden_size_per_layer_input", default=0, least=0)
        if not width:
            return (own,)
        rows = self.count("vocab_size_per_layer_input", default=self.vocab)
        return own, blocks.vocabulary("embeddings of each layer", rows, width * depth)

    def quantization(self) -> Any:
        """The raw quantization section; surveys may carry a note in its place."""
        nested = self.text.get("quantization_config")
        return self.outer.get("quantization_config") or self.outer.get("compression_config") or nested

    def layer(self, index: int, depth: int) -> Layer:
        """One decoder layer. Raises ConfigError."""
        kind = layer_kind(self, index, depth)
        attention = attention_of(self, kind, index, depth)
        only = kind.startswith("only ")
        weights: tuple[WeightGroup, ...] = () if kind == "only mlp" else self.mixer(attention, index, depth)
        if not only or kind == "only mlp":
            weights = (*weights, *self.feed_forward(index))
        return Layer(attention, (*weights, *blocks.norms(self.hidden, 0 if only else self.hidden)))

    def cross_layer(self) -> Layer:
        """The part of a decoder layer that attends to the encoder's output, whose keys and values stay as well."""
        width = self.head_dim()
        attention = CrossAttention(self.heads, width, width, self.count("max_source_positions", default=1500))
        weights = blocks.attention_block(self.hidden, self.heads, self.heads, width, width)
        return Layer(attention, (*weights, *blocks.norms(self.hidden)))

    def mixer(self, attention: Attention | None, index: int, depth: int) -> tuple[WeightGroup, ...]:
        """The weights of a layer's attention or state part."""
        if isinstance(attention, LatentAttention):
            return blocks.latent_attention_block(
                self.hidden,
                self.heads,
                self.count("q_lora_rank", default=0, least=0) or None,
                attention.kv_lora_rank,
                self.count("qk_nope_head_dim"),
                attention.rope_dim,
                self.count("v_head_dim"),
            )
        if isinstance(attention, GatedDeltaNet):
            return blocks.delta_net_block(self.hidden, attention)
        if isinstance(attention, Mamba2):
            return blocks.mamba_block(self.hidden, attention)
        own = attention
        if own is None and self.model_type in CACHELESS_MODEL_TYPES:
            return blocks.attention_block(self.hidden, self.heads, self.heads, self.head_dim(), self.head_dim())
        if own is None:  # a layer that reads another's cache has queries only
            shared = attention_of(self, layer_kind(self, index, depth), index, depth, shared=False)
            if not isinstance(shared, FullAttention):
                return ()
            return blocks.attention_block(self.hidden, self.heads, 0, shared.head_dim, shared.head_dim_v)
        gated = bool(self.first(("attn_output_gate",), default=self.model_type.startswith(("qwen3_next", "qwen3_5"))))
        bias = bool(self.first(("attention_bias", "qkv_bias"), default=self.model_type == "qwen2"))
        return blocks.attention_block(
            self.hidden, self.heads, own.kv_heads, own.head_dim, own.head_dim_v, gated=gated, bias=bias
        )

    def feed_forward(self, index: int) -> tuple[WeightGroup, ...]:
        """The weights of a layer's feed-forward part: dense, or experts."""
        gated = self.model_type not in UNGATED_MODEL_TYPES
        if not self.is_sparse(index):
            width = self.count("intermediate_size_mlp", *FEED_FORWARD_KEYS, default=4 * self.hidden)
            return blocks.dense_block(self.hidden, width, gated=gated)
        shared = self.count("shared_expert_intermediate_size", "shared_intermediate_size", default=0, least=0)
        per_shared = self.count("moe_shared_expert_intermediate_size", default=self.expert_width, least=0)
        shared += self.count("n_shared_experts", "num_shared_experts", default=0, least=0) * per_shared
        if self.model_type in ("llama4_text", "llama4"):
            shared = self.expert_width
        if self.model_type.startswith("gemma4"):
            # Beside the experts, each layer has a dense part of its own width (vLLM gemma4.py, `enable_moe_block`).
            shared = self.count(*FEED_FORWARD_KEYS)
        return blocks.expert_block(
            self.hidden,
            self.experts,
            self.expert_width,
            shared_width=shared,
            shared_gate=self.model_type.startswith(("qwen2_moe", "qwen3_next", "qwen3_5_moe")),
            gated=gated,
            latent=self.count("moe_latent_size", default=0, least=0),
        )

    def is_sparse(self, index: int) -> bool:
        """Whether a layer's feed-forward part is made of experts."""
        if self.experts < 2 or index < self.count("first_k_dense_replace", default=0, least=0):
            return False
        if index in (self.first(("mlp_only_layers",), default=()) or ()):
            return False
        step = self.count("decoder_sparse_step", "moe_layer_freq", "interleave_moe_layer_step", default=1)
        return (index + 1) % step == 0

    def kv_heads(self) -> int:
        """Key-value heads, which the attention heads are a multiple of. Raises ConfigError."""
        if self.model_type in ("falcon", "RefinedWeb", "RefinedWebModel"):
            new = bool(self.first(("new_decoder_architecture",), default=False))
            if not new and self.first(("multi_query",), default=False):
                return 1
        nested = self.first(("attn_config",))
        if isinstance(nested, Mapping) and isinstance(nested.get("kv_n_heads"), int):
            return max(1, int(nested["kv_n_heads"]))
        kv_heads = self.count(*KV_HEAD_KEYS, default=self.heads)
        if self.heads % kv_heads:
            raise ConfigError(
                f"{self.name}: config.json says {self.heads} attention heads and {kv_heads} key-value heads, expected "
                "the first to be a multiple of the second: take config.json from the model's repository."
            )
        return kv_heads

    def head_dim(self) -> int:
        """Width of one head: stated, or hidden size over heads. Raises ConfigError."""
        for key in ("head_dim", "hidden_size_per_head", "attention_head_dim"):
            if self.first((key,)):
                return self.count(key)
        if self.hidden % self.heads:
            raise ConfigError(
                f"{self.name}: config.json has no head_dim, and hidden_size {self.hidden} does not divide by "
                f"{self.heads} attention heads: take config.json from the model's repository."
            )
        return self.hidden // self.heads

    def is_latent(self) -> bool:
        """Whether the cache holds latent vectors (MLA)."""
        if not self.text.get("kv_lora_rank"):
            return False
        if self.model_type and self.model_type not in LATENT_MODEL_TYPES and not self.approximate:
            raise UnknownArchitecture(
                f"{self.name} ({self.model_type}) has kv_lora_rank, but is not known to cache latent vectors: "
                "measure it once with its engine, or choose another model."
            )
        return True

    def encoder(self) -> Encoder | None:
        """The image or audio tower."""
        return (
            speech_encoder(self.outer) if self.model_type in CROSS_MODEL_TYPES else encoder_of(self.outer, self.hidden)
        )

    def dtype(self) -> str:
        """The type of unquantised weights as they are served: 32 bits are served in 16."""
        dtype = str(self.first(("torch_dtype", "dtype"), default="bfloat16")).removeprefix("torch.")
        if dtype not in DTYPE_BYTES:
            raise ConfigError(f"{self.name}: config.json says torch_dtype = {dtype!r}, expected one like bfloat16.")
        return "bfloat16" if DTYPE_BYTES[dtype] != 2 else dtype

    def max_model_len(self) -> int | None:
        """What the engine takes as the longest context: the smallest stated length, extended by rope scaling."""
        lengths = [self.count(key) for key in LENGTH_KEYS if self.text.get(key) is not None]
        if not lengths:
            return None
        longest = min(lengths)
        if self.model_type in POSITIONS_FROM_PAD:
            longest -= self.count("pad_token_id", default=1, least=0) + 1
        scaling = self.first(("rope_scaling", "rope_parameters"))
        if not isinstance(scaling, Mapping) or "gemma3" in str(self.outer.get("model_type")) + self.model_type:
            return longest
        kind = str(scaling.get("rope_type") or scaling.get("type") or "default")
        factor = scaling.get("factor")
        if kind == "longrope":
            return self.count("original_max_position_embeddings", default=longest)
        if kind in ROPE_WITHOUT_FACTOR or isinstance(factor, bool) or not isinstance(factor, int | float):
            return longest
        if not 1 <= factor <= LARGEST:
            raise ConfigError(f"{self.name}: config.json says rope factor {factor!r}, expected at least 1.")
        return int(longest * factor)


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the config that describes the decoder: nested in multimodal models."""
    for key in TEXT_CONFIG_KEYS:
        nested = config.get(key)
        if isinstance(nested, Mapping):
            return text_config(nested)
    return config
