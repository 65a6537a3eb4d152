"""What would stop a deploy is found and said before anything changes."""

from pyinfra.api import deploy

from ingot.operations.preflight import preflight as operations


@deploy("Preflight")
def preflight() -> None:
    """Refuse, with every reason at once, a host that cannot be deployed."""
    operations.preflight(name="Look before anything changes")
