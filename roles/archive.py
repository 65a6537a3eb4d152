"""The distribution's own archive, where the host's own description of it cannot be used."""

from pyinfra.api import deploy

from ingot.operations import archive as operations


@deploy("Archive")
def archive() -> None:
    """Have the distribution's packages come from the site's archive, where it names one."""
    operations.archive(name="Packages of the distribution")
