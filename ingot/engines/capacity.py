"""Whether a replica that has started has the room for its cache that its plan promised. Pure."""

from __future__ import annotations

from ingot.engines.observed import Observed
from ingot.sizing import ReplicaPlan

#: An engine logs GiB with two digits behind the point.
ROUNDING_BYTES = 1024**3 // 100


def off_gpus(plan: ReplicaPlan, found: Observed) -> str | None:
    """What a replica that was given GPUs leaves to the host's processor, as a clause; None where it does not say so.

    An engine that finds no usable GPU goes on without one.
    """
    if not plan.gpu_uuids or found.layers is None or found.layers_on_gpus == found.layers:
        return None
    return (
        f"has {found.layers_on_gpus or 0} of its {found.layers} layers on its GPUs, its plan has all of them there; "
        "the processor computes the others, slowly"
    )


def shortfall(plan: ReplicaPlan, found: Observed) -> str | None:
    """What a started engine lacks, as a clause; None where it has what its plan allows.

    The plan's figures have its margin taken off, which is the band of the prediction: less is not an estimate that was
    a little off, but something else in the GPU's memory, or a wrong prediction. Not judged are models without a
    cache, engines that say nothing of theirs, and a start that compiled where the plan follows one that did not: the
    next start has that memory back (docs/sizing.md).
    """
    if plan.kv_cache_tokens <= 0 or (found.compiled and plan.memory.activation.basis == "measured"):
        return None
    if found.available_kv_bytes is not None:
        short = found.available_kv_bytes < plan.memory.kv_cache.bytes - ROUNDING_BYTES
    else:
        short = found.kv_cache_tokens is not None and found.kv_cache_tokens < plan.kv_cache_tokens
    if not short:
        return None
    has = f"{found.kv_cache_tokens:,} tokens" if found.kv_cache_tokens is not None else "less"
    words = f"has room for {has} of cache, its plan allows no fewer than {plan.kv_cache_tokens:,}"
    if found.available_kv_bytes is None:
        return words
    return f"{words} ({found.available_kv_bytes / 1024**3:.2f} of {plan.memory.kv_cache.bytes / 1024**3:.2f} GiB)"


def beyond(plan: ReplicaPlan, found: Observed) -> str | None:
    """What a replica takes beyond its plan and that plan's bands, as a clause; None where it does not, or says nothing.

    Without a GPU of its cache and what it computes in: its weights are a file that the host maps, beside which a
    processor may keep some of them in another order, so that their sum says little.
    """
    memory = plan.memory
    if plan.gpu_uuids and found.gpu_bytes is not None:
        allowed = sum(one.bytes for one in (memory.weights, memory.kv_cache, memory.activation, memory.margin))
        if found.gpu_bytes <= allowed + ROUNDING_BYTES:
            return None
        return (
            f"took {found.gpu_bytes / 1024**3:.2f} GiB of a GPU, its plan allows no more than {allowed / 1024**3:.2f}"
        )
    if plan.gpu_uuids or found.available_kv_bytes is None or found.activation_bytes is None:
        return None
    planned = sum(one.bytes for one in (memory.kv_cache, memory.activation, memory.margin))
    taken = found.available_kv_bytes + found.activation_bytes
    if taken <= planned + ROUNDING_BYTES:
        return None
    return (
        f"took {taken / 1024**3:.2f} GiB of the host's memory beside its weights, its plan allows no more than "
        f"{planned / 1024**3:.2f}"
    )
