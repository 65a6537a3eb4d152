"""Which GPUs of a host Ingot may use: `gpus_use` names them by UUID or index, and the others are left alone."""

from __future__ import annotations

from collections.abc import Sequence

from ingot.errors import IngotError
from ingot.facts.smi_fault import Fault, GpuFault
from ingot.sizing import GPU

#: The value `gpus_use`: UUIDs and indices of GPUs, None for all.
Use = Sequence[int | str] | None
#: Faults of single GPUs: where Ingot may not use those, the others serve.
OF_ONE_GPU = frozenset({Fault.LOST, Fault.NEEDS_RESET, Fault.UNKNOWN_ERROR, Fault.NO_INSTANCES, Fault.OTHER})


def chosen(gpus: Sequence[GPU], use: Use) -> tuple[GPU, ...]:
    """The GPUs that `use` names, in the host's order; all of them where it is None.

    An instance (MIG) is named by its own UUID, or by its index among the host's usable devices.

    Raises: IngotError, one sentence without the host's name, when it names one that is not there.
    """
    if use is None:
        return tuple(gpus)
    wanted = {str(name).lower() for name in use}
    found = [gpu for gpu in gpus if wanted & {str(gpu.index), gpu.uuid.lower()}]
    known = {name for gpu in found for name in (str(gpu.index), gpu.uuid.lower())}
    unknown = sorted(wanted - known)
    if unknown:
        there = ", ".join(f"{gpu.index} ({gpu.uuid})" for gpu in gpus) or "none"
        raise IngotError(f"gpus_use names {unknown[0]}, expected GPUs of this host: {there}; correct gpus_use")
    return tuple(found)


def answering(found: Sequence[GPU] | GpuFault, use: Use) -> tuple[GPU, ...] | GpuFault:
    """The GPUs that Ingot may use, or the fault that keeps them away; a fault of a GPU left alone is not Ingot's.

    Raises: IngotError, as `chosen`.
    """
    if not isinstance(found, GpuFault):
        return chosen(found, use)
    if use is None or found.kind not in OF_ONE_GPU:
        return found
    try:
        return chosen(found.healthy, use)
    except IngotError:
        return found
