"""nginx in front of the engines: TLS, keys, an allow-list of routes."""

from pyinfra.api import deploy

from ingot.operations import gateway as operations
from ingot.operations import packages, units


@deploy("Gateway")
def gateway() -> None:
    """Serve callers on port 443, the only port that is open to them."""
    operations.supported(name="nginx with njs is available")
    packages.packages(name="nginx", names=operations.PACKAGES)
    operations.site(name="Certificate, keys and nginx configuration")
    units.units(units.Unit("nginx"), name="nginx runs and starts at boot")
    operations.in_effect(name="Callers meet it on port 443")
