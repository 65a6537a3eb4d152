"""The small Qwen3 as an embedder in two numbered GGUF files (llama.cpp's tools/gguf-split, and its pooling types)."""

from pathlib import Path

from ingot.sandbox.tiny_models import directory, gguf

NAME = "tiny-gguf-embedder"
PARTS = tuple(f"tiny-embedder-0000{number}-of-00002.gguf" for number in (1, 2))
FILE = PARTS[0]
CONFIG = gguf.CONFIG
HIDDEN = gguf.HIDDEN
#: The state of the last token stands for the text, as Qwen3's embedders have it.
LAST = 3


def make(models: Path) -> Path:
    """Writes the model under `models/tiny-gguf-embedder/<revision>` unless it is there, and returns that directory."""
    return directory.make(models, NAME, files())


def files() -> dict[str, bytes]:
    """The content of its two files: the first has the keys, each about half of the weights."""
    weights = list(gguf.tensors())
    halves = (weights[: len(weights) // 2], weights[len(weights) // 2 :])
    keys = {**gguf.metadata(), "general.name": (gguf.STRING, NAME), "qwen3.pooling_type": (gguf.UINT32, LAST)}
    made = {}
    for number, (name, half) in enumerate(zip(PARTS, halves, strict=True)):
        split = {
            "split.no": (gguf.UINT16, number),
            "split.count": (gguf.UINT16, len(PARTS)),
            "split.tensors.count": (gguf.INT32, len(weights)),
        }
        made[name] = gguf.written({**(keys if number == 0 else {}), **split}, half)
    return made
