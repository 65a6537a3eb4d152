"""The images of the engines that a host's plan needs."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand

from ingot.operations.containers import image
from ingot.operations.operation import operation
from ingot.operations.serving import planning

Commands = Generator[PyinfraCommand, None, None]


@operation()
def begun() -> Commands:
    """Begin to bring the first image that the host lacks, and leave that at work."""
    yield from image.begun(planning.engines())


@operation()
def brought() -> Commands:
    """Have every image on the host: loaded from an archive (by id) or pulled from a registry (by digest)."""
    yield from image.brought(planning.engines())
