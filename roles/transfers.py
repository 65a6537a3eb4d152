"""Transfers that need nothing but the network: they begin before the slow steps, which do not wait for them."""

from pyinfra.api import deploy

from ingot.operations.gateway import fronting
from ingot.operations.weights import peers
from ingot.operations.weights import transfers as operations


@deploy("Transfers")
def transfers() -> None:
    """Have the weights of the host's plan on their way; the cache's role waits for them and verifies them."""
    if fronting.has_no_engine():
        return
    operations.needed(early=True, name="See which hosts lack weights")
    peers.serving(name="Serve weights to hosts that lack them")
    operations.transfers(name="Begin to fetch weights")
