"""Alerts of service levels: how fast an error budget burns, over a long and a short window.

Source of the factors and windows: Google's SRE Workbook, chapter 5, table 5-8, as the kubernetes-mixin renders them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ingot.monitoring.rules.rule import Group, Recording, Rule, Severity

#: Edges of vLLM's histograms, seconds (`vllm/v1/metrics/loggers.py`, 0.32): a limit between two cannot be counted.
TTFT_EDGES_S = (0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
ITL_EDGES_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


@dataclass(frozen=True, slots=True)
class Slo:
    """What callers are promised: shares of first tokens, of later tokens and of requests that are good.

    `floor`: requests in the short window below which nothing is said, so that one slow request at night wakes nobody.
    Raises ValueError, with a sentence, where a limit is not an edge or a share is not one.
    """

    ttft_s: float = 2.5
    ttft_share: float = 0.95
    itl_s: float = 0.1
    itl_share: float = 0.95
    served_share: float = 0.99
    floor: int = 20

    def __post_init__(self) -> None:
        for said, limit, edges in (("ttft_s", self.ttft_s, TTFT_EDGES_S), ("itl_s", self.itl_s, ITL_EDGES_S)):
            if limit not in edges:
                raise ValueError(f"{said} is {limit:g}; take {nearest(edges, limit)}.")
        for said, share in (
            ("ttft_share", self.ttft_share),
            ("itl_share", self.itl_share),
            ("served_share", self.served_share),
        ):
            if not 0 < share < 1:
                raise ValueError(f"{said} is {share:g}; it is a share between 0 and 1, such as 0.95.")


def nearest(edges: Sequence[float], limit: float) -> str:
    """The edges on both sides of a limit that is none, in words."""
    below, above = [one for one in edges if one < limit], [one for one in edges if one > limit]
    sides = " or ".join(f"{one:g}" for one in (*below[-1:], *above[:1]))
    return f"an edge of the engines' histogram, the nearest {'are' if ' or ' in sides else 'is'} {sides}"


@dataclass(frozen=True, slots=True)
class _Promise:
    """One promise: the share that was bad in a window, and how many there were."""

    name: str
    title: str
    bad: str
    count: str
    share: float
    says: str
    action: str


@dataclass(frozen=True, slots=True)
class _Burn:
    suffix: str
    factor: float
    long: str
    short: str
    for_s: int
    severity: Severity


#: At 14.4 a month's budget is gone in two days, at 6 in five, at 3 in ten, at 1 just at its end.
_BURNS = (
    _Burn("Fast", 14.4, "1h", "5m", 120, Severity.CRITICAL),
    _Burn("Steady", 6, "6h", "30m", 900, Severity.CRITICAL),
    _Burn("Slow", 3, "1d", "2h", 3600, Severity.WARNING),
    _Burn("Creeping", 1, "3d", "6h", 10800, Severity.WARNING),
)
_BY = "sum by (host, model)"


def _over_edge(histogram: str, edge_s: float) -> tuple[str, str]:
    # Python's client writes an edge as Python writes a float: 1 is "1.0".
    good = f'{_BY} (increase({histogram}_bucket{{le="{edge_s!r}"}}[WINDOW]))'
    count = f"{_BY} (increase({histogram}_count[WINDOW]))"
    return f"1 - {good} / {count}", count


def _promises(slo: Slo) -> tuple[_Promise, ...]:
    ttft = _over_edge("vllm:time_to_first_token_seconds", slo.ttft_s)
    itl = _over_edge("vllm:inter_token_latency_seconds", slo.itl_s)
    requests = f"{_BY} (increase(ingot_gateway_requests_total[WINDOW]))"
    failed = f'{_BY} (increase(ingot_gateway_requests_total{{status=~"5.."}}[WINDOW]))'
    drained = f"{_BY} (increase(ingot_gateway_draining_total[WINDOW]))"
    return (
        _Promise(
            "ttft",
            "Ttft",
            *ttft,
            slo.ttft_share,
            f"first tokens of {{{{ $labels.model }}}} on {{{{ $labels.host }}}} come after {slo.ttft_s:g} s",
            "Look at queue and prefill: add replicas, limit long prompts; `ingot bench --users-at` finds what holds.",
        ),
        _Promise(
            "itl",
            "Itl",
            *itl,
            slo.itl_share,
            f"tokens of {{{{ $labels.model }}}} on {{{{ $labels.host }}}} come more than {slo.itl_s:g} s apart",
            "Too many at once, or a slow GPU: lower `max_num_seqs`, look at slowdown and power.",
        ),
        _Promise(
            "errors",
            "Error",
            f"clamp_min({failed} - ({drained} or 0 * {failed}), 0) / {requests}",
            requests,
            slo.served_share,
            "requests for {{ $labels.model }} on {{ $labels.host }} end with 5xx",
            "Run `ingot status`; read nginx' error log and `docker logs`. A rollout's own 503 are not counted.",
        ),
    )


def slo_groups(slo: Slo) -> tuple[Group, ...]:
    """Recordings `ingot:<promise>:bad_ratio_<window>` and `…:count_<window>`, then the alerts over them."""
    recordings: list[Rule | Recording] = []
    alerts: list[Rule | Recording] = []
    for one in _promises(slo):
        for window in WINDOWS:
            recordings.append(Recording(f"ingot:{one.name}:bad_ratio_{window}", one.bad.replace("WINDOW", window)))
            recordings.append(Recording(f"ingot:{one.name}:count_{window}", one.count.replace("WINDOW", window)))
        for burn in _BURNS:
            limit = f"{burn.factor * (1 - one.share):.6g}"
            alerts.append(
                Rule(
                    f"Ingot{one.title}Burn{burn.suffix}",
                    burn.severity,
                    f"ingot:{one.name}:bad_ratio_{burn.long} > {limit} and "
                    f"ingot:{one.name}:bad_ratio_{burn.short} > {limit} and "
                    f"ingot:{one.name}:count_{burn.short} >= {slo.floor}",
                    burn.for_s,
                    f"{{{{ $value | humanizePercentage }}}} of {one.says}; {1 - one.share:.0%} may.",
                    one.action,
                )
            )
    return Group("ingot-slo-shares", tuple(recordings), 60), Group("ingot-slo", tuple(alerts), 60)
