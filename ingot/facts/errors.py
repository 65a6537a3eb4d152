"""The one error that Ingot's parsers raise, and how a fact returns it: as data, since raising would stop every host."""

from __future__ import annotations

from dataclasses import dataclass


class ParseError(ValueError):
    """A recorded output is not what its format allows; `str()` is one sentence naming what was found."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A look that gave no answer; `why` is the parser's sentence, without the host's name."""

    why: str = "the host did not answer."

    def sentence(self, host: str) -> str:
        """One sentence for a person."""
        return f"{host}: {self.why.rstrip('.')}; run again, and send `ingot probe {host} --record FILE` if it persists."
