"""The NVIDIA driver: decided from PCI ids, installed from a pinned source, running without a reboot where it can."""

from pyinfra.api import deploy

from ingot.operations.driver import driver as operations
from ingot.operations.gateway import fronting
from ingot.operations.serving import planning


@deploy("Driver")
def driver() -> None:
    """Have every GPU of the host answer through the driver that suits it."""
    if fronting.has_no_engine() or not planning.needs_gpu():
        return
    operations.driver(name="Have the NVIDIA driver run")
