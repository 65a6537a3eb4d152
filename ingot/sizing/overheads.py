"""What an engine needs beside weights and cache: activations, sampler, encoder, CUDA graphs, context and collectives.

None of it stands in a config.json. Each function gives an estimate with a band and says where it comes from; a
calibration replaces it. The constants were fitted on published starts (docs/sizing.md shows which) and never to one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from ingot.sizing.architecture import Architecture
from ingot.sizing.engine import EngineProfile
from ingot.sizing.memory import Term
from ingot.sizing.split import Parallel
from ingot.sizing.units import DTYPE_BYTES, GIB, MIB, gib

# Rows of hidden size that live beside a feed-forward block's own rows at its peak; run eagerly, operations are not
# fused and more of them live.
HIDDEN_ROWS = 4.5
HIDDEN_ROWS_EAGER = 11.0
# Experts' workspaces are permuted copies of what the formula counts.
EXPERT_FACTOR = 1.3
# Data parallel ranks that share experts gather each other's tokens, and scatter the results.
GATHERED_ROWS = 2
# Towers that scale every image to one size take little.
ENCODER_FIXED = frozenset(
    {"gemma3", "llava", "llava_next", "paligemma", "idefics3", "smolvlm", "internvl", "internvl_chat"}
)
ENCODER_FIXED_PEAK = (0.4, 0.4)
# Gemma 4's tower is profiled with as much video as the budget of encoder tokens holds, which is that of a batch
# (vLLM `multimodal/encoder_budget.py`): MiB per token, from one start.
ENCODER_MIB_PER_TOKEN = {"gemma4": 0.45}
# Peak of one pass of the image tower at the largest input its processor allows, by model type: GiB and band.
# Dynamic resolution makes it large (Qwen2.5-VL and dots.ocr: 4 to 7 GiB in logs), fixed resolution small.
ENCODER_PEAKS = {
    "qwen2_vl": (6.0, 2.5),
    "qwen2_5_vl": (6.0, 2.5),
    "dots_ocr": (4.4, 2.0),
    "qwen3_vl": (2.5, 1.5),
    "qwen3_vl_moe": (2.5, 1.5),
    "qwen3_5": (1.0, 0.7),
    "qwen3_5_moe": (1.0, 0.7),
}
ENCODER_DEFAULT = (0.8, 0.8)
# Mllama runs its encoder for every sequence at once (36.63 GiB for 128 sequences on a published start).
ENCODER_PER_SEQUENCE = {"mllama": 0.286}
# GiB beside what PyTorch allocates, per GPU, by the number of ranks: NCCL's buffers and peer mappings. Behind an
# NVSwitch NCCL reduces in the switch from four GPUs on (H100: 2.26 and 2.35 GiB logged, B200: 0.95); elsewhere 0.2 to
# 0.6 GiB were logged for four.
NON_TORCH_GIB = {1: (0.10, 0.10), 2: (0.42, 0.20), 4: (0.50, 0.35), 8: (1.00, 0.70)}
NON_TORCH_SWITCHED_GIB = {1: (0.10, 0.10), 2: (0.50, 0.20), 4: (1.70, 0.90), 8: (2.35, 0.40)}
# Where GPU and host share their memory, the engine's processes on the host are in the same account: 1.8 to 5 GiB more
# in four logs of GB10.
UNIFIED_GIB = (3.5, 2.5)
# Free memory that logs report at the start, below the total: context and NCCL, before anything else.
STARTUP_GIB = {1: 0.65, 2: 1.2, 4: 2.5, 8: 3.2}
GRAPH_MIB_PER_LAYER_AND_SIZE = 0.25
GRAPH_BASE_GIB = 0.15
# Rings of eight and more ranks keep their buffers in the graphs (3.45 GiB logged over eight L40S).
GRAPH_RING_RANKS, GRAPH_RING_FACTOR = 8, 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """An amount in bytes with the band its truth lies in, and where it comes from.

    `least_bytes` is set where the truth may be far below the estimate for a reason that cannot be seen.
    """

    bytes: int
    band_bytes: int
    formula: str
    source: str
    least_bytes: int | None = None

    def term(self) -> Term:
        """The estimate as a term of a breakdown."""
        return Term(self.bytes, "default", self.band_bytes, self.formula, self.source)


def forward(
    architecture: Architecture, parallel: Parallel, tokens: int, engine: EngineProfile, *, enforce_eager: bool = False
) -> Estimate:
    """Activations of one forward pass over `tokens` tokens on one rank."""
    tensor = parallel.tensor
    element = DTYPE_BYTES[architecture.dtype]
    dense = 3 * architecture.feed_forward / tensor
    width, formula = dense, f"3 x {architecture.feed_forward} / {tensor}"
    if architecture.experts:
        # Spread experts keep their width.
        cut = 1 if parallel.expert else tensor
        inner = architecture.expert_width / cut
        routed = architecture.experts_per_token * (max(2 * inner, architecture.hidden_size) + inner)
        width = EXPERT_FACTOR * routed
        formula = (
            f"{EXPERT_FACTOR} x {architecture.experts_per_token} experts x "
            f"(max(2 x {architecture.expert_width} / {cut}, {architecture.hidden_size}) + "
            f"{architecture.expert_width} / {cut})"
        )
        if parallel.data > 1:
            gathered = tokens * parallel.data
            chunk = min(gathered, engine.expert_chunk or gathered)
            width = (width * chunk + GATHERED_ROWS * gathered * architecture.hidden_size) / tokens
            formula = (
                f"({formula} x {chunk} + {GATHERED_ROWS} x {architecture.hidden_size} x {gathered}) / {tokens} "
                f"for the tokens of {parallel.data} ranks"
            )
    rows = HIDDEN_ROWS_EAGER if enforce_eager else HIDDEN_ROWS
    row = (width + rows * architecture.hidden_size) * element
    amount = int(tokens * row)
    return Estimate(
        amount,
        int(amount * 0.3) + 64 * MIB,
        f"{tokens} tokens x ({formula} + {rows:g} x {architecture.hidden_size}) x {element:g} bytes",
        "rows that live at the peak of a feed-forward block; fitted on published starts",
    )


def sampler(architecture: Architecture, sequences: int, engine: EngineProfile, *, flashinfer: bool) -> Estimate:
    """Logits and the sampler's copies of them for `sequences` rows; every rank gathers the whole vocabulary."""
    copies = engine.sampler_copies_flashinfer if flashinfer else engine.sampler_copies
    amount = int(copies * sequences * architecture.vocab_size * 4)
    least = int(engine.sampler_copies_least * sequences * architecture.vocab_size * 4)
    return Estimate(
        amount,
        int(amount * 0.05) + 32 * MIB,
        f"{copies:g} copies x {sequences} sequences x {architecture.vocab_size} vocabulary x 4 bytes",
        "vLLM v1/sample/ops/topk_topp_sampler.py; copies measured on published starts",
        least if least < amount else None,
    )


def encoder(architecture: Architecture, sequences: int, tokens: int) -> Estimate | None:
    """The image or audio tower at its largest input; None where the model has none.

    `sequences` are at work at once, `tokens` of them in one batch.
    """
    if architecture.encoder is None:
        return None
    kinds = (architecture.model_type, architecture.outer_type)
    for kind in kinds:
        if kind in ENCODER_MIB_PER_TOKEN:
            amount = int(ENCODER_MIB_PER_TOKEN[kind] * MIB * tokens)
            formula = f"{ENCODER_MIB_PER_TOKEN[kind]} MiB x {tokens} tokens of video"
            return Estimate(amount, amount // 2, formula, "one published start")
        if kind in ENCODER_PER_SEQUENCE:
            amount = gib(ENCODER_PER_SEQUENCE[kind] * sequences)
            formula = f"{ENCODER_PER_SEQUENCE[kind]} GiB x {sequences} sequences"
            return Estimate(amount, amount // 3, formula, "one published start")
    other = ENCODER_FIXED_PEAK if ENCODER_FIXED.intersection(kinds) else ENCODER_DEFAULT
    known = next((ENCODER_PEAKS[kind] for kind in kinds if kind in ENCODER_PEAKS), other)
    return Estimate(
        gib(known[0]), gib(known[1]), f"{known[0]} GiB at the largest image", "published starts of the model's family"
    )


def compiling(peak: Estimate, engine: EngineProfile) -> Estimate:
    """The peak of a profiling pass with what a start that compiles keeps; one that finds its compile cache does not.

    A plan has to hold for the first start, which compiles.
    """
    amount, band = engine.compiling_gib
    if not amount:
        return peak
    return replace(
        peak,
        bytes=peak.bytes + gib(amount),
        band_bytes=peak.band_bytes + gib(band),
        formula=f"{peak.formula} + {amount} GiB of the first compilation",
        least_bytes=peak.bytes if peak.least_bytes is None else peak.least_bytes,
    )


def added(peak: Estimate, kept: Estimate) -> Estimate:
    """The peak of one pass beside a workspace that is kept from another."""
    return replace(
        peak,
        bytes=peak.bytes + kept.bytes,
        band_bytes=peak.band_bytes + kept.band_bytes,
        formula=f"{peak.formula} + experts' workspace: {kept.formula}",
        least_bytes=None if peak.least_bytes is None else peak.least_bytes + kept.bytes,
    )


def non_torch(ranks: int, pipeline: int, engine: EngineProfile, *, switched: bool, unified: bool = False) -> Estimate:
    """Driver context, libraries and collectives' buffers on one of `ranks` GPUs that talk to each other.

    Where GPU and host share their memory (`unified`), what the host's side of the engine takes is counted as well.
    """
    table = NON_TORCH_SWITCHED_GIB if switched else NON_TORCH_GIB
    known = max((size for size in table if size <= ranks), default=1)
    amount, band = table[known]
    if pipeline > 1 and ranks == 1:
        amount, band = table[2]
    where = " behind an NVSwitch" if switched else ""
    band += engine.non_torch_band_gib + (0.05 if engine.context_gib else 0)
    formula = f"{amount} GiB for {known} ranks{where} + {engine.context_gib} GiB of context"
    if unified:
        amount += UNIFIED_GIB[0]
        band += UNIFIED_GIB[1]
        formula += f" + {UNIFIED_GIB[0]} GiB of the host's side in shared memory"
    return Estimate(
        gib(amount + engine.context_gib),
        gib(band),
        formula,
        "logged non-torch memory of published starts",
    )


@lru_cache(maxsize=64)
def startup_bytes(gpus: int) -> int:
    """Memory that is gone before the engine first measures: its context, and collectives between several GPUs."""
    known = max((size for size in STARTUP_GIB if size <= gpus), default=1)
    return gib(STARTUP_GIB[known])


def capture_sizes(sequences: int, largest: int = 512) -> int:
    """How many batch sizes CUDA graphs are captured for: 1, 2, 4, then steps of 8 to 256, of 16 beyond."""
    most = min(2 * sequences, largest)
    small = sum(1 for size in (1, 2, 4) if size <= most)
    return small + max(0, min(most, 256) // 8) + max(0, (most - 256) // 16)


def graphs(
    layers: int, sequences: int, *, enforce_eager: bool, unswitched_ranks: int = 1, twice: bool = False
) -> Estimate:
    """CUDA graphs of all captured batch sizes; `twice` where each is captured with adapters and without.

    `unswitched_ranks` are ranks whose all-reduce runs over NCCL's rings rather than in a switch or by peer access:
    from eight on, its buffers in the graphs are twice as large as all else.
    """
    if enforce_eager:
        return Estimate(0, 0, "no graphs: enforce_eager", "engine argument")
    sizes = capture_sizes(sequences) * (2 if twice else 1)
    rings = GRAPH_RING_FACTOR if unswitched_ranks >= GRAPH_RING_RANKS else 1
    amount = gib(GRAPH_BASE_GIB) + int(GRAPH_MIB_PER_LAYER_AND_SIZE * rings * layers * sizes * MIB)
    return Estimate(
        amount,
        int(amount * 0.6) + GIB // 5,
        f"{GRAPH_BASE_GIB} GiB + {GRAPH_MIB_PER_LAYER_AND_SIZE * rings} MiB x {layers} layers x {sizes} batch sizes",
        "logged graph captures of published starts",
    )
