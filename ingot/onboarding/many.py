"""Many servers at once: a bounded number at a time, one failure stops no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ingot.errors import IngotError
from ingot.onboarding.request import Outcome, Request, Talk
from ingot.onboarding.steps import onboard


def onboard_all(
    requests: Sequence[Request], talk: Talk, parallel: int, step: Callable[[Request, Talk], Outcome] = onboard
) -> list[Outcome]:
    """The outcome of each server, in their order; what refuses one is in its outcome."""

    def one(request: Request) -> Outcome:
        try:
            outcome = step(request, talk)
        except IngotError as refused:
            outcome = Outcome(request.name, request.way.address, error=str(refused))
        # An unexpected error of one server must not stop the others; its sentence says that it was unexpected.
        except Exception as surprise:
            outcome = Outcome(
                request.name,
                request.way.address,
                error=f"{request.name}: {type(surprise).__name__} while onboarding it; run it again, and report this.",
            )
        result = "failed" if outcome.error else "done"
        talk.say(request.name, result, result)
        return outcome

    with ThreadPoolExecutor(max_workers=parallel) as pool:
        return list(pool.map(one, requests))
