"""A run whose command ends before its input was sent: more than a channel takes before the host reads it."""

from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host

from ingot.operations.operation import operation


@operation()
def leave_unread() -> Generator[PyinfraCommand, None, None]:
    """Succeed, but on one host, without a look at the input."""
    yield StringCommand(f"exit {3 if host.name == 'run-2' else 0}", _stdin="unread " * (1 << 19))


leave_unread(name="Leave the input unread")
