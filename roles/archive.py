"""The distribution's own archive, where the host's own description of it cannot be used."""

from pyinfra.api import deploy

from ingot.operations import archive as operations
from ingot.operations import served_bundle


@deploy("Archive")
def archive() -> None:
    """Have the distribution's packages come from the site's archive, where it names one."""
    served_bundle.trusted(name="Trust the host that serves packages")
    operations.archive(name="Packages of the distribution")
