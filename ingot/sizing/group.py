"""One replica over several hosts: tensor parallel within a host, a pipeline stage on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ingot.sizing.engine import EngineProfile
from ingot.sizing.errors import HardwareError, WorkloadError
from ingot.sizing.hardware import GPU, Hardware
from ingot.sizing.plan import HostPlan
from ingot.sizing.planner import plan_host
from ingot.sizing.request import ModelRequest
from ingot.sizing.split import tensor_sizes


def plan_group(hardware: Hardware, request: ModelRequest, *, engine: EngineProfile) -> HostPlan:
    """The part of one host in the replica that `request.hosts` serve together; all have GPUs like those of `hardware`.

    World size is tensor times pipeline and divides by the hosts, ranks are contiguous on each (vLLM
    `config/parallel.py`), so that each host has one stage on all its GPUs. Memory is that of the tightest stage:
    embeddings lie on the first, the output head on the last, and all give the cache as many blocks as the tightest.

    Raises: DoesNotFit where it does not fit, HardwareError or WorkloadError where it cannot be cut like that.
    """
    hosts, own = request.hosts, hardware.gpus
    if len({(gpu.name, gpu.vram_bytes) for gpu in own}) > 1:
        raise HardwareError(
            f"{hardware.host}: its GPUs are of several kinds ({', '.join(sorted({gpu.name for gpu in own}))}), "
            "expected one kind on a host of a group: name those of one kind in gpus_use."
        )
    for variant in request.model.variants:
        shape = variant.architecture
        if len(own) and len(own) not in tensor_sizes(shape, len(own)):
            raise WorkloadError(
                f"{hardware.host}: {request.model.name} cannot be cut over its {len(own)} GPUs (vLLM divides "
                f"{shape.attention_heads} attention heads evenly), expected a number that divides them: name fewer "
                "in gpus_use."
            )
        if len(shape.layers) < len(hosts):
            raise WorkloadError(
                f"{hardware.host}: {request.model.name} has {len(shape.layers)} layers, expected at least one for "
                f"each of {len(hosts)} hosts: name fewer hosts."
            )
    whole = replace(hardware, gpus=tuple(_all(own, len(hosts))))
    made = plan_host(whole, [request], engine=engine)
    uuids = {gpu.uuid for gpu in own}
    parts = []
    for one in made.replicas:
        kept = [(uuid, index) for uuid, index in zip(one.gpu_uuids, one.gpu_indices, strict=True) if uuid in uuids]
        parts.append(
            replace(
                one,
                gpu_uuids=tuple(uuid for uuid, _ in kept),
                gpu_indices=tuple(index for _, index in kept),
                # Rates over a network are measured, not guessed.
                estimate=None,
                notes=(
                    f"one replica on {' and '.join(hosts)}, a pipeline stage each: when one of them ends, all are "
                    "stopped and started as one",
                    *(note for note in one.notes if "over PCIe" not in note),
                ),
                hosts=hosts,
            )
        )
    return replace(made, replicas=tuple(parts))


def _all(own: Sequence[GPU], hosts: int) -> list[GPU]:
    """The GPUs of all hosts, where the others have the same: their names are made up."""
    span = max((gpu.index for gpu in own), default=0) + 1
    return [
        replace(
            gpu,
            uuid=f"{gpu.uuid}-of-{number}" if number else gpu.uuid,
            index=gpu.index + number * span,
            nvlink_peers=type(gpu.nvlink_peers)(peer + number * span for peer in gpu.nvlink_peers),
        )
        for number in range(hosts)
        for gpu in own
    ]
