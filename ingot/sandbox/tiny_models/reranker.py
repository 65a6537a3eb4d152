"""A small Qwen3 with a head that says how well a text answers a question: the higher, the better."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingot.sandbox.tiny_models import directory, qwen3, weights
from ingot.sandbox.tiny_models.qwen3 import HIDDEN, SPECIAL_TOKENS
from ingot.sandbox.tiny_models.tokenizer import byte_level
from ingot.sandbox.tiny_models.weights import Tensor

NAME = "tiny-reranker"

CONFIG: dict[str, Any] = {
    **qwen3.CONFIG,
    "architectures": ["Qwen3ForSequenceClassification"],
    "id2label": {"0": "LABEL_0"},
    "label2id": {"LABEL_0": 0},
    "num_labels": 1,
}


def make(models: Path) -> Path:
    """Writes the model under `models/tiny-reranker/<revision>` unless it is there, and returns that directory."""
    return directory.make(models, NAME, files())


def files() -> dict[str, bytes]:
    """The content of every file of the model, by its path in the model directory, without the manifest."""
    return {
        "config.json": directory.as_json(CONFIG),
        "model.safetensors": weights.safetensors(dict(tensors())),
        "tokenizer.json": directory.as_json(byte_level(SPECIAL_TOKENS)),
        "tokenizer_config.json": directory.as_json(qwen3.TOKENIZER),
    }


def tensors() -> Iterator[tuple[str, Tensor]]:
    """Every weight of the model: its name and its values."""
    yield from qwen3.body(NAME)
    yield "score.weight", weights.random(f"{NAME} score", 1, HIDDEN)
