"""The plan as a value: what one host serves, on which GPUs, with every engine argument and the arithmetic behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal

from ingot.sizing.errors import PlanError
from ingot.sizing.memory import MemoryBreakdown
from ingot.sizing.throughput import Throughput

SCHEMA = 2

#: vLLM's words for it: the host's memory is filled with the files first, or pages are read as they are used.
Way = Literal["prefetch", "lazy"]


@dataclass(frozen=True, slots=True)
class Loading:
    """How a start reads `file_bytes` of weights: `free_bytes` of the host's memory were free for them."""

    way: Way
    file_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """One engine process group: which weights on which GPUs, with every argument that sizing decides.

    `memory` is that of the tightest GPU. `kv_cache_tokens` and `max_concurrency` (sequences of `max_model_len` at
    once) are what the cache is expected to hold with the margin already taken off: blocks of `block_bytes`, of which
    a sequence takes `sequence_blocks`. `dtype` is what unquantised weights are served in; `auto` leaves it to the
    model. Of several data parallel ranks, which share their experts (`expert_parallel`), all figures are of one, but
    `max_concurrency` and `estimate` are of all. `kv_offload_gib` of the host's memory keep what the cache drops.
    `engine` is what serves it; figures of a replica without a GPU are of the host's memory. `hosts` serve it together,
    the head first (none: this host alone): each with GPUs of its own, of which `gpu_uuids` are this host's. `loading`
    is how a start reads its weights; None leaves that to the engine.
    """

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
    max_concurrency: float = 0.0
    kv_bytes_needed: int = 0
    block_bytes: int = 0
    sequence_blocks: int = 0
    dtype: str = "auto"
    gpu_name: str = ""
    estimate: Throughput | None = None
    notes: tuple[str, ...] = ()
    expert_parallel: bool = False
    kv_offload_gib: float | None = None
    engine: str = "vllm"
    hosts: tuple[str, ...] = ()
    loading: Loading | None = None

    def to_dict(self) -> dict[str, Any]:
        """The replica as JSON-able values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("gpu_uuids", "gpu_indices", "notes", "hosts"):
            values[name] = list(values[name])
        values["memory"] = self.memory.to_dict()
        values["estimate"] = asdict(self.estimate) if self.estimate else None
        if self.engine == "vllm":
            # As versions wrote it that knew no other.
            del values["engine"]
        if not self.hosts:
            del values["hosts"]
        if self.loading is None:
            del values["loading"]
        else:
            values["loading"] = asdict(self.loading)
        return values

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ReplicaPlan:
        """The replica that `to_dict` wrote. Raises PlanError."""
        try:
            values = {
                field.name: stored[field.name]
                for field in fields(cls)
                if field.name in stored or field.default is MISSING
            }
            for name in ("gpu_uuids", "gpu_indices", "notes", "hosts"):
                values[name] = tuple(values.get(name, ()))
            values["memory"] = MemoryBreakdown.from_dict(values["memory"])
            values["estimate"] = Throughput(**values["estimate"]) if values["estimate"] else None
            values["loading"] = Loading(**values["loading"]) if values.get("loading") else None
        except (KeyError, TypeError) as error:
            raise PlanError(f"A stored replica cannot be read ({error}): deploy again.") from error
        return cls(**values)


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What one host serves."""

    host: str
    engine: str
    replicas: tuple[ReplicaPlan, ...]

    def engine_of(self, replica: ReplicaPlan) -> str:
        """What serves one of its replicas: the plan's engine with its version, or another that is beside it."""
        return self.engine if replica.engine == "vllm" else replica.engine

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
        try:
            return cls(stored["host"], stored["engine"], tuple(ReplicaPlan.from_dict(r) for r in stored["replicas"]))
        except (KeyError, TypeError) as error:
            raise PlanError(f"The stored plan cannot be read ({error}): deploy again.") from error
