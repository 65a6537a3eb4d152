"""Text that must not be shown: pyinfra logs what a fact is asked with."""

from __future__ import annotations


class Hidden(str):
    """Text for a standard input: pyinfra logs a fact's arguments, and shows this one masked."""

    __slots__ = ()

    def __str__(self) -> str:
        return "*MASKED*"

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return str(self)
