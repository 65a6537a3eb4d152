"""Which GPUs would serve a model: the catalog's, smallest first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ingot.catalog.load import load_gpus, peaks
from ingot.sizing import EngineProfile, HostPlan, ModelRequest, SizingError, fits, plan_host
from ingot.sizing.units import show_gib

COUNTS = (1, 2, 4, 8)
TIERS = ("entry", "mid", "large")
HEADINGS = ("tier", "GPUs", "memory", "variant", "cache", "split", "sequences", "tokens/s (estimate)")


@dataclass(frozen=True)
class Recommendation:
    """One GPU configuration that serves a request with one replica."""

    gpu: str
    count: int
    tier: str
    memory: int
    plan: HostPlan

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        replica = self.plan.replicas[0]
        split = f"TP {replica.tensor_parallel_size}"
        if replica.pipeline_parallel_size > 1:
            split += f" x PP {replica.pipeline_parallel_size}"
        if replica.data_parallel_size > 1:
            split += f" x DP {replica.data_parallel_size}"
        rate = f"{replica.estimate.output_tokens_per_s:,.0f}" if replica.estimate else "-"
        return (
            self.tier,
            f"{self.count} x {self.gpu}",
            show_gib(self.memory),
            replica.variant,
            replica.kv_cache_dtype,
            split,
            f"{replica.max_concurrency:g}",
            rate,
        )

    def to_dict(self) -> dict[str, Any]:
        """The recommendation as JSON-able values."""
        return {"gpu": self.gpu, "count": self.count, "tier": self.tier, "plan": self.plan.to_dict()}


def recommendations(request: ModelRequest, engine: EngineProfile) -> list[Recommendation]:
    """For every GPU of the catalog the fewest that serve the request, by tier and then by memory.

    Raises: SizingError for a request that no GPU could serve because it is wrong.
    """
    found = []
    one_replica = replace(request, replicas=1)
    for key, gpu in load_gpus().items():
        for count in COUNTS:
            if count > gpu.largest:
                break
            hardware = gpu.hardware(count)
            try:
                if not fits(hardware, [one_replica], engine=engine):
                    continue
                made = plan_host(hardware, [one_replica], engine=engine, peaks=peaks())
            except SizingError as error:
                raise SizingError(str(error).removeprefix(f"{hardware.host}: ")) from error
            used = len(made.replicas[0].gpu_indices)
            memory = used * gpu.hardware(1).gpus[0].vram_bytes
            found.append(Recommendation(key, used, gpu.tier, memory, made))
            break
    return sorted(found, key=lambda one: (TIERS.index(one.tier), one.memory, one.gpu))
