"""Text Generation Inference 3.3.7, archived: the container that serves a planned replica.

Read from its source; it never ran here. No hole of it will be closed any more, which each deploy says: see
docs/engines.md, and `ingot migrate --from tgi`.
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
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HOME": CACHE,
    "TRANSFORMERS_OFFLINE": "1",
    "TRITON_CACHE_DIR": f"{CACHE}/triton",
    "XDG_CACHE_HOME": CACHE,
}
START_BASE_S = 420
HEALTH = "/health"
#: Seconds of the stop's grace that are left for the engine to end after it let running requests finish.
END_S = 20

_BLOCKS = re.compile(r"KV-cache blocks: (\d+), size: (\d+)")
LOG_LINES = "KV-cache blocks:"


def service(replica: Replica, values: Values) -> Service:
    """The container of one replica."""
    return container(
        replica,
        values,
        ("text-generation-launcher", *_flags(replica, values)),
        ENVIRONMENT,
        engine=TGI.name,
        model_at=MODEL,
        cache_at=CACHE,
        health_path=HEALTH,
        start_base_s=START_BASE_S,
    )


def _flags(replica: Replica, values: Values) -> tuple[str, ...]:
    plan = replica.plan
    flags: dict[str, object] = {
        "--model-id": MODEL,
        "--hostname": "0.0.0.0",
        "--port": values.port,
        "--num-shard": plan.tensor_parallel_size,
        # Those that wait are among them; what runs beside each other its cache decides.
        "--max-concurrent-requests": plan.max_num_seqs + WAITING,
        # A sequence is prompt and answer; of the prompt it wants to know by itself.
        "--max-input-tokens": max(plan.max_model_len - 1, 1),
        "--max-total-tokens": plan.max_model_len,
        "--max-batch-prefill-tokens": max(plan.max_num_batched_tokens, plan.max_model_len - 1),
        "--graceful-termination-timeout": max(values.stop_grace_s - END_S, 0),
        # On, in its image.
        "--usage-stats": "off",
    }
    return tuple(part for flag, value in flags.items() for part in (flag, str(value)))


def observe(log: Iterable[str], metrics: Iterable[str]) -> Observed:
    """The numbers in its log."""
    found = [match for line in log if (match := _BLOCKS.search(line))]
    if not found:
        return Observed()
    blocks, size = int(found[-1][1]), int(found[-1][2])
    return Observed(kv_cache_tokens=blocks * size, num_blocks=blocks, block_size=size)


TGI = Engine(
    name="tgi",
    title="Text Generation Inference",
    builds=("cuda",),
    model_form="directory",
    kinds=frozenset({"generate"}),
    needs_gpu=True,
    drains=True,
    accounts=False,
    # Not read in its source, so the gateway checks.
    checks_names=False,
    frees_unstreamed=False,
    warm_up=False,
    minimum=oldest("tgi"),
    log_lines=LOG_LINES,
    observe=observe,
    service=service,
    warning="Text Generation Inference is archived since 2026-03, and no hole of it is closed any more; move to vllm",
)
