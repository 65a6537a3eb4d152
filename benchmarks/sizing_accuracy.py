"""How true the planner's arithmetic is: judged on published starts of real vLLM, beside other estimators.

    benchmarks/sizing_accuracy.py CASES.json [MODELS.json] [--json]

(a) tokens of cache from the logged available memory; (b) available memory from GPU and config alone; (c) whether it
serves or is refused, and by which refusal; a start that runs out of memory after it sized its cache is a refusal too.
Tier C cases are shown apart and never counted. What cannot be judged is listed with its reason.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from estimators import ESTIMATORS, Question
from sizing_cases import Case, load_cases

from ingot.sizing.architecture import Architecture
from ingot.sizing.kv import CacheSettings, Geometry, cache_dtype, geometry
from ingot.sizing.start import FLASHINFER_CAPABILITY, Arguments, Prediction, demand, predict
from ingot.sizing.units import DTYPE_BYTES, GIB, gib
from ingot.sizing.weights import stage_weights

WITHIN_PCT = 0.5
# Where the share of memory is not stated, a verdict counts if it is the same for a small and a large share.
PLAUSIBLE_SHARES = (0.5, 0.95)
UNSTATED = "the case neither states the share of memory nor shows the arguments that would"
# Logs print GiB with two digits.
HALF_DIGIT = gib(0.005)


@dataclass
class Judged:
    """One case against one estimator: errors in percent, or the reason why there is none."""

    case: Case
    capacity: str = ""
    capacity_error: float | None = None
    capacity_reason: str = ""
    available_error_gib: float | None = None
    available_error_pct: float | None = None
    in_band: bool | None = None
    band_gib: float | None = None
    available_reason: str = ""
    fits: bool | None = None
    kind: str = ""
    verdict_reason: str = ""
    served: bool = False
    peers: dict[str, Judged] = field(default_factory=dict)


def judge(case: Case) -> Judged:
    """The planner's answers on one case, and its peers' on the same."""
    judged = Judged(case, served=case.observed.get("outcome") == "served")
    judged.peers = {name: Judged(case, served=judged.served) for name in ESTIMATORS}
    architecture = case.architecture()
    if isinstance(architecture, str):
        judged.capacity_reason = judged.available_reason = judged.verdict_reason = architecture
        return judged
    _judge_capacity(judged, architecture)
    _judge_start(judged, architecture)
    return judged


# --- (a)


def _judge_capacity(judged: Judged, architecture: Architecture) -> None:
    case, observed = judged.case, judged.case.observed
    available = observed.get("available_kv_gib")
    if available is None or available <= 0:
        judged.capacity_reason = "the case does not log the memory that was available for the cache"
        return
    if case.speculates() and case.speculative() is None:
        judged.capacity_reason = "it loads a speculative draft that the case does not describe"
        return
    if case.overrides_blocks():
        judged.capacity_reason = "its number of blocks was given and not derived"
        return
    device = case.device()
    arguments = case.arguments(architecture, None if isinstance(device, str) else device)
    settings = CacheSettings(
        element_bytes=DTYPE_BYTES[cache_dtype(architecture, arguments.kv_cache_dtype)],
        block_size=arguments.block_size,
        prefix_caching=arguments.prefix_caching,
        speculative=arguments.speculative,
        draft_layers=arguments.draft_layers,
        context_parallel=arguments.context_parallel,
    )
    pool = geometry(architecture, case.parallel(), settings, case.engine())
    size, length, tokens = gib(available), arguments.max_model_len, arguments.max_num_batched_tokens
    stated_length = case.raw.get("max_model_len") is not None
    pairs: list[tuple[str, float, float]] = []
    if observed.get("kv_cache_tokens") and (stated_length or case.engine().capacity_wording == "groups"):
        pairs.append(("tokens", pool.tokens(size, length, tokens), observed["kv_cache_tokens"]))
    elif observed.get("gpu_blocks"):
        pairs.append(("blocks", pool.blocks(size), observed["gpu_blocks"]))
    elif observed.get("kv_needed_gib") and stated_length:
        pairs.append(("GiB per request", pool.request_bytes(length, tokens) / GIB, observed["kv_needed_gib"]))
    if not pairs:
        judged.capacity_reason = "the case logs no capacity (tokens, blocks or need) to compare with"
        return
    what, own, logged = pairs[0]
    judged.capacity = f"{own:,.6g} {what}, logged {logged:,.6g}"
    judged.capacity_error = _beyond_rounding(pool, what, size, arguments, logged)
    weights = _weights(case, architecture)
    for name, estimator in ESTIMATORS.items():
        question = _question(case, architecture, arguments, size, 1.0, weights)
        token = estimator(question).token_bytes
        peer = judged.peers[name]
        if token is None or what != "tokens":
            peer.capacity_reason = "it does not say how much a token takes"
        else:
            peer.capacity_error = abs(size / token / logged - 1) * 100


def _beyond_rounding(pool: Geometry, what: str, size: int, arguments: Arguments, logged: float) -> float:
    """The error in percent that two printed digits do not explain: the log rounds what it has and what it needs."""
    length, tokens = arguments.max_model_len, arguments.max_num_batched_tokens
    if what == "GiB per request":
        own = pool.request_bytes(length, tokens) / GIB
        return max(abs(own - logged) - 0.005, 0) / logged * 100
    capacity = {
        "tokens": lambda bytes_: pool.tokens(bytes_, length, tokens),
        "blocks": pool.blocks,
    }[what]
    low, high = capacity(size - HALF_DIGIT), capacity(size + HALF_DIGIT)
    return max(low - logged, logged - high, 0) / logged * 100


# --- (b) and (c)


def _judge_start(judged: Judged, architecture: Architecture) -> None:
    case, observed = judged.case, judged.case.observed
    device = case.device()
    reason = device if isinstance(device, str) else case.unjudgeable()
    if case.raw.get("tp") is None and (case.raw.get("gpu_count") or 1) > 1:
        reason = reason or "the case has several GPUs and does not say how the model was split"
    if reason or isinstance(device, str):
        judged.available_reason = judged.verdict_reason = str(reason)
        return
    engine = case.engine()
    arguments = case.arguments(architecture, device)
    need = demand(
        architecture,
        case.quantization(),
        case.parallel(),
        arguments,
        engine,
        flashinfer=device.capability is None or device.capability >= FLASHINFER_CAPABILITY,
        switched=device.capability is not None and device.capability in ((9, 0), (10, 0), (10, 3)),
        unified=device.unified,
    )
    utilization = case.utilization(engine)
    prediction = predict(need, device, utilization, engine)
    logged = observed.get("available_kv_gib")
    if logged is None:
        judged.available_reason = "the case does not log the memory that was available for the cache"
    elif not case.states_utilization():
        judged.available_reason = UNSTATED
    else:
        _judge_available(judged, prediction, gib(logged))
    extremes = {predict(need, device, share, engine).refusal is None for share in PLAUSIBLE_SHARES}
    if case.raw.get("max_model_len") is None and architecture.max_model_len is None:
        judged.verdict_reason = "neither the case nor the model's config says how long a sequence may be"
    elif not case.states_utilization() and len(extremes) > 1:
        judged.verdict_reason = f"{UNSTATED}, and the verdict depends on it"
    else:
        judged.fits = prediction.refusal is None
        judged.kind = prediction.refusal or ""
    weights = _weights(case, architecture)
    for name, estimator in ESTIMATORS.items():
        peer = judged.peers[name]
        question = _question(case, architecture, arguments, device.total, utilization, weights)
        answer = estimator(question)
        if judged.available_error_pct is not None and logged and answer.available is not None:
            peer.available_error_gib = (answer.available - gib(logged)) / GIB
            peer.available_error_pct = abs(peer.available_error_gib) / logged * 100
        if judged.fits is not None:
            peer.fits = answer.fits


def _judge_available(judged: Judged, prediction: Prediction, logged: int) -> None:
    error = prediction.available - logged
    judged.available_error_gib = error / GIB
    judged.band_gib = prediction.band / GIB
    judged.in_band = prediction.holds(logged)
    if logged > 0:
        judged.available_error_pct = abs(error) / logged * 100
    else:
        judged.available_reason = "nothing was available, so an error in percent has no meaning"


def _question(
    case: Case, architecture: Architecture, arguments: Arguments, total: int, utilization: float, weights: int
) -> Question:
    parallel = case.parallel()
    return Question(architecture, weights, arguments, parallel.tensor * parallel.pipeline, total, utilization)


def _weights(case: Case, architecture: Architecture) -> int:
    """Bytes of the whole replica's weights."""
    return sum(stage_weights(architecture, case.quantization(), case.parallel())) * case.parallel().tensor


# --- summary


def summary(judged: Sequence[Judged]) -> dict[str, Any]:
    """The figures of one estimator over the cases that may be asserted."""
    counted = [one for one in judged if one.case.asserted]
    capacity = [one for one in counted if one.capacity_error is not None]
    available = [one for one in counted if one.available_error_pct is not None]
    banded = [one for one in counted if one.in_band is not None]
    verdicts = [one for one in counted if one.fits is not None]
    served = [one for one in verdicts if one.served]
    refused = [one for one in verdicts if not one.served]
    return {
        "kv_capacity": {
            "cases": len(capacity),
            "within_half_pct": sum(1 for one in capacity if (one.capacity_error or 0) <= WITHIN_PCT),
            "misses": [one.case.id for one in capacity if (one.capacity_error or 0) > WITHIN_PCT],
        },
        "available": {
            "cases": len(available),
            "median_abs_error_pct": round(statistics.median(one.available_error_pct or 0 for one in available), 3)
            if available
            else None,
            "band_holds": round(sum(1 for one in banded if one.in_band) / len(banded), 4) if banded else None,
        },
        "verdict": {
            "served": len(served),
            "refused": len(refused),
            "false_fit": [one.case.id for one in refused if one.fits],
            "false_refuse": [one.case.id for one in served if not one.fits],
        },
    }


def report(judged: Sequence[Judged]) -> dict[str, Any]:
    """The JSON object: the planner's figures, and every peer's under `peers`."""
    return {
        **summary(judged),
        "peers": {name: summary([one.peers[name] for one in judged]) for name in ESTIMATORS},
    }


def _line(one: Judged) -> str:
    capacity = f"{one.capacity_error:8.2f}" if one.capacity_error is not None else f"{'-':>8}"
    available = f"{one.available_error_gib:+7.2f}" if one.available_error_gib is not None else f"{'-':>7}"
    percent = f"{one.available_error_pct:7.1f}" if one.available_error_pct is not None else f"{'-':>7}"
    band = f"{one.band_gib:5.2f} {'in ' if one.in_band else 'OUT'}" if one.band_gib is not None else f"{'-':>9}"
    if one.fits is None:
        verdict = "-"
    else:
        said = "serves" if one.fits else f"refuses {one.kind}"
        verdict = f"{said}, {'right' if one.fits == one.served else 'WRONG'}"
    return f"{one.case.id[:48]:48} {one.case.tier} {capacity} {available} {percent} {band:>9}  {verdict}"


def _print_text(judged: Sequence[Judged]) -> None:
    head = f"{'case':48} T {'(a) %':>8} {'(b) GiB':>7} {'(b) %':>7} {'band':>9}  (c)"
    for title, chosen in (
        ("Tiers A and B", [one for one in judged if one.case.asserted]),
        ("Tier C: shown, never counted", [one for one in judged if not one.case.asserted]),
    ):
        print(f"\n{title}\n{head}")
        for one in chosen:
            print(_line(one))
    print("\nNot judged")
    for one in judged:
        reasons = {
            "(a)": one.capacity_reason if one.capacity_error is None else "",
            "(b)": one.available_reason if one.available_error_pct is None else "",
            "(c)": one.verdict_reason if one.fits is None else "",
        }
        for reason in dict.fromkeys(reason for reason in reasons.values() if reason):
            parts = " ".join(name for name, own in reasons.items() if own == reason)
            print(f"{one.case.id[:48]:48} {parts:12} {reason}")
    print("\nSummary (tiers A and B)")
    figures = report(judged)
    rows = [("ingot", figures), *figures["peers"].items()]
    print(f"{'':24} {'(a) within 0.5 %':>17} {'(b) median %':>13} {'band':>6} {'false fit':>10} {'false refuse':>13}")
    for name, row in rows:
        capacity, available, verdict = row["kv_capacity"], row["available"], row["verdict"]
        share = f"{capacity['within_half_pct']}/{capacity['cases']}"
        median = "-" if available["median_abs_error_pct"] is None else f"{available['median_abs_error_pct']:.1f}"
        band = "-" if available["band_holds"] is None else f"{available['band_holds']:.0%}"
        wrong = f"{len(verdict['false_fit'])}/{verdict['refused']}"
        refuse = f"{len(verdict['false_refuse'])}/{verdict['served']}"
        print(f"{name:24} {share:>17} {median:>13} {band:>6} {wrong:>10} {refuse:>13}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge every case of a file and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parent.parent / "tests" / "sizing" / "data"
    parser.add_argument("cases", type=Path, nargs="?", default=here / "vllm_starts.json")
    parser.add_argument("models", type=Path, nargs="?", default=here / "model_configs.json")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args(arguments)
    try:
        cases = load_cases(chosen.cases, chosen.models)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        parser.error(f"{chosen.cases} with {chosen.models} cannot be read as cases ({error!r}); see tests/sizing/data")
    judged = [judge(case) for case in cases]
    if chosen.json:
        json.dump(report(judged), sys.stdout, indent=1)
        print()
    else:
        _print_text(judged)
    return 0


if __name__ == "__main__":
    sys.exit(main())
