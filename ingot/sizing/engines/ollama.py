"""What of Ollama from 0.30 on differs from the llama-server that it starts, by which its memory is counted.

Source: Ollama, `llm/llama_server.go` (arguments), `ml/device.go` (flash attention), `server/sched.go` (slots).
"""

from __future__ import annotations

from collections.abc import Sequence

from ingot.sizing.architecture import Architecture
from ingot.sizing.attention import GatedDeltaNet, Mamba2
from ingot.sizing.errors import WorkloadError
from ingot.sizing.hardware import GPU

#: Tokens that it works on at once where it is told so (`num_batch`); else it takes up to 2,048, as its estimate allows.
BATCH = 512
#: GPUs older than these compute without flash attention, which takes more.
FLASH_CAPABILITY = (7, 0)


def uses_flash_attention(gpus: Sequence[GPU]) -> bool:
    """Whether it has its llama-server use flash attention on these GPUs, unless it is told."""
    return all((gpu.compute_capability or FLASH_CAPABILITY) >= FLASH_CAPABILITY for gpu in gpus)


def check(architecture: Architecture, slots: int) -> None:
    """Refuse sequences side by side of a model whose requests it serves one after the other. Raises: WorkloadError."""
    if slots > 1 and any(isinstance(layer.attention, Mamba2 | GatedDeltaNet) for layer in architecture.layers):
        raise WorkloadError(
            "it serves models with recurrent states one request after the other, and more than one is asked for"
        )
