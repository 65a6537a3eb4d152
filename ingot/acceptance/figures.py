"""What a healthy GPU of a model measures at least, each with its source; the peaks are the catalog's.

Figures are floors below what others published for healthy servers, so that torch's version and a warm room stay within
them. docs/acceptance.md has the table and how to read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ingot.catalog.load import GPUModel, load_gpus

#: Share of the dense bf16 peak that a large product reaches. Source: the MAMF table of
#: github.com/stas00/ml-engineering (compute/accelerator): A100 SXM 87 %, GH200 84 %, H100 SXM 80 % ("H200 is the
#: same"), B300 79 %, B200 78 %, at their best shape; ours is one shape, of random numbers, on a warm GPU.
MATMUL_SHARE = {
    "a100-40g": 0.72,
    "a100-80g": 0.72,
    "h100": 0.70,
    "h200": 0.70,
    "gh200": 0.70,
    "b200": 0.66,
    "b300": 0.66,
}
#: Cards that their power limits long before their tensor cores (L4 72 W, A10 150 W, L40S 350 W): public runs reach
#: half of the data sheet and less, so that siblings say more than this.
MATMUL_SHARE_OTHERS = 0.35
#: Share of the memory's peak that a copy reaches: 3 TB/s of 3.35 on an H100 (89 %), 2.98 of 3.35 on a GH200
#: (github.com/UoB-HPC/BabelStream/issues/194), 80 to 90 % in general.
COPY_SHARE = 0.78
#: GB/s of one PCIe lane and direction, after its line code. Source: PCI Express base specification.
LANE_GB_PER_S = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}
#: Share of the link's rate that a copy from pinned memory reaches. Azure's health check of H100 servers asks 48 GB/s of
#: 63 (76 %; github.com/Azure/azurehpc-health-checks, conf/ at 0e0a1ac2).
LINK_SHARE = 0.70
#: NCCL's bus bandwidth over eight GPUs behind NVSwitches, GB/s: 0.9 of what Azure's health check asks for (same source:
#: H100 460, H200 431, A100 228), which reduces 16 GB where the burn-in reduces 4.
ALL_REDUCE_OF_EIGHT = {"h100": 414.0, "h200": 388.0, "a100-40g": 205.0, "a100-80g": 205.0}
#: Copies from one GPU to the next over NVLink, GB/s: 0.9 of 335 for H100 (same source); A100 has half the links' rate.
PEER = {"h100": 300.0, "h200": 300.0, "a100-40g": 150.0, "a100-80g": 150.0}
#: Below this share of its floor a GPU fails, between the two it is warned of.
FAIL_SHARE = 0.85


@dataclass(frozen=True, slots=True)
class Floors:
    """What a GPU of this model measures at least; None where nobody said. TFLOP/s and GB/s."""

    matmul_tflops: float | None = None
    copy_gb_per_s: float | None = None
    peer_gb_per_s: float | None = None
    all_reduce_gb_per_s: float | None = None
    matmul_peak: float | None = None
    copy_peak: float | None = None


def floors(name: str, gpus: int) -> Floors:
    """The floors of a GPU by the name its driver reports, in a server with `gpus` of them; none if unlisted."""
    model = _by_name().get(name)
    if model is None:
        return Floors()
    share = MATMUL_SHARE.get(model.key, MATMUL_SHARE_OTHERS)
    return Floors(
        matmul_tflops=round(model.bf16_tflops * share, 1),
        copy_gb_per_s=round(model.bandwidth_gb * COPY_SHARE, 1),
        peer_gb_per_s=PEER.get(model.key),
        all_reduce_gb_per_s=ALL_REDUCE_OF_EIGHT.get(model.key) if gpus == 8 else None,
        matmul_peak=model.bf16_tflops,
        copy_peak=model.bandwidth_gb,
    )


def link_floor(generation: int | None, width: int | None) -> float | None:
    """What a copy over a PCIe link reaches at least, GB/s; None for a link nobody knows."""
    lane = LANE_GB_PER_S.get(generation or 0)
    return round(lane * width * LINK_SHARE, 2) if lane and width else None


def _by_name() -> Mapping[str, GPUModel]:
    return {model.name: model for model in load_gpus().values()}
