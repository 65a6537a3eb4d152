"""What engines count of themselves while they are under load: the prefix cache, first tokens, preemptions."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from pyinfra.api.facts import FactBase

#: Metrics of vLLM 0.32 and 0.33 (vllm/v1/metrics/loggers.py), in the order of `Counters`.
QUERIES, HITS = "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"
TTFT_SUM, TTFT_COUNT = "vllm:time_to_first_token_seconds_sum", "vllm:time_to_first_token_seconds_count"
PREEMPTIONS = "vllm:num_preemptions_total"
NAMES = (QUERIES, HITS, TTFT_SUM, TTFT_COUNT, PREEMPTIONS)
#: The most that one engine may take to answer, seconds.
ANSWER_S = 5


class EngineCounters(FactBase[Mapping[str, float]]):
    """The counters of all engines at these addresses (`address:port`) together; what none of them has is absent.

    Returns: {'vllm:prefix_cache_queries_total': 1470.0, 'vllm:prefix_cache_hits_total': 128.0, …}
    """

    def command(self, addresses: Sequence[str]) -> str:
        names = "|".join(name.removeprefix("vllm:") for name in NAMES)
        each = "; ".join(
            f"curl --silent --noproxy '*' --max-time {ANSWER_S} {shlex.quote(f'http://{one}/metrics')}"
            for one in addresses
        )
        return f"{{ {each or 'true'}; }} | grep -E '^vllm:({names})[{{ ]'; true"

    @staticmethod
    def default() -> Mapping[str, float]:
        return {}

    def process(self, output: Iterable[str]) -> Mapping[str, float]:
        return parse_counters(output)


def parse_counters(output: Iterable[str]) -> Mapping[str, float]:
    """Sums by name, over engines and their ranks; a line that was cut off is left out."""
    found: dict[str, float] = {}
    for line in output:
        name, _, value = line.strip().rpartition(" ")
        metric = name.partition("{")[0].strip()
        if metric in NAMES:
            try:
                found[metric] = found.get(metric, 0.0) + float(value)
            except ValueError:
                continue
    return found
