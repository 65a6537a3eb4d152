"""nginx in front of the engines: TLS, keys, an allow-list of routes."""

from pyinfra.api import deploy

from ingot.operations import units
from ingot.operations.gateway import bodies
from ingot.operations.gateway import gateway as operations


@deploy("Gateway")
def gateway() -> None:
    """Serve callers on port 443, the only port that is open to them."""
    operations.nginx(name="nginx")
    operations.site(name="Certificate, keys and nginx configuration")
    units.units(units.Unit("nginx"), bodies.timer(), name="nginx runs and starts at boot, and slow uploads end")
    operations.acme(name="Certificate from an ACME server")
    operations.in_effect(name="Callers meet it on port 443")
