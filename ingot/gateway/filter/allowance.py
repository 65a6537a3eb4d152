"""What one team may still use: tokens by the minute, by the day and by the month."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ingot.gateway.filter import refusals
from ingot.gateway.filter.budget import Budget, Charge
from ingot.gateway.filter.ledger import Ledger, today

#: From this share of a day's or a month's tokens on, answers say so.
WARN_FROM = 0.8


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a period's tokens is used; `period` is "day" or "month"."""

    period: str
    used: int
    limit: int

    @property
    def warns(self) -> bool:
        """Whether the team should know."""
        return self.used >= self.limit * WARN_FROM

    def __str__(self) -> str:
        return f"{self.used * 100 // self.limit} % of {self.limit} tokens per {self.period} are used"


class Allowance:
    """One team's budgets. Requests that run count as charged in `minute`, and in the ledger when they have ended.

    A day or a month lets requests in until its tokens are used: the last ones to be let in may go beyond it.
    """

    def __init__(
        self,
        team: str,
        ledger: Ledger,
        *,
        per_minute: int | None = None,
        per_day: int | None = None,
        per_month: int | None = None,
        day: Callable[[], str] = today,
    ) -> None:
        self.minute = Budget(per_minute) if per_minute else None
        self._team = team
        self._ledger = ledger
        self._limits = [(name, limit) for name, limit in (("day", per_day), ("month", per_month)) if limit]
        self._day = day

    def charge(self, tokens: int, now: float) -> Charge:
        """Charge a request before it runs. Raises: Refused where there is no room for it."""
        for share in self.shares():
            if share.used >= share.limit:
                raise refusals.tokens_per_period(
                    share.period, share.limit, seconds_left(share.period, datetime.now(UTC))
                )
        if self.minute is None:
            return Charge(now, tokens)
        charge = self.minute.charge(tokens, now)
        if charge is None:
            raise refusals.tokens_per_minute(self.minute.limit, self.minute.wait_s(tokens, now))
        return charge

    def settle(self, charge: Charge, tokens: int, now: float) -> None:
        """Count what a request really used."""
        if self.minute:
            self.minute.settle(charge, tokens, now)
        if self._limits:
            self._ledger.add(self._team, tokens, self._day())

    def shares(self) -> tuple[Share, ...]:
        """How much of the day's and the month's tokens is used, where they are limited."""
        day = self._day()
        periods = {"day": day, "month": day[:7]}
        return tuple(Share(name, self._ledger.used(self._team, periods[name]), limit) for name, limit in self._limits)


def seconds_left(period: str, now: datetime) -> int:
    """Seconds until the day or the month that `now` is in is over, rounded up; never 0."""
    end = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    if period == "month":
        while end.day != 1:
            end += timedelta(days=1)
    return int((end - now).total_seconds()) + 1
