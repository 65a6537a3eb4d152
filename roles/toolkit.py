"""NVIDIA's container toolkit: containers get GPUs by CDI, under their UUIDs."""

from pyinfra.api import deploy

from ingot.operations.containers import cdi
from ingot.operations.gateway import fronting
from ingot.operations.serving import planning


@deploy("Toolkit")
def toolkit() -> None:
    """Have every GPU known to dockerd as nvidia.com/gpu=<UUID>."""
    if fronting.has_no_engine() or not planning.needs_gpu():
        return
    cdi.cdi(name="Give GPUs to containers")
