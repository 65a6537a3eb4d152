"""The container of an engine that has GPUs of its own: what is the same whichever engine it is."""

from __future__ import annotations

from collections.abc import Mapping

from ingot.engines import starts
from ingot.engines.engine import Replica, Values
from ingot.engines.service import Mount, Service

USER = "2000:0"
#: Requests that may wait in an engine beside those that it works on: the gateway gives it no more.
WAITING = 32


def container(
    replica: Replica,
    values: Values,
    argv: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    engine: str,
    model_at: str,
    cache_at: str,
    health_path: str,
    start_base_s: int,
    mounts: tuple[Mount, ...] = (),
    ready_by_answer: bool = False,
) -> Service:
    """One replica's service; its model is read-only at `model_at`, and the site's own arguments and variables win.

    `mounts` are others that it has besides.
    """
    return Service(
        name=replica.name,
        model=replica.served_name,
        image=values.image,
        argv=(*argv, *values.extra_args),
        env=tuple(sorted({**environment, **values.extra_env}.items())),
        mounts=(
            Mount(replica.model_directory, model_at),
            Mount(replica.cache_directory, cache_at, read_only=False),
            *mounts,
        ),
        devices=tuple(f"nvidia.com/gpu={uuid}" for uuid in replica.plan.gpu_uuids),
        user=USER,
        tmpfs=("/tmp:rw,nosuid,nodev,noexec,mode=1777,size=1g",),
        # Of a host whose GPUs are simulated, as vLLM's are not applied there either.
        ulimits=() if values.build == "cpu" else tuple(sorted(values.ulimits.items())),
        shm_bytes=values.shm_bytes,
        pids=values.pids,
        address=replica.address,
        port=values.port,
        health_path=health_path,
        stop_grace_s=values.stop_grace_s,
        start_deadline_s=starts.deadline_s(start_base_s, replica.weight_bytes, values.disk_bytes_per_s),
        kind=replica.kind,
        # The gateway knows which names are its own, and how much it may be given.
        aliases=replica.aliases,
        engine=engine,
        most=replica.plan.max_num_seqs + WAITING,
        ready_by_answer=ready_by_answer,
    )
