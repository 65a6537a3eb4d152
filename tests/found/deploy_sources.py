"""The package sources of every role, without their packages: what tests/found runs on a host that describes some."""

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host

from ingot.operations import packages
from ingot.operations.containers import cdi
from ingot.operations.operation import operation
from ingot.operations.package_source import upstream, vendor
from ingot.settings import of_host
from roles.preflight import preflight


@operation()
def sources() -> Generator[PyinfraCommand, None, None]:
    """Every source that a role adds on Debian 13, by its values."""
    values = of_host(host).sources
    assert values.docker and values.nginx
    every = (
        upstream("nvidia", values.nvidia_driver, "debian13/x86_64"),
        vendor("docker", values.docker, "debian", "trixie", "amd64"),
        cdi.source(values),
        vendor("nginx", values.nginx, "debian", "trixie"),
    )
    yield from packages.packages._inner(names=(), sources=tuple({one.path: one for one in every}.values()))


preflight()
sources(name="Have the package sources")
