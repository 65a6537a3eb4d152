"""By which plan each model is served, so that only figures of the same are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ingot.monitoring.collector.figures import Figures
from ingot.monitoring.collector.stored import stored

#: What makes two plans the same for speed: all that the engine is told, not on which of equal GPUs it runs.
_SHAPE = (
    "variant", "repository", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size",
    "max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "kv_cache_dtype",
    "quantization", "dtype", "expert_parallel", "kv_offload_gib",
)  # fmt: skip


def digest(replicas: Sequence[Mapping[str, Any]]) -> str:
    """A few characters that are the same for replicas of one model, as JSON-able values, that are told the same."""
    shapes = sorted(json.dumps({name: one[name] for name in _SHAPE}, sort_keys=True) for one in replicas)
    return hashlib.sha256("".join(shapes).encode()).hexdigest()[:8]


def collect(figures: Figures, settings: Mapping[str, Any]) -> bool:
    """The plan of each model by the stored plan."""
    plan = stored(Path(settings["state"], "plan.json"), {}).get("plan", {})
    of_model: dict[str, list[Mapping[str, Any]]] = {}
    for one in plan.get("replicas", []):
        of_model.setdefault(one["model"], []).append(one)
    for model, replicas in of_model.items():
        try:
            told = digest(replicas)
        except KeyError:
            # As an older version wrote it: the next deploy writes all.
            continue
        figures.add(
            "ingot_model_plan",
            1,
            model=model,
            engine=plan["engine"],
            gpu=replicas[0].get("gpu_name") or "GPU",
            gpus=str(len({uuid for one in replicas for uuid in one["gpu_uuids"]})),
            plan=told,
        )
    return True
