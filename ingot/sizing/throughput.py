"""How fast a replica may be, by a roofline: memory bandwidth bounds decoding, arithmetic bounds prefill.

An estimate from peak figures and nothing else; a benchmark of the served model outranks it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ingot.sizing.architecture import Architecture, Split
from ingot.sizing.split import Parallel

# What engines reach of a GPU's peak: published decode and prefill rates of dense models scatter around these.
BANDWIDTH_SHARE = 0.7
ARITHMETIC_SHARE = 0.45
# What is left of each further GPU's speed after the all-reduce between layers.
NVLINK_SHARE = 0.9
PCIE_SHARE = 0.65


@dataclass(frozen=True, slots=True)
class Peak:
    """Peak figures of one GPU: memory bandwidth in bytes/s, dense arithmetic in FLOP/s."""

    bandwidth: float
    flops: float
    flops_fp8: float | None = None


@dataclass(frozen=True, slots=True)
class Throughput:
    """Estimated rates of one replica with all its sequences running at half their context."""

    decode_tokens_per_s: float
    prefill_tokens_per_s: float
    first_token_s: float
    bound: str
    basis: str = "estimate: roofline from peak figures"


def estimate(
    architecture: Architecture,
    *,
    weight_bytes: int,
    request_bytes: int,
    context: int,
    sequences: int,
    parallel: Parallel,
    peak: Peak,
    nvlink: bool,
    quantized: bool,
) -> Throughput:
    """Rates of one replica.

    `weight_bytes` is of one GPU, `request_bytes` one full sequence's cache on one GPU, `sequences` of one data
    parallel rank.
    """
    active = _active_parameters(architecture, 1)
    total = max(architecture.parameters, 1)
    share = NVLINK_SHARE if nvlink else PCIE_SHARE
    speedup = 1 + (parallel.tensor - 1) * share
    if parallel.data > 1:
        speedup *= share
    efficiency = speedup / parallel.tensor
    touched = _active_parameters(architecture, sequences * parallel.data) / total
    flops = (peak.flops_fp8 if quantized and peak.flops_fp8 else peak.flops) * ARITHMETIC_SHARE
    read_s = (weight_bytes * touched + sequences * request_bytes / 2) / (peak.bandwidth * BANDWIDTH_SHARE * efficiency)
    compute_s = sequences * 2 * active / (flops * speedup)
    step = max(read_s, compute_s) * parallel.pipeline
    prefill = flops * speedup / (2 * active)
    ranks = parallel.data
    return Throughput(
        decode_tokens_per_s=round(ranks * sequences / step, 1),
        prefill_tokens_per_s=round(ranks * prefill, 1),
        first_token_s=round(context / prefill, 2),
        bound="memory bandwidth" if read_s >= compute_s else "arithmetic",
    )


def _active_parameters(architecture: Architecture, tokens: int) -> float:
    """Parameters that a step of `tokens` tokens reads: of the experts, those that at least one token chooses."""
    dense, experts = _parameters(architecture)
    if not architecture.experts:
        return max(dense, 1)
    chosen = min(architecture.experts_per_token or 1, architecture.experts)
    return max(dense + experts * (1 - (1 - chosen / architecture.experts) ** tokens), 1)


def _parameters(architecture: Architecture) -> tuple[int, int]:
    groups: Iterable[tuple[Split, int]] = [
        (group.split, group.parameters) for layer in architecture.layers for group in layer.weights
    ]
    head = sum(group.parameters for group in (architecture.embedding if architecture.tied else architecture.head))
    experts = sum(parameters for split, parameters in groups if split is Split.EXPERT)
    return sum(parameters for split, parameters in groups if split is not Split.EXPERT) + head, experts
