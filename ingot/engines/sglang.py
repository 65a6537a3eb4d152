"""SGLang: a planned replica becomes the container that serves it (flags as of 0.5.23).

Read from its source and tested against its own list of flags; it never ran here: see docs/engines.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ingot.engines.container import WAITING, container
from ingot.engines.engine import Engine, Replica, Values
from ingot.engines.minimums import oldest
from ingot.engines.observed import Observed
from ingot.engines.service import Service

MODEL, CACHE = "/model", "/cache"
#: No hub, no page of its routes, everything that is worth keeping below CACHE. It has no telemetry.
ENVIRONMENT = {
    "DISABLE_OPENAPI_DOC": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HOME": CACHE,
    "LOGNAME": "sglang",
    "TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/inductor",
    "TRANSFORMERS_OFFLINE": "1",
    "TRITON_CACHE_DIR": f"{CACHE}/triton",
    "USER": "sglang",
    "XDG_CACHE_HOME": CACHE,
}
START_BASE_S = 420
#: State of the server: 200 when it serves. `/health` would generate a token each time.
HEALTH = "/ready"
CACHE_TYPES = {"fp8": "fp8_e4m3"}

_GIB = 1024**3
_LOADED = re.compile(r"Load weight end\..*?mem usage=([\d.]+) GB")
_CACHE = re.compile(r"KV Cache is allocated\.(?:.*?#tokens: (\d+),)? K size: ([\d.]+) GB, V size: ([\d.]+) GB")
_GRAPHS = re.compile(r"Capture cuda graph end\..*?mem usage=([\d.]+) GB")
_TOKENS = re.compile(r"max_total_num_tokens=(\d+)")
_BEFORE = re.compile(r"Load weight begin\. avail mem=([\d.]+) GB")
LOG_LINES = "Load weight (begin|end)|KV Cache is allocated|Capture cuda graph end|max_total_num_tokens="


def service(replica: Replica, values: Values) -> Service:
    """The container of one replica."""
    return container(
        replica,
        values,
        ("python3", "-m", "sglang.launch_server", *_flags(replica, values)),
        ENVIRONMENT,
        engine=SGLANG.name,
        model_at=MODEL,
        cache_at=CACHE,
        health_path=HEALTH,
        start_base_s=START_BASE_S,
    )


def _flags(replica: Replica, values: Values) -> tuple[str, ...]:
    plan = replica.plan
    flags: dict[str, object] = {
        "--model-path": MODEL,
        "--host": "0.0.0.0",
        "--port": values.port,
        "--served-model-name": replica.served_name,
        "--load-format": "safetensors",
        "--context-length": plan.max_model_len,
        "--max-running-requests": plan.max_num_seqs,
        "--max-queued-requests": WAITING,
        "--chunked-prefill-size": plan.max_num_batched_tokens,
        "--mem-fraction-static": plan.gpu_memory_utilization,
        "--tp-size": plan.tensor_parallel_size,
        "--pp-size": plan.pipeline_parallel_size,
        "--dp-size": plan.data_parallel_size,
    }
    if plan.dtype != "auto":
        flags["--dtype"] = plan.dtype
    if plan.kv_cache_dtype != "auto":
        flags["--kv-cache-dtype"] = CACHE_TYPES.get(plan.kv_cache_dtype, plan.kv_cache_dtype)
    switches = ("--enable-metrics", "--enable-cache-report")
    return (*(part for flag, value in flags.items() for part in (flag, str(value))), *switches)


def observe(log: Iterable[str], metrics: Iterable[str]) -> Observed:
    """The numbers in its log ("GB" there is GiB); ranks that differ are given by the tightest."""
    weights, caches, graphs, tokens, before = list[int](), list[int](), list[int](), list[int](), list[int]()
    for line in log:
        if found := _LOADED.search(line):
            weights.append(_bytes(found[1]))
        elif found := _CACHE.search(line):
            caches.append(_bytes(found[2]) + _bytes(found[3]))
            if found[1]:
                tokens.append(int(found[1]))
        elif found := _GRAPHS.search(line):
            graphs.append(_bytes(found[1]))
        elif found := _BEFORE.search(line):
            before.append(_bytes(found[1]))
        elif found := _TOKENS.search(line):
            tokens.append(int(found[1]))
    return Observed(
        weights_bytes=max(weights, default=None),
        available_kv_bytes=min(caches, default=None),
        graphs_bytes=max(graphs, default=None),
        free_at_start_bytes=min(before, default=None),
        kv_cache_tokens=min(tokens, default=None),
    )


def _bytes(gib: str) -> int:
    return int(float(gib) * _GIB)


SGLANG = Engine(
    name="sglang",
    title="SGLang",
    builds=("cuda",),
    model_form="directory",
    kinds=frozenset({"generate"}),
    needs_gpu=True,
    # It waits for running requests without a limit, so that the grace of the stop decides.
    drains=True,
    accounts=False,
    # Not read in its source, so the gateway checks.
    checks_names=False,
    # Callers that hang up are told to it, streamed or not.
    frees_unstreamed=True,
    warm_up=False,
    minimum=oldest("sglang"),
    log_lines=LOG_LINES,
    observe=observe,
    service=service,
)
