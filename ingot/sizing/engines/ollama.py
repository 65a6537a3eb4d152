"""What Ollama from 0.30 on takes of a GPU: it starts llama-server, so llama.cpp's arithmetic with its own defaults.

Source: Ollama, `llm/llama_server.go` (arguments), `server/routes.go` (context), `server/sched.go` (slots).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ingot.sizing.engines.llama_blocks import blocks
from ingot.sizing.engines.llama_cpp import Demand, Settings, Shape, StateLayer, demands, padded
from ingot.sizing.errors import WorkloadError
from ingot.sizing.request import Variant
from ingot.sizing.split import Parallel
from ingot.sizing.units import ceil_div, gib
from ingot.sizing.weights import stage_weights

#: GiB of all GPUs from which on -> context where nobody asks for one.
CONTEXTS = ((47, 262_144), (23, 32_768), (0, 4_096))
#: Families whose requests are served one after the other, whatever is asked.
ONE_SLOT = frozenset({"lfm2", "lfm2moe", "mllama", "nemotron_h", "nemotron_h_moe", "qwen35", "qwen35moe", "qwen3next"})
#: Tokens that it works on at once where it is told so (`num_batch`); else it takes up to 2,048, as its estimate allows.
BATCH = 512
#: How far weights may be off that are known by the size of their file, and by the model's shapes alone.
FILE_BAND, SHAPES_BAND = 0.0, 0.02
#: GPUs older than these compute without flash attention, which takes more. Source: ml/device.go.
FLASH_CAPABILITY = (7, 0)
#: Layers of one file are in several formats: how much more than an even share of it those of one GPU may hold.
SPLIT_BAND = 0.05
#: The output's format is often a heavier one than the layers'.
OUTPUT_SHARE = 1.5
#: Its own first estimate stands against this share of free memory before other models are put out.
PREDICTED_SHARE = 0.8


def default_context(gpu_bytes: int) -> int:
    """Tokens of a context where nobody asks for one."""
    return next(context for least, context in CONTEXTS if gpu_bytes >= gib(least))


def settings(
    context: int,
    parallel: int = 1,
    *,
    architecture: str = "",
    cache_type: str = "f16",
    micro_batch: int = BATCH,
) -> Settings:
    """llama-server's settings: `context` is that of one request, the server's is as many times larger."""
    slots = 1 if architecture in ONE_SLOT else parallel
    return Settings(
        context=context * slots,
        parallel=slots,
        micro_batch=micro_batch,
        key_type=cache_type,
        value_type=cache_type,
    )


def predicted(file_bytes: int, layers: int, least_kv_heads: int, head_dim: int, context: int, parallel: int) -> int:
    """Ollama's own first estimate: f16 whatever the cache's type. Source: llm/llama_server.go, PredictServerVRAM."""
    return file_bytes + 2 * layers * least_kv_heads * head_dim * context * parallel * 2


def on_gpus(
    variant: Variant, free: Sequence[int], context: int, sequences: int, *, flash: bool = True
) -> tuple[Demand, ...]:
    """What each GPU must hold of a model that is split by layers over GPUs with so many free bytes.

    Only the size of the file and the model's shapes are known: embeddings, which stay in the host's memory, are counted
    as if they were on GPUs, layers as if they were alike.

    Raises: WorkloadError for sequences side by side of a model whose requests Ollama serves one after the other.
    """
    kept = blocks(variant.architecture)
    if sequences > 1 and any(isinstance(one, StateLayer) for block in kept for one in block):
        raise WorkloadError(
            "it serves models with recurrent states one request after the other, and more than one is asked for"
        )
    known = variant.checkpoint_bytes
    total = known or stage_weights(variant.architecture, variant.quantization, Parallel())[0]
    output, band = 0, FILE_BAND if known else SHAPES_BAND
    if len(free) > 1:
        ends = variant.architecture.vocab_size * variant.architecture.hidden_size / variant.architecture.parameters
        output, band = int(total * min(ends * OUTPUT_SHARE, 0.5)), band + SPLIT_BAND
    shape = Shape(
        width=variant.architecture.hidden_size,
        vocabulary=variant.architecture.vocab_size,
        layers=kept,
        heads=variant.architecture.attention_heads,
        feed_forward=variant.architecture.feed_forward,
        layer_weights=(ceil_div(total, len(kept)),) * len(kept),
        output_weights=output,
    )
    found = demands(shape, replace(settings(padded(context), sequences), flash_attention=flash), free)
    return tuple(
        replace(
            one,
            weights=replace(
                one.weights,
                band_bytes=int(one.weights.bytes * band),
                formula="an even share of the file" if len(free) > 1 else "the file",
                source="the catalog",
            ),
        )
        for one in found
    )
