"""The exceptions that `ingot` prints as a sentence instead of a traceback."""


class IngotError(Exception):
    """A user's error: its text is one sentence saying what is wrong, where, and what to do next."""


class Held(IngotError):
    """Another run changes the host now: the same line may work later."""
