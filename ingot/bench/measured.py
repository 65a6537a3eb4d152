"""What a level of load came to: latencies, throughput and failures, from the times of each request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

#: Fewer requests than this say nothing of the slowest 5 % or 1 % (at least ten of them must be seen).
FOR_P95, FOR_P99 = 200, 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it was sent, seconds since the level began, and what came back.

    `ttft_s` is the time to the first token, `itls_s` the times between the later ones. Not `ok`: nothing else counts.
    """

    sent_s: float
    ok: bool
    ttft_s: float = 0.0
    itls_s: tuple[float, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def e2e_s(self) -> float:
        """The whole answer, to its last token."""
        return self.ttft_s + sum(self.itls_s)

    @property
    def tpot_s(self) -> float:
        """The mean time per token after the first, which limits of time between tokens judge; 0 of a single token."""
        return sum(self.itls_s) / (self.output_tokens - 1) if self.output_tokens > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over requests, in seconds. p95 and p99 are None where too few requests were made to tell them."""

    mean_s: float
    p50_s: float
    p95_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    """One level. `steady_s` is how long it was under full load; rates are over that time.

    `within` is the share of requests that met every limit, failed ones not; `goodput_per_s` how many of those a second.
    """

    requests: int
    failed: int
    steady_s: float
    ttft: Spread
    itl: Spread
    e2e: Spread
    requests_per_s: float
    output_tokens_per_s: float
    total_tokens_per_s: float
    input_tokens: int
    output_tokens: int
    within: float | None = None
    goodput_per_s: float | None = None


def measure(asked: Sequence[Asked], at_once: int, limits: Mapping[str, float]) -> Measured:
    """A level's figures.

    Rates leave out its beginning and its end, where less than the full load is under way: what came before as many
    answers as requests run at once, and what was sent last.
    """
    good = [one for one in asked if one.ok]
    ends = sorted(one.sent_s + one.e2e_s for one in good)
    begin, end = _steady(ends, at_once)
    seconds = end - begin
    within = sum(meets(one, limits) for one in good)

    def rate(count: float) -> float:
        return count / seconds if seconds > 0 else 0.0

    inside = [one for one in good if begin < one.sent_s + one.e2e_s <= end]
    return Measured(
        requests=len(asked),
        failed=len(asked) - len(good),
        steady_s=seconds,
        ttft=_spread([one.ttft_s for one in good]),
        itl=_spread([gap for one in good for gap in one.itls_s], len(good)),
        e2e=_spread([one.e2e_s for one in good]),
        requests_per_s=rate(len(inside)),
        output_tokens_per_s=rate(_tokens(good, begin, end)),
        total_tokens_per_s=rate(_tokens(good, begin, end) + sum(one.input_tokens for one in inside)),
        input_tokens=sum(one.input_tokens for one in good),
        output_tokens=sum(one.output_tokens for one in good),
        within=within / len(asked) if limits and asked else None,
        goodput_per_s=rate(sum(meets(one, limits) for one in inside)) if limits else None,
    )


def meets(one: Asked, limits: Mapping[str, float]) -> bool:
    """Whether an answer met every limit."""
    figures = {"ttft": one.ttft_s, "itl": one.tpot_s, "e2e": one.e2e_s}
    return one.ok and all(figures[name] <= limit for name, limit in limits.items())


def _steady(ends: Sequence[float], at_once: int) -> tuple[float, float]:
    """From the answer that ends the first round to the one before the last round; all of it where rounds are few."""
    if not ends:
        return 0.0, 0.0
    if len(ends) < 4 * at_once:
        return 0.0, ends[-1]
    return ends[at_once - 1], ends[-at_once]


def _tokens(good: Sequence[Asked], begin: float, end: float) -> int:
    """Tokens that came between two moments. A step may bring several: an answer's tokens are spread over its steps."""
    count = 0.0
    for one in good:
        times = list(accumulate(one.itls_s, initial=one.sent_s + one.ttft_s))
        share = sum(begin < at <= end for at in times) / len(times)
        count += share * one.output_tokens
    return round(count)


def _spread(values: Sequence[float], requests: int | None = None) -> Spread:
    if not values:
        return Spread(0.0, 0.0, None, None)
    ordered = sorted(values)
    count = len(values) if requests is None else requests
    return Spread(
        sum(ordered) / len(ordered),
        _percentile(ordered, 0.50),
        _percentile(ordered, 0.95) if count >= FOR_P95 else None,
        _percentile(ordered, 0.99) if count >= FOR_P99 else None,
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed (nearest rank)."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
