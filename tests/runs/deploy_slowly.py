"""A run that holds its hosts, changes something, and goes on until it is let go: what the tests of the lock deploy."""

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand, StringCommand

from ingot.operations.operation import operation


@operation()
def change() -> Generator[PyinfraCommand, None, None]:
    """Change something, after a file that a test removes."""
    yield StringCommand("touch /run/begun; while [ -e /run/wait ]; do sleep 0.2; done; echo $$ >>/run/changed")


@operation()
def go_on() -> Generator[PyinfraCommand, None, None]:
    """A further step, which a run whose lock was broken must not take."""
    yield StringCommand("touch /run/further")


change(name="Change something")
go_on(name="Go on")
