"""What the sizing tests start from: the benchmark's modules, small configs, and GPUs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ingot.sizing import GPU, Hardware, Model, Variant, architecture_from_config

GIB = 1024**3
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

QWEN3_8B: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "num_hidden_layers": 36,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 12288,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def hardware(count: int, *, total_gib: float = 24, free_gib: float | None = None, nvlink: bool = False) -> Hardware:
    """A host of equal GPUs; `nvlink` joins them all."""
    gpus = tuple(
        GPU(
            index=index,
            uuid=f"GPU-{index}",
            name="NVIDIA GeForce RTX 4090",
            vram_bytes=int(total_gib * GIB),
            free_bytes=None if free_gib is None else int(free_gib * GIB),
            compute_capability=(8, 9),
            nvlink_peers=frozenset(set(range(count)) - {index}) if nvlink else frozenset(),
            reserved_bytes=0,
        )
        for index in range(count)
    )
    return Hardware("gpu-01", gpus)


def model(config: dict[str, Any] | None = None, name: str = "qwen3-8b", **schemes: int) -> Model:
    """A model with one variant per scheme (default: unquantised), the best first."""
    architecture = architecture_from_config(config or QWEN3_8B)
    chosen = schemes or {"none": 100}
    variants = [
        Variant(
            name=scheme.replace("_", "-"),
            repository=f"example/{name}-{scheme}",
            revision="0123456789abcdef0123456789abcdef01234567",
            quantization=scheme.replace("_", "-"),
            architecture=architecture,
            quality=quality,
        )
        for scheme, quality in schemes.items() or chosen.items()
    ]
    return Model(name, tuple(sorted(variants, key=lambda variant: -variant.quality)))


#: After a change that is meant: `WRITE_EXPECTED=1 pytest tests/sizing -k whole`; read the difference.
EXPECTED = Path(__file__).parent / "expected"


def as_written(name: str, title: str, lines: Iterable[str]) -> None:
    """Compare a paragraph with the one that is expected under its title."""
    now, paragraphs = "\n".join(lines), _paragraphs(name)
    if os.environ.get("WRITE_EXPECTED"):
        paragraphs[title] = now
        (EXPECTED / name).write_text("\n\n".join(f"{one}\n{text}" for one, text in paragraphs.items()) + "\n")
    assert now.split("\n") == paragraphs[title].split("\n")


def titles(name: str) -> list[str]:
    """The titles of the paragraphs that are expected."""
    return list(_paragraphs(name))


def _paragraphs(name: str) -> dict[str, str]:
    path = EXPECTED / name
    blocks = path.read_text().rstrip("\n").split("\n\n") if path.exists() else []
    return {title: text for title, _, text in (block.partition("\n") for block in blocks)}


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Each test has everything computed anew: what another one computed would hide a fault in how it comes about."""
    for name, module in list(sys.modules.items()):
        if name.startswith("ingot.sizing."):
            for one in vars(module).values():
                if hasattr(one, "cache_clear"):
                    one.cache_clear()


@pytest.fixture
def qwen3() -> dict[str, Any]:
    return dict(QWEN3_8B)
