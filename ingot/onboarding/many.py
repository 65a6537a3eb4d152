"""Many servers at once: a bounded number at a time, one failure stops no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ingot.errors import IngotError
from ingot.onboarding.options import Options, request
from ingot.onboarding.request import Outcome, Request, Talk
from ingot.onboarding.servers import BadRow, Server
from ingot.onboarding.steps import onboard


def requests_of(
    asked: Options, rows: Sequence[Server | BadRow], members: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Request], list[Outcome]]:
    """The requests of a table's rows, and an outcome for each row that is wrong; `members` is the inventory's data."""
    requests, refused = [], []
    for row in rows:
        try:
            if isinstance(row, BadRow):
                raise IngotError(row.sentence)
            requests.append(request(asked, row, members.get(row.name, {})))
        except IngotError as error:
            refused.append(Outcome(row.name, error=str(error)))
    return requests, refused


def onboard_all(
    requests: Sequence[Request], talk: Talk, parallel: int, step: Callable[[Request, Talk], Outcome] = onboard
) -> list[Outcome]:
    """The outcome of each server, in their order; what refuses one is in its outcome."""

    def one(wanted: Request) -> Outcome:
        try:
            outcome = step(wanted, talk)
        except IngotError as refused:
            outcome = Outcome(wanted.name, wanted.way.address, error=str(refused))
        # An unexpected error of one server must not stop the others; its sentence says that it was unexpected.
        except Exception as surprise:
            outcome = Outcome(
                wanted.name,
                wanted.way.address,
                error=f"{wanted.name}: {type(surprise).__name__} while onboarding it; run it again, and report this.",
            )
        result = "failed" if outcome.error else "done"
        talk.say(wanted.name, result, result)
        return outcome

    with ThreadPoolExecutor(max_workers=parallel) as pool:
        return list(pool.map(one, requests))
