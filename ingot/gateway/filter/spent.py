"""What one request has cost, from its charge to its settlement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingot.gateway.filter.allowance import Allowance
from ingot.gateway.filter.budget import Budget, Charge


@dataclass(slots=True)
class Spent:
    """One request's cost so far, in tokens: `told` is what the engine said, `input_tokens` the
    prompt's share where it is told apart, `pieces` are its answer's events.

    `begun`: the engine gave an answer at all. `left`: the caller hung up.
    """

    budget: Budget | Allowance
    charge: Charge
    prompt_tokens: int
    pieces: int = 0
    told: int | None = None
    input_tokens: int = 0
    begun: bool = False
    left: bool = False

    def see(self, body: Any) -> None:
        """Read the usage out of a body or an event."""
        # The last event of /v1/responses has the whole answer in it, the first one of /v1/messages an empty one.
        for one in (body, body.get("response"), body.get("message")) if isinstance(body, dict) else ():
            usage = one.get("usage") if isinstance(one, dict) else None
            if isinstance(usage, dict):
                if type(usage.get("input_tokens")) is int:
                    self.input_tokens = usage["input_tokens"]
                answer = usage.get("output_tokens")
                total = usage.get("total_tokens", self.input_tokens + (answer if type(answer) is int else 0))
                self.told = total if type(total) is int else self.told

    def settle(self, now: float) -> None:
        """Put the real usage in the place of the charge.

        Without one: a stream that broke off costs its prompt and what was sent of it, a request that the engine did
        not answer nothing, and one whose caller did not wait for its answer stays charged.
        """
        if self.told is not None:
            tokens = self.told
        elif self.pieces:
            tokens = self.prompt_tokens + self.pieces
        else:
            tokens = self.charge.tokens if self.begun or self.left else 0
        self.budget.settle(self.charge, tokens, now)
