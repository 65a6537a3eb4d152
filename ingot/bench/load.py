"""What a benchmark sends, and the most that it may send."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ingot.errors import IngotError

#: The most requests of one benchmark, of all its levels together, and the most that run at once.
MOST_REQUESTS, MOST_AT_ONCE = 20_000, 2_048
#: The most users that are tried, where nobody says.
MOST_USERS = 256
#: The longest that a benchmark may take, and how long it takes at most where nobody says, seconds.
LONGEST_S, USUAL_S = 4 * 3600, 15 * 60
#: The share of failed requests at which a level stops, where nobody says.
FAILED_SHARE = 0.05
#: Figures that a limit may be set for, and what `vllm bench serve` calls them.
FIGURES = MappingProxyType({"ttft": "time to first token", "itl": "time between tokens", "e2e": "whole answer"})

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s)")


@dataclass(frozen=True, slots=True)
class Load:
    """One level of load.

    Closed loop: `at_once` requests are always under way. Open loop: `per_s` requests arrive each second on average,
    as callers that know nothing of each other come (a Poisson process), with at most `at_once` under way. Lengths are
    in tokens; `shared_prefix` is the share of each prompt that all prompts have in common, from 0 to 1.
    """

    requests: int
    at_once: int
    per_s: float | None = None
    input_tokens: int = 512
    output_tokens: int = 128
    shared_prefix: float = 0.0

    @property
    def warm_up(self) -> int:
        """Requests that come first and do not count.

        Two rounds of a closed loop (InferenceX@843c625 does the same), what comes in two seconds of an open one.
        """
        return 2 * self.at_once if self.per_s is None else max(math.ceil(2 * self.per_s), 2)

    @property
    def level(self) -> str:
        """How much of it there is, in a few words."""
        return f"{self.at_once:,} at once" if self.per_s is None else f"{self.per_s:g} requests/s"

    @property
    def lengths(self) -> str:
        """What a request is like, in a few words."""
        shared = f", {self.shared_prefix:.0%} of each prompt shared" if self.shared_prefix else ""
        return f"prompts of {self.input_tokens:,} tokens, answers of {self.output_tokens:,}{shared}"


#: Loads by name. `guide`: the concurrency and count of the usual first benchmark of a deployment.
PRESETS = MappingProxyType(
    {
        "guide": Load(requests=100, at_once=10, input_tokens=32, output_tokens=256),
        "chat": Load(requests=200, at_once=16, input_tokens=230, output_tokens=220),
        "rag": Load(requests=100, at_once=8, input_tokens=8_000, output_tokens=256, shared_prefix=0.5),
        "code": Load(requests=100, at_once=8, input_tokens=2_000, output_tokens=512, shared_prefix=0.25),
    }
)


def parse_limits(text: str) -> Mapping[str, float]:
    """Limits in seconds by figure: `ttft=1s,itl=50ms`.

    Raises: IngotError where a figure is unknown, named twice, or its limit no duration above 0.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        figure, _, limit = part.strip().partition("=")
        duration = _DURATION.fullmatch(limit)
        if figure not in FIGURES or figure in found or duration is None or not float(duration[1]):
            raise IngotError(
                f"{part.strip() or text!r}: no limit, expected {', '.join(FIGURES)} once each with ms or s, such as "
                "ttft=1s,itl=50ms; correct it."
            )
        found[figure] = float(duration[1]) / (1000 if duration[2] == "ms" else 1)
    return MappingProxyType(found)


def check(loads: tuple[Load, ...]) -> None:
    """Raises: IngotError where a benchmark would go beyond its bounds, or a load makes no sense."""
    total = sum(load.requests + load.warm_up for load in loads)
    if total > MOST_REQUESTS:
        raise IngotError(f"{total:,} requests with warm-up, expected at most {MOST_REQUESTS:,}; ask for fewer.")
    for load in loads:
        rate = load.per_s
        bounds = (
            (load.requests >= 1, f"{load.requests} requests, expected at least 1"),
            (1 <= load.at_once <= MOST_AT_ONCE, f"{load.at_once} at once, expected 1 to {MOST_AT_ONCE:,}"),
            (rate is None or rate > 0, f"{rate} requests per second, expected more than 0"),
            (load.input_tokens >= 1, f"{load.input_tokens} input tokens, expected at least 1"),
            # A time between tokens takes two.
            (load.output_tokens >= 2, f"{load.output_tokens} output tokens, expected at least 2"),
            (0 <= load.shared_prefix <= 0.95, f"a shared prefix of {load.shared_prefix:g}, expected 0 to 0.95"),
        )
        for is_well, wrong in bounds:
            if not is_well:
                raise IngotError(f"{wrong}; correct it.")
