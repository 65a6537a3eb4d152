"""The disk for models: before anything is fetched, so that nothing of it lands elsewhere."""

from pyinfra.api import deploy

from ingot.operations.gateway import fronting
from ingot.operations.weights import disk as operations


@deploy("Disk")
def disk() -> None:
    """Have the disk that is named for models formatted, if it is empty, and mounted."""
    if fronting.has_no_engine():
        return
    operations.mounted(name="The disk for models, mounted")
