"""From GPUs, models and workloads to what runs where, with every engine argument and the arithmetic behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ingot.sizing.attention import FullAttention, LatentAttention
from ingot.sizing.calibration import Calibration
from ingot.sizing.engine import EngineProfile
from ingot.sizing.errors import PlanError, SizingError
from ingot.sizing.hardware import GPU, Hardware
from ingot.sizing.memory import MemoryBreakdown, Term
from ingot.sizing.request import ModelRequest, Variant
from ingot.sizing.split import Parallel, tensor_sizes
from ingot.sizing.units import GIB, ceil_div, gib, show_gib
from ingot.sizing.weights import stage_weights

SCHEMA = 1


class DoesNotFit(SizingError):
    """No plan exists. `str()` is one sentence; `table` is the arithmetic as rows of (what, value)."""

    def __init__(self, sentence: str, table: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(sentence)
        self.table = tuple(table)


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """One engine process group: which weights on which GPUs, with every argument that sizing decides."""

    model: str
    variant: str
    repository: str
    revision: str | None
    gpu_uuids: tuple[str, ...]
    gpu_indices: tuple[int, ...]
    tensor_parallel_size: int
    pipeline_parallel_size: int
    data_parallel_size: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    kv_cache_dtype: str
    quantization: str
    kv_cache_tokens: int
    memory: MemoryBreakdown

    def to_dict(self) -> dict[str, Any]:
        """The replica as JSON-able values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["gpu_uuids"], values["gpu_indices"] = list(self.gpu_uuids), list(self.gpu_indices)
        values["memory"] = self.memory.to_dict()
        return values

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ReplicaPlan:
        """The replica that `to_dict` wrote. Raises PlanError."""
        try:
            values = {field.name: stored[field.name] for field in fields(cls)}
        except KeyError as error:
            raise PlanError(f"A stored replica lacks {error}: deploy again.") from error
        values["gpu_uuids"], values["gpu_indices"] = tuple(values["gpu_uuids"]), tuple(values["gpu_indices"])
        values["memory"] = MemoryBreakdown.from_dict(values["memory"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What one host serves."""

    host: str
    engine: str
    replicas: tuple[ReplicaPlan, ...]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-able values."""
        return {
            "schema": SCHEMA,
            "host": self.host,
            "engine": self.engine,
            "replicas": [replica.to_dict() for replica in self.replicas],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> HostPlan:
        """The plan that `to_dict` wrote. Raises PlanError."""
        if stored.get("schema") != SCHEMA:
            raise PlanError(f"The stored plan has schema {stored.get('schema')!r}, expected {SCHEMA}: deploy again.")
        return cls(stored["host"], stored["engine"], tuple(ReplicaPlan.from_dict(r) for r in stored["replicas"]))


def plan_host(
    hardware: Hardware,
    requests: Sequence[ModelRequest],
    *,
    engine: EngineProfile,
    calibrations: Sequence[Calibration] = (),
) -> HostPlan:
    """What `hardware` serves of `requests`. Raises DoesNotFit, HardwareError or another SizingError."""
    free = list(hardware.ordered)
    replicas: list[ReplicaPlan] = []
    for request in sorted(requests, key=lambda request: request.model.name):
        made = 0
        while request.replicas is None or made < request.replicas:
            replica = _replica(free, request, engine)
            if replica is None:
                break
            replicas.append(replica)
            free = [gpu for gpu in free if gpu.uuid not in replica.gpu_uuids]
            made += 1
            if request.replicas is None and len(requests) > 1:
                break
        if not made:
            largest = max((gpu.cuda_free_bytes for gpu in free), default=0)
            raise DoesNotFit(
                f"{hardware.host}: {request.model.name} with {request.workload.context} tokens for "
                f"{request.workload.concurrency} sequences does not fit on {len(free)} free GPUs (largest "
                f"{show_gib(largest)}): ask for less context, fewer sequences or another host."
            )
    return HostPlan(hardware.host, engine.label, tuple(replicas))


def _replica(free: Sequence[GPU], request: ModelRequest, engine: EngineProfile) -> ReplicaPlan | None:
    for variant in request.model.variants:
        if request.variant not in (None, variant.name):
            continue
        for tensor in tensor_sizes(variant.architecture, len(free)):
            replica = _try(free[:tensor], request, variant, engine)
            if replica is not None:
                return replica
    return None


def _try(gpus: Sequence[GPU], request: ModelRequest, variant: Variant, engine: EngineProfile) -> ReplicaPlan | None:
    parallel = Parallel(len(gpus))
    tightest = min(gpus, key=lambda gpu: gpu.cuda_total_bytes)
    total = tightest.cuda_total_bytes
    utilization = math.floor(min(engine.utilization, *(g.cuda_free_bytes / g.cuda_total_bytes for g in gpus)) * 100)
    requested = total * utilization // 100
    weights = max(stage_weights(variant.architecture, variant.quantization, parallel))
    seqs = request.workload.concurrency
    activation = max(int(9.65 * seqs * variant.architecture.vocab_size * 4), gib(0.3))
    graphs, non_torch = gib(0.5), gib(0.3)
    kv = requested - weights - activation - graphs - non_torch
    token = sum(
        layer.attention.token_bytes(parallel.tensor, 2)
        for layer in variant.architecture.layers
        if isinstance(layer.attention, FullAttention | LatentAttention)
    )
    need = token * 16 * ceil_div(request.workload.context, 16) * seqs
    if kv < need:
        return None
    default = "a default until the engine's own arithmetic stands here"
    breakdown = MemoryBreakdown(
        total=Term(total, "derived", tightest.cuda_total_band_bytes, "driver total - reserved", "nvidia-smi"),
        weights=Term(weights, "derived", weights // 50, "parameters x bytes / ranks", "config.json"),
        kv_cache=Term(kv, "derived", GIB, "budget - all other terms", "vLLM determine_available_memory"),
        activation=Term(activation, "default", gib(0.3), "9.65 x sequences x vocabulary x 4", default),
        graphs=Term(graphs, "default", gib(0.4), "0.5 GiB", default),
        non_torch=Term(non_torch, "default", gib(0.2), "0.3 GiB", default),
        other=Term(0, "derived", 0, "0", "none"),
        margin=Term(0, "derived", 0, "0", "none"),
        free=Term(total - requested, "derived", 0, "total x (1 - utilization)", "gpu_memory_utilization"),
    )
    return ReplicaPlan(
        model=request.model.name,
        variant=variant.name,
        repository=variant.repository,
        revision=variant.revision,
        gpu_uuids=tuple(gpu.uuid for gpu in gpus),
        gpu_indices=tuple(gpu.index for gpu in gpus),
        tensor_parallel_size=parallel.tensor,
        pipeline_parallel_size=1,
        data_parallel_size=1,
        max_model_len=request.workload.context,
        max_num_seqs=seqs,
        max_num_batched_tokens=max(2048, seqs),
        gpu_memory_utilization=utilization / 100,
        kv_cache_dtype="auto",
        quantization=variant.quantization,
        kv_cache_tokens=kv // token if token else 0,
        memory=breakdown,
    )
