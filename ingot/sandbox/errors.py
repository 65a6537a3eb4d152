"""What goes wrong with test hosts, as one sentence."""

from ingot.errors import IngotError


class SandboxError(IngotError):
    """A test host or its machine cannot do what was asked: says which, what was found and what to do."""


class CommandFailed(SandboxError):
    """A command ended with another status than promised, or not within its time."""
