"""What Text Generation Inference 3.3.7 (archived) takes of each GPU: the cache takes what a trial prefill leaves.

Source: server/text_generation_server/models/flash_causal_lm.py, warmup.
"""

from __future__ import annotations

from ingot.sizing.errors import WorkloadError
from ingot.sizing.units import show_gib

#: Of each GPU's memory, how much the engine takes at most (`TGI_WIGGLE_ROOM`).
WIGGLE_ROOM = 0.90
#: Tokens of a block, by attention backend.
BLOCKS = {"flashinfer": 1, "flashdecoding": 256, "paged": 16}


def blocks(
    total: int,
    free_after_prefill: int,
    warm_up_blocks: int,
    block_bytes: int,
    fraction: float = 1.0,
) -> int:
    """Blocks of the cache.

    Raises: WorkloadError where the prefill leaves none.
    """
    left = int(free_after_prefill - (1 - fraction * WIGGLE_ROOM) * total)
    number = max(left, 0) // block_bytes + warm_up_blocks
    if number < 1:
        raise WorkloadError(
            f"Of {show_gib(total)}, a prefill leaves TGI {show_gib(free_after_prefill)}, and a tenth is kept back: no "
            "block of cache fits; make max-batch-prefill-tokens smaller."
        )
    return number


def block_bytes(layers: int, kv_heads: int, head_dim: int, tensor_parallel: int, block: int, element: float) -> int:
    """Bytes of one block on one rank."""
    return int(2 * layers * block * max(1, kv_heads // tensor_parallel) * head_dim * element)
