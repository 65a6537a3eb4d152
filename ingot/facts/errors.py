"""The one error that Ingot's parsers raise."""

from __future__ import annotations


class ParseError(ValueError):
    """A recorded output is not what its format allows; `str()` is one sentence naming what was found."""
