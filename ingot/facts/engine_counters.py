"""What engines count of themselves while they are under load: the prefix cache, first tokens, preemptions."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from pyinfra.api.facts import FactBase

from ingot.facts.engine_metrics import FIGURES, lines

#: In the order of `Counters`; what each engine calls them is in engine_metrics.
QUERIES, HITS = "prefix_queries", "prefix_hits"
TTFT_SUM, TTFT_COUNT = "ttft_sum", "ttft_count"
PREEMPTIONS = "preemptions"
COUNTED = (QUERIES, HITS, TTFT_SUM, TTFT_COUNT, PREEMPTIONS)
#: The most that one engine may take to answer, seconds.
ANSWER_S = 5


class EngineCounters(FactBase[Mapping[str, float]]):
    """The counters of all engines at these addresses (`address:port`) together; what none of them has is absent.

    Returns: {'prefix_queries': 1470.0, 'prefix_hits': 128.0, …}
    """

    def command(self, addresses: Sequence[str]) -> str:
        each = "; ".join(
            f"curl --silent --noproxy '*' --max-time {ANSWER_S} {shlex.quote(f'http://{one}/metrics')}"
            for one in addresses
        )
        return f"{{ {each or 'true'}; }} | grep -E '{lines(*COUNTED)}'; true"

    @staticmethod
    def default() -> Mapping[str, float]:
        return {}

    def process(self, output: Iterable[str]) -> Mapping[str, float]:
        return parse_counters(output)


def parse_counters(output: Iterable[str]) -> Mapping[str, float]:
    """Sums by figure, over engines and their ranks; a line that was cut off is left out."""
    found: dict[str, float] = {}
    for line in output:
        name, _, value = line.strip().rpartition(" ")
        metric = FIGURES.get(name.partition("{")[0].strip())
        if metric in COUNTED:
            try:
                found[metric] = found.get(metric, 0.0) + float(value)
            except ValueError:
                continue
    return found
