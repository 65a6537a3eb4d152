"""How an engine reads its weights at a start: a host's memory filled with them first, or page by page as they are used.

vLLM 0.32 reads ahead by itself from network file systems alone (`model_executor/model_loader/weight_utils.py`). From a
local disk a map of the files reads small pieces in the order in which tensors are used. With everything read ahead in
large pieces a start of 805 GB took 12 min instead of more than 60 (vllm-project/vllm issue 40988). Files that do not
fit in memory would be read twice: what was read first is dropped before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ingot.sizing.engine import EngineProfile
from ingot.sizing.hardware import Hardware
from ingot.sizing.plan import HostPlan, Loading, ReplicaPlan

#: Of the host's memory, free for each byte of the files: a tenth is for what else reads and writes at a start. vLLM's
#: own bound for network file systems is the same, 90 % of what is free.
FREE_PER_BYTE = 1.1


def with_loading(
    plan: HostPlan,
    files: Mapping[tuple[str, str], int],
    free_bytes: int | None,
    hardware: Hardware,
    engine: EngineProfile,
) -> HostPlan:
    """The plan with how each of vLLM's replicas reads its weights; as it is where the engine cannot be told.

    `files` are bytes of weights by model and variant, where they are known. `free_bytes` is the host's memory that
    is free or holds only what is on its disks as well (MemAvailable); None where nobody looked. What replicas keep
    there is taken off first. Models that are read ahead must fit together, in the plan's order, since a boot starts
    all of them at once; replicas of one model read the same files.

    Replicas of several hosts are left to the engine, whose processes divide what is read ahead among all hosts.
    """
    if free_bytes is None or not engine.prefetches:
        return plan
    left = max(free_bytes - sum(_kept_in_memory(one, hardware) for one in plan.replicas), 0)
    chosen: dict[tuple[str, str], Loading] = {}
    made: list[ReplicaPlan] = []
    for one in plan.replicas:
        if one.engine != engine.name or one.hosts:
            made.append(one)
            continue
        key = one.model, one.variant
        if key not in chosen:
            size = files.get(key) or one.memory.weights.bytes * max(len(one.gpu_uuids), 1)
            fits = size * FREE_PER_BYTE <= left
            chosen[key] = Loading("prefetch" if fits else "lazy", size, left)
            left -= size if fits else 0
        made.append(replace(one, loading=chosen[key]))
    return replace(plan, replicas=tuple(made))


def kept_loading(plan: HostPlan, before: HostPlan) -> HostPlan:
    """The plan whose replicas read as they did before, where they are of the same weights on the same GPUs.

    Otherwise a start that nobody asked for would follow from memory that other programs took or gave back.
    """
    was = {_place(one): one.loading for one in before.replicas}
    return replace(
        plan, replicas=tuple(replace(one, loading=was.get(_place(one), one.loading)) for one in plan.replicas)
    )


def _place(replica: ReplicaPlan) -> tuple[object, ...]:
    return replica.model, replica.variant, replica.gpu_uuids


def _kept_in_memory(replica: ReplicaPlan, hardware: Hardware) -> int:
    """What a replica keeps in the host's memory once it serves, in bytes."""
    offloaded = int((replica.kv_offload_gib or 0) * 2**30)
    if not replica.gpu_uuids:
        return offloaded + replica.memory.total.bytes - replica.memory.free.bytes
    shared = any(gpu.unified_memory and gpu.uuid in replica.gpu_uuids for gpu in hardware.gpus)
    return offloaded + (int(replica.memory.total.bytes * replica.gpu_memory_utilization) if shared else 0)
