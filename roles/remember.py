"""What now serves is kept on the host, to go back to: the last role, so that all before it is proven."""

from pyinfra.api import deploy

from ingot.operations.rollback import keep


@deploy("Remember")
def remember() -> None:
    """Keep the state that this deploy came to, and as many before it as `rollback_keep` says."""
    keep.keep(name="Keep what serves, to go back to")
