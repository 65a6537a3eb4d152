"""What one request has cost, from its charge to its settlement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingot.gateway.filter.budget import Budget, Charge


@dataclass(slots=True)
class Spent:
    """One request's cost so far, in tokens: `told` is what the engine said, `pieces` are its answer's events.

    `begun`: the engine gave an answer at all. `left`: the caller hung up.
    """

    budget: Budget
    charge: Charge
    prompt_tokens: int
    pieces: int = 0
    told: int | None = None
    begun: bool = False
    left: bool = False

    def see(self, body: Any) -> None:
        """Read the usage out of a body or an event."""
        usage = body.get("usage") if isinstance(body, dict) else None
        if isinstance(usage, dict) and type(usage.get("total_tokens")) is int:
            self.told = usage["total_tokens"]

    def settle(self, now: float) -> None:
        """Put the real usage in the place of the charge.

        Without one: a stream that broke off costs its prompt and what was sent of it, a request that the engine did
        not answer nothing, and one whose caller did not wait for its answer stays charged.
        """
        if self.told is not None:
            self.budget.settle(self.charge, self.told, now)
        elif self.pieces:
            self.budget.settle(self.charge, self.prompt_tokens + self.pieces, now)
        elif not self.begun and not self.left:
            self.budget.settle(self.charge, 0, now)
