"""Docker Engine with CDI: what the engine's containers run on."""

from pyinfra.api import deploy

from ingot.operations import docker as operations
from ingot.operations import units


@deploy("Docker")
def docker() -> None:
    """Have dockerd running with GPUs by CDI, bounded logs, and containers that outlive its restarts."""
    operations.engine(name="Docker Engine, Compose and daemon.json")
    units.units(units.Unit("docker", restart_on=(operations.CONFIG,)), name="dockerd runs with it")
