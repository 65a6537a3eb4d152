"""Tokens per minute of each team: charged when a request starts, settled when its usage is known.

The state is this process's memory: a host has one filter, and a new one starts with empty windows.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

WINDOW_S = 60.0


@dataclass(slots=True, eq=False)
class Charge:
    """What one request counts for in its team's window, from the moment it started."""

    at: float
    tokens: int


@dataclass(slots=True)
class Budget:
    """One team's sliding window of a minute. Times are seconds of one clock that never goes back."""

    limit: int
    _charges: deque[Charge] = field(default_factory=deque)
    _used: int = 0

    def charge(self, tokens: int, now: float) -> Charge | None:
        """Charge a request before it runs; None when the window has no room for it.

        A request larger than the whole budget is let in when nothing else counts, or it would wait for ever.
        """
        tokens = min(tokens, self.limit)
        if self.used(now) + tokens > self.limit:
            return None
        return self._add(tokens, now)

    def settle(self, charge: Charge, tokens: int, now: float) -> None:
        """Put what was really used in the place of a charge; what a longer answer used beyond it counts from now."""
        self._forget(now)
        if tokens > charge.tokens:
            self._add(tokens - charge.tokens, now)
        elif now - charge.at < WINDOW_S:
            self._used -= charge.tokens - tokens
            charge.tokens = tokens

    def used(self, now: float) -> int:
        """Tokens that count now."""
        self._forget(now)
        return self._used

    def wait_s(self, tokens: int, now: float) -> int:
        """Whole seconds until a request of so many tokens has room, if nothing else is charged; 0 when it has now."""
        over = self.used(now) + min(tokens, self.limit) - self.limit
        if over <= 0:
            return 0
        for charge in self._charges:
            over -= charge.tokens
            if over <= 0:
                return max(1, math.ceil(charge.at + WINDOW_S - now))
        raise AssertionError("an empty window has room for everything")

    def _add(self, tokens: int, now: float) -> Charge:
        charge = Charge(now, tokens)
        self._charges.append(charge)
        self._used += tokens
        return charge

    def _forget(self, now: float) -> None:
        while self._charges and now - self._charges[0].at >= WINDOW_S:
            self._used -= self._charges.popleft().tokens
