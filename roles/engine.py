"""The engine: image on the host, a plan from measured GPUs, replicas that answer, back by themselves after a boot."""

from pyinfra.api import deploy

from ingot.operations import units
from ingot.operations.gateway import fronting
from ingot.operations.serving import engine as engines
from ingot.operations.serving import images, replica_watch


@deploy("Engine")
def engine() -> None:
    """Have the planned replicas serve, replaced one at a time, each proven by a completion."""
    if fronting.has_no_engine():
        return
    engines.places(name="Make directories and the boot unit")
    images.brought(name="Have the image")
    engines.outlook(name="See what is replaced")
    engines.replicas(name="Serve the plan")
    units.units(units.Unit("ingot-engine.service"), replica_watch.unit(), name="Start at boot, and watch the replicas")
