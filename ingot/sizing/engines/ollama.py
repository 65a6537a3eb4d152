"""What Ollama from 0.30 on takes of a GPU: it starts llama-server, so llama.cpp's arithmetic with its own defaults.

Source: Ollama, `llm/llama_server.go` (arguments), `server/routes.go` (context), `server/sched.go` (slots).
"""

from __future__ import annotations

from ingot.sizing.engines.llama_cpp import Settings
from ingot.sizing.units import gib

#: GiB of all GPUs from which on -> context where nobody asks for one.
CONTEXTS = ((47, 262_144), (23, 32_768), (0, 4_096))
#: Families whose requests are served one after the other, whatever is asked.
ONE_SLOT = frozenset({"lfm2", "lfm2moe", "mllama", "nemotron_h", "nemotron_h_moe", "qwen35", "qwen35moe", "qwen3next"})
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
    micro_batch: int = 512,
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
