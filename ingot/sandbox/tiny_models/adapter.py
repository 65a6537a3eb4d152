"""A small LoRA adapter for the small Qwen3, with random weights: it writes other letters than its base."""

from pathlib import Path
from typing import Any

from ingot.sandbox.tiny_models import directory, generator, qwen3, weights

NAME = "tiny-adapter"
RANK = 4
#: Rows of the matrices that it stands beside; each has HIDDEN columns.
TARGETS = {"q_proj": qwen3.HEADS * qwen3.HEAD_DIM, "v_proj": qwen3.KV_HEADS * qwen3.HEAD_DIM}

CONFIG: dict[str, Any] = {
    "base_model_name_or_path": generator.NAME,
    "bias": "none",
    "inference_mode": True,
    "lora_alpha": 2 * RANK,
    "lora_dropout": 0.0,
    "peft_type": "LORA",
    "r": RANK,
    "target_modules": list(TARGETS),
    "task_type": "CAUSAL_LM",
}


def make(models: Path) -> Path:
    """Writes the adapter under `models/tiny-adapter/<revision>` unless it is there, and returns that directory."""
    return directory.make(models, NAME, files())


def files() -> dict[str, bytes]:
    """The content of every file of the adapter, by its path in its directory, without the manifest."""
    tensors = {}
    for layer in range(qwen3.LAYERS):
        for target, rows in TARGETS.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{target}"
            tensors[f"{name}.lora_A.weight"] = weights.random(f"{NAME} {layer}.{target} A", RANK, qwen3.HIDDEN)
            tensors[f"{name}.lora_B.weight"] = weights.random(f"{NAME} {layer}.{target} B", rows, RANK)
    return {
        "adapter_config.json": directory.as_json(CONFIG),
        "adapter_model.safetensors": weights.safetensors(tensors),
    }
