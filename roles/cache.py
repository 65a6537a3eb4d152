"""The model cache: the weights that the plan serves, on the host's disk and verified."""

from pyinfra.api import deploy

from ingot.operations.gateway import fronting
from ingot.operations.serving import images
from ingot.operations.weights import models, peers, scrub, transfers


@deploy("Cache")
def cache() -> None:
    """Have every planned variant's files, readable by the engine and writable by root alone."""
    if fronting.has_no_engine():
        return
    images.begun(name="Begin to bring the engine's image")
    transfers.needed(early=False, name="See which hosts lack weights")
    peers.serving(name="Serve weights to hosts that lack them")
    models.cached(name="Weights, verified")
    scrub.scheduled(name="Read them again now and then")
