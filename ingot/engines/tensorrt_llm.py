"""TensorRT-LLM's server: a planned replica becomes the container that serves it (flags as of 1.2).

Read from its source; it never ran here: see docs/engines.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ingot.engines.container import container
from ingot.engines.engine import Engine, Replica, Values
from ingot.engines.minimums import oldest
from ingot.engines.observed import Observed
from ingot.engines.service import MODEL_AT, Service
from ingot.sizing.engines.tensorrt_llm import SHARE

#: Callers' name of the model is the last part of its directory: the gateway gives it that name.
CACHE = "/cache"
#: Each of the first three alone turns its telemetry off, which is on; all are set.
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "TELEMETRY_DISABLED": "true",
    "TRTLLM_NO_USAGE_STATS": "1",
    "HF_HOME": f"{CACHE}/huggingface",
    "HF_HUB_OFFLINE": "1",
    "HOME": CACHE,
    "TRANSFORMERS_OFFLINE": "1",
    "XDG_CACHE_HOME": CACHE,
}
#: It compiles kernels and captures graphs at its first start.
START_BASE_S = 900
HEALTH = "/health"

_GIB = 1024**3
_CACHE = re.compile(r"\[MemUsageChange\] Allocated ([\d.]+) GiB for max tokens in paged KV cache \((\d+)\)")
_WEIGHTS = re.compile(r"Memory used after loading model weights \(inside torch\)\D*([\d.]+) GiB")
_BLOCK = re.compile(r"[Nn]umber of tokens per block: (\d+)|tokens per block=(\d+)")
_BLOCKS = re.compile(r"Number of blocks in KV cache primary pool: (\d+)|primary blocks=(\d+)")
LOG_LINES = "MemUsageChange|Memory used after loading model weights|tokens per block|primary (pool|blocks)"


def service(replica: Replica, values: Values) -> Service:
    """The container of one replica."""
    directory = f"{MODEL_AT}/{replica.served_name.rpartition('/')[2]}"
    return container(
        replica,
        values,
        ("trtllm-serve", directory, *_flags(replica, values)),
        ENVIRONMENT,
        engine=TENSORRT_LLM.name,
        model_at=directory,
        cache_at=CACHE,
        health_path=HEALTH,
        start_base_s=START_BASE_S,
    )


def _flags(replica: Replica, values: Values) -> tuple[str, ...]:
    plan = replica.plan
    flags: dict[str, object] = {
        "--backend": "pytorch",
        "--host": "0.0.0.0",
        "--port": values.port,
        "--tp_size": plan.tensor_parallel_size,
        "--pp_size": plan.pipeline_parallel_size,
        "--max_batch_size": plan.max_num_seqs,
        "--max_num_tokens": plan.max_num_batched_tokens,
        "--max_seq_len": plan.max_model_len,
        # Of what is free after weights and a trial run, unlike vLLM's share of the whole.
        "--kv_cache_free_gpu_memory_fraction": SHARE,
    }
    if plan.expert_parallel:
        flags["--ep_size"] = plan.tensor_parallel_size
    return tuple(part for flag, value in flags.items() for part in (flag, str(value)))


def observe(log: Iterable[str], metrics: Iterable[str]) -> Observed:
    """The numbers in its log. The AutoDeploy backend announces 0.00 GiB, which is not the truth: no size then."""
    weights = cache = tokens = block = blocks = 0
    for line in log:
        if found := _CACHE.search(line):
            cache, tokens = max(cache, int(float(found[1]) * _GIB)), int(found[2])
        elif found := _WEIGHTS.search(line):
            weights = max(weights, int(float(found[1]) * _GIB))
        if found := _BLOCK.search(line):
            block = int(found[1] or found[2])
        if found := _BLOCKS.search(line):
            blocks = int(found[1] or found[2])
    return Observed(
        weights_bytes=weights or None,
        available_kv_bytes=cache or None,
        kv_cache_tokens=tokens or None,
        num_blocks=blocks or None,
        block_size=block or None,
    )


TENSORRT_LLM = Engine(
    name="tensorrt-llm",
    title="TensorRT-LLM",
    builds=("cuda",),
    model_form="directory",
    kinds=frozenset({"generate"}),
    needs_gpu=True,
    # It ends within ten seconds.
    drains=False,
    accounts=False,
    # Not read in its source, so the gateway checks.
    checks_names=False,
    frees_unstreamed=False,
    warm_up=False,
    minimum=oldest("tensorrt-llm"),
    log_lines=LOG_LINES,
    observe=observe,
    service=service,
)
