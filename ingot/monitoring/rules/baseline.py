"""The alert of a model that is slower than its benchmark: what was measured, and how it is compared.

Benchmarks are kept by model, engine, GPU and plan. Those of a deploy of the monitor become series with these labels; a
host says by `ingot_model_plan` what it serves by, so that only the like is compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ingot.monitoring.rules.rule import LOADED, REPLACED, Group, Recording, Rule, Severity

#: What is slower than its benchmark by more than this share is slow: five times what two runs of it may differ by.
SLOWER_BY = 0.25
#: Prompt tokens for each written one may be so many times the benchmark's: reading them takes the time of writing.
LONGER_PROMPTS = 1.2
LABELS = ("model", "engine", "gpu", "gpus", "plan")
BASE, EACH, MOST, PROMPTS = (
    f"ingot:bench:{name}" for name in ("itl_base_seconds", "itl_each_seconds", "at_once_most", "prompt_ratio")
)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a benchmark says of a model served by one plan, up to `at_once` requests at a time on a host.

    The mean time between tokens is at most `base_s`, and `each_s` more for each request at once. `prompt_ratio`: prompt
    tokens for each written one.
    """

    model: str
    engine: str
    gpu: str
    gpus: int
    plan: str
    base_s: float
    each_s: float
    at_once: int
    prompt_ratio: float


def baseline_group(known: Iterable[Baseline]) -> Group:
    """Each benchmark as series."""
    return Group(
        "ingot-bench-known",
        tuple(
            Recording(
                name,
                f"vector({value:.6g})",
                {label: str(getattr(one, label)) for label in LABELS},
            )
            for one in known
            for name, value in (
                (BASE, one.base_s),
                (EACH, one.each_s),
                (MOST, one.at_once),
                (PROMPTS, one.prompt_ratio),
            )
        ),
        60,
    )


def _of_host(name: str) -> str:
    """A benchmark's figure for each host and model that is served by the same."""
    return f"sum by (host, model) (ingot_model_plan * on ({', '.join(LABELS)}) group_left () {name})"


_BY = "sum by (host, model)"
_TOKENS = f"{_BY} (rate(vllm:inter_token_latency_seconds_count[30m]))"
_READ = f"{_BY} (rate(vllm:prompt_tokens_total[30m])) / {_BY} (rate(vllm:generation_tokens_total[30m]))"

RECORDINGS = (
    # The most of half an hour: an average over bursts and pauses would be of no moment that there was.
    Recording("ingot:bench:running_most", f"{_BY} (max_over_time(vllm:num_requests_running[30m]))"),
    Recording("ingot:bench:itl_seconds", f"{_BY} (rate(vllm:inter_token_latency_seconds_sum[30m])) / {_TOKENS}"),
    Recording(
        "ingot:bench:itl_expected_seconds",
        f"{_of_host(BASE)} + {_of_host(EACH)} * ingot:bench:running_most",
    ),
)
ALERTS = (
    Rule(
        "IngotSlowerThanBenchmark",
        Severity.WARNING,
        f"ingot:bench:itl_seconds / ingot:bench:itl_expected_seconds > {1 + SLOWER_BY:g} and {_TOKENS} > 1 and "
        f"ingot:bench:running_most <= {_of_host(MOST)} and {_READ} <= {LONGER_PROMPTS:g} * {_of_host(PROMPTS)}",
        3600,
        '{{ $labels.model }} on {{ $labels.host }} takes {{ $value | printf "%.2f" }} times as long for a token as in '
        "its benchmark with as many requests at once.",
        "Run `ingot bench HOST` when it is quiet. Where that is as slow, look at slowdown, power and PCIe lanes of its "
        "GPUs, and at what else runs there. Where it is not, callers ask otherwise: bench with their lengths, then "
        "deploy the monitor.",
        REPLACED | LOADED,
    ),
)

GROUPS = (Group("ingot-bench-shares", RECORDINGS, 60), Group("ingot-bench", ALERTS, 60))
