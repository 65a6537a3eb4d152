"""Docker Engine with CDI: what the engine's containers run on."""

from pyinfra.api import deploy

from ingot.operations import units
from ingot.operations.containers import docker as operations
from ingot.operations.containers import proxy
from ingot.operations.gateway import fronting


@deploy("Docker")
def docker() -> None:
    """Have dockerd running with GPUs by CDI, bounded logs, and containers that outlive its restarts."""
    if fronting.has_no_engine():
        return
    operations.engine(name="Docker Engine, Compose and daemon.json")
    units.units(units.Unit("docker", restart_on=(operations.CONFIG, *proxy.FILES)), name="dockerd runs with it")
