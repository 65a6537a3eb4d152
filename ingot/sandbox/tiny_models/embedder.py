"""A small BERT, which has no KV cache, that turns a text into a vector of 64 numbers with length one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingot.sandbox.tiny_models import directory, weights
from ingot.sandbox.tiny_models.tokenizer import FIRST_SPECIAL, byte_level
from ingot.sandbox.tiny_models.weights import Tensor

NAME = "tiny-bert"

LAYERS = 2
HIDDEN = 64
INTERMEDIATE = 128
HEADS = 2
VOCABULARY = 320
POSITIONS = 512

SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]")

CONFIG: dict[str, Any] = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.0,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": POSITIONS,
    "model_type": "bert",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "pad_token_id": FIRST_SPECIAL,
    "position_embedding_type": "absolute",
    "torch_dtype": "bfloat16",
    "type_vocab_size": 2,
    "vocab_size": VOCABULARY,
}
# As sentence-transformers reads them: the first token's vector, normalised.
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
POOLING = {"word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


def make(models: Path) -> Path:
    """Writes the model under `models/tiny-bert/<revision>` unless it is there, and returns that directory."""
    return directory.make(models, NAME, files())


def files() -> dict[str, bytes]:
    """The content of every file of the model, by its path in the model directory, without the manifest."""
    return {
        "1_Pooling/config.json": directory.as_json(POOLING),
        "config.json": directory.as_json(CONFIG),
        "model.safetensors": weights.safetensors(dict(tensors())),
        "modules.json": directory.as_json(MODULES),
        "tokenizer.json": directory.as_json(byte_level(SPECIAL_TOKENS, around=("[CLS]", "[SEP]"))),
        "tokenizer_config.json": directory.as_json(
            {
                "clean_up_tokenization_spaces": False,
                "cls_token": "[CLS]",
                "model_max_length": POSITIONS,
                "pad_token": "[PAD]",
                "sep_token": "[SEP]",
                "tokenizer_class": "PreTrainedTokenizerFast",
            }
        ),
    }


def tensors() -> Iterator[tuple[str, Tensor]]:
    """Every weight of the model: its name and its values."""
    for table, rows in (("word", VOCABULARY), ("position", POSITIONS), ("token_type", 2)):
        yield f"embeddings.{table}_embeddings.weight", weights.random(f"{NAME} {table}", rows, HIDDEN)
    yield from _norm("embeddings.LayerNorm")
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}."
        for part in ("query", "key", "value"):
            yield from _linear(f"{prefix}attention.self.{part}", HIDDEN, HIDDEN)
        yield from _linear(f"{prefix}attention.output.dense", HIDDEN, HIDDEN)
        yield from _norm(f"{prefix}attention.output.LayerNorm")
        yield from _linear(f"{prefix}intermediate.dense", INTERMEDIATE, HIDDEN)
        yield from _linear(f"{prefix}output.dense", HIDDEN, INTERMEDIATE)
        yield from _norm(f"{prefix}output.LayerNorm")


def _linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", weights.random(f"{NAME} {name}", rows, columns)
    yield f"{name}.bias", weights.zeros(rows)


def _norm(name: str) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", weights.ones(HIDDEN)
    yield f"{name}.bias", weights.zeros(HIDDEN)
