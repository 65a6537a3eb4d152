"""The one exception that is printed as a sentence instead of a traceback, by `ingot` and by `pyinfra` alike."""

from pyinfra.api.exceptions import PyinfraError


class IngotError(PyinfraError):
    """A user's error: its text is one sentence saying what is wrong, where, and what to do next."""
