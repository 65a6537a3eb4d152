"""What goes wrong with test hosts, as one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from ingot.errors import IngotError


class SandboxError(IngotError):
    """A test host or its machine cannot do what was asked: says which, what was found and what to do."""


class CommandFailed(SandboxError):
    """A command ended with another status than promised, or not within its time."""


@contextmanager
def in_one_sentence(what: str) -> Iterator[None]:
    """Turn an error of this machine (a full disk, a read-only one) into a SandboxError."""
    try:
        yield
    except OSError as problem:
        # A write to a full disk names no file.
        why = ": ".join(str(word) for word in (problem.strerror or problem, problem.filename) if word)
        raise SandboxError(f"{what}: {why}; mend that and say it again, it goes on where it stopped") from problem
