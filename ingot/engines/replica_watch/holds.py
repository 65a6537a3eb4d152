"""What shall be held out of the pool, out of what is wrong with GPUs and with replicas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from ingot.engines.replica_watch.gpus import Gpu
from ingot.engines.replica_watch.settings import Replica


def wanted_holds(
    replicas: Iterable[Replica],
    gpus: Mapping[str, Gpu] | None,
    parents: Mapping[str, str],
    troubles: Mapping[str, str],
    now: Mapping[str, Any],
) -> dict[str, dict[str, str]]:
    """What should be held out, by address: GPU, reason, and since when.

    `gpus` are None where the driver tells nothing: what it is the reason for stays as it is. `parents` are the GPUs of
    MIG instances, `troubles` what is wrong with replicas, by address. A failed GPU is the better reason.
    """
    holds = {}
    for replica in replicas:
        held = now.get(replica.address)
        gpu, why = _gpu_trouble(replica, gpus, parents, held)
        why = why or troubles.get(replica.address)
        if why:
            since = held["since"] if held and "since" in held else _now()
            holds[replica.address] = {"gpu": gpu, "why": why, "since": since}
    return holds


def _gpu_trouble(
    replica: Replica, gpus: Mapping[str, Gpu] | None, parents: Mapping[str, str], held: Mapping[str, str] | None
) -> tuple[str, str | None]:
    if gpus is None:
        return (held["gpu"], held["why"]) if held and held.get("gpu") else ("", None)
    for uuid in replica.gpus:
        gpu = gpus.get(parents.get(uuid, uuid))
        trouble = gpu.trouble if gpu else "it does not answer any more"
        if trouble:
            return uuid, trouble
    return "", None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")  # noqa: UP017 (python 3.10)
