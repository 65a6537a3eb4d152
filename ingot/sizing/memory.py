"""The arithmetic of one GPU as a sum of named terms, each saying where its number comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from ingot.sizing.errors import PlanError

Basis = Literal["measured", "derived", "default"]


@dataclass(frozen=True, slots=True)
class Term:
    """One number of the arithmetic, in bytes.

    `basis` says how it is known: *measured* on this very shape, *derived* by the engine's own formula, or a
    *default* taken from starts of other models. `band_bytes` is how far the truth may be on either side.
    """

    bytes: int
    basis: Basis
    band_bytes: int
    formula: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """The term as JSON-able values."""
        return {
            "bytes": self.bytes,
            "basis": self.basis,
            "band_bytes": self.band_bytes,
            "formula": self.formula,
            "source": self.source,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Term:
        """The term that `to_dict` wrote. Raises PlanError."""
        try:
            return cls(
                bytes=int(stored["bytes"]),
                basis=stored["basis"],
                band_bytes=int(stored["band_bytes"]),
                formula=str(stored["formula"]),
                source=str(stored["source"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PlanError(f"A stored memory term cannot be read ({error!r}): make the plan again.") from error


@dataclass(frozen=True, slots=True)
class MemoryBreakdown:
    """What one GPU's memory is used for; `total` is the sum of all the others.

    `kv_cache` is what the engine will find for its cache; `margin` is what is kept back because the other terms
    are estimates; `free` is what the engine is told not to touch.
    """

    total: Term
    weights: Term
    kv_cache: Term
    activation: Term
    graphs: Term
    non_torch: Term
    other: Term
    margin: Term
    free: Term

    def items(self) -> Iterator[tuple[str, Term]]:
        """Name and term, in the order in which a bar shows them, without the total."""
        for field in fields(self):
            if field.name != "total":
                yield field.name, getattr(self, field.name)

    def to_dict(self) -> dict[str, Any]:
        """The breakdown as JSON-able values."""
        return {"total": self.total.to_dict(), **{name: term.to_dict() for name, term in self.items()}}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> MemoryBreakdown:
        """The breakdown that `to_dict` wrote. Raises PlanError."""
        try:
            return cls(**{field.name: Term.from_dict(stored[field.name]) for field in fields(cls)})
        except KeyError as error:
            raise PlanError(f"A stored memory breakdown lacks {error}: make the plan again.") from error
