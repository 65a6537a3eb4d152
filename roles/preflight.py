"""What would stop a deploy is found and said before anything changes."""

from pyinfra.api import deploy

from ingot.operations import lock
from ingot.operations.preflight import preflight as operations


@deploy("Preflight")
def preflight() -> None:
    """Hold the host for this run, and refuse, with every reason at once, a host that cannot be deployed."""
    lock.hold(purpose="deploy", name="Hold the host for this run")
    operations.preflight(name="Look before anything changes")
