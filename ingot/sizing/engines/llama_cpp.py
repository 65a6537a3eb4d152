"""What llama.cpp takes of each GPU and of the host: exact weights, cache and state, and a stated band for the rest.

Sources are files of llama.cpp b11434. Lines of real starts that these formulas were held against are in
`tests/sizing/data/engine_starts.json`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from ingot.sizing.errors import WorkloadError
from ingot.sizing.gguf.tensor_types import BY_NAME, CACHE_TYPES
from ingot.sizing.memory import Term
from ingot.sizing.units import MIB, ceil_div

#: Contexts are padded to this. Source: src/llama-context.cpp.
PADDING = 256
#: How far the estimate of the compute buffer was from those of published starts, as a share of it and in all.
COMPUTE_BAND = 1.0
LEAST_COMPUTE_BAND = 64 * MIB
#: What a CUDA context, its libraries' handles and kernels take beside the buffers: 250 to 700 MiB in published
#: breakdowns' column "unaccounted", which also counts what other programs hold.
CUDA_CONTEXT = 450 * MIB
CUDA_CONTEXT_BAND = 250 * MIB
#: The process without a model: measured 35 to 43 MB without a GPU; CUDA's libraries map more.
PROCESS = 512 * MIB
#: Activations that live at once, in rows as wide as the model, where no flash attention runs and where it does.
#: Fitted to nothing: counted in the graph (input, Q, K, V, output) and held against four published buffers.
LIVE_ROWS = 5


@dataclass(frozen=True, slots=True)
class CacheLayer:
    """What one layer keeps of each token, in numbers; `window` where only the last tokens stay.

    A model of latent attention keeps no values: `values` is 0.
    """

    keys: int
    values: int
    window: int | None = None


@dataclass(frozen=True, slots=True)
class StateLayer:
    """What one layer keeps of each sequence, in numbers of float32: convolution and state."""

    convolution: int
    state: int


@dataclass(frozen=True, slots=True)
class Shape:
    """A model as llama.cpp loads it.

    `layers` has one entry for each block: what it caches, or its state, or both, or nothing. `draft` are the blocks
    that guess tokens ahead (MTP), which keep a cache only where guessing is on. `layer_weights` are bytes of each
    block, `output_weights` of what follows them (with `tied_weights`, the second copy of an embedding that is the
    output too), `input_weights` of what stays in the host's memory. 0 heads or feed-forward: unknown.
    """

    width: int
    vocabulary: int
    layers: tuple[tuple[CacheLayer | StateLayer, ...], ...]
    draft: tuple[tuple[CacheLayer | StateLayer, ...], ...] = ()
    heads: int = 0
    feed_forward: int = 0
    layer_weights: tuple[int, ...] = ()
    output_weights: int = 0
    tied_weights: int = 0
    input_weights: int = 0
    trained_context: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server is started: `context` is that of all slots together, as `-c` is.

    `unified`: every slot may use the whole context (`-kvu`); else each has its share. `logits_for_all`: builds before
    2026-06 kept a row of logits for every token of a batch, later ones for the tokens that are answered.
    `drafting`: a model's own draft blocks guess tokens. `pipelined`: layers are split over several GPUs.
    """

    context: int
    parallel: int = 1
    unified: bool = False
    micro_batch: int = 512
    key_type: str = "f16"
    value_type: str = "f16"
    flash_attention: bool = True
    logits_for_all: bool = False
    drafting: bool = False
    pipelined: bool = False
    prompt_cache_bytes: int = 0

    def __post_init__(self) -> None:
        for name in (self.key_type, self.value_type):
            if name not in CACHE_TYPES:
                raise WorkloadError(f"llama.cpp's cache cannot be of type {name!r}, expected {', '.join(CACHE_TYPES)}.")
        if self.context < 1 or self.parallel < 1 or self.micro_batch < 1:
            raise WorkloadError("Context, slots and micro-batch of llama.cpp are whole numbers from 1 on.")
        if not self.flash_attention and BY_NAME[self.value_type].block_elements > 1:
            raise WorkloadError(f"A cache of values in {self.value_type} needs flash attention, which is off.")

    @property
    def streams(self) -> int:
        """Caches that are kept apart: one where slots share it. Source: src/llama-context.cpp."""
        return 1 if self.unified else self.parallel

    @property
    def cells(self) -> int:
        """Tokens that one stream holds."""
        return padded(ceil_div(padded(self.context), self.streams)) if self.streams > 1 else padded(self.context)

    def window_cells(self, window: int) -> int:
        """Tokens that one stream holds of layers with a window. Source: src/llama-kv-cache-iswa.cpp."""
        sharing = self.parallel if self.unified else 1
        return padded(min(self.cells, window * sharing + self.micro_batch))


@dataclass(frozen=True, slots=True)
class Demand:
    """What one GPU (or, without any, the processor) must hold, as terms."""

    weights: Term
    cache: Term
    state: Term
    compute: Term
    context: Term

    @property
    def buffers(self) -> int:
        """Bytes of the buffers that llama.cpp prints: what is compared with its log."""
        return self.weights.bytes + self.cache.bytes + self.state.bytes + self.compute.bytes

    @property
    def most(self) -> int:
        """Bytes with every band at its upper end: what must be free, so that no plan is refused by the engine."""
        terms = (self.weights, self.cache, self.state, self.compute, self.context)
        return sum(term.bytes + term.band_bytes for term in terms)


def padded(cells: int) -> int:
    """A number of cells as llama.cpp rounds it up."""
    return ceil_div(cells, PADDING) * PADDING


def cache_bytes(blocks: Sequence[tuple[CacheLayer | StateLayer, ...]], settings: Settings) -> int:
    """Bytes of keys and values of these blocks. Source: src/llama-kv-cache.cpp."""
    keys, values = BY_NAME[settings.key_type], BY_NAME[settings.value_type]
    total = 0
    for layer in (one for block in blocks for one in block if isinstance(one, CacheLayer)):
        cells = settings.cells if layer.window is None else settings.window_cells(layer.window)
        total += (keys.row_bytes(layer.keys) + values.row_bytes(layer.values)) * cells * settings.streams
    return total


def state_bytes(blocks: Sequence[tuple[CacheLayer | StateLayer, ...]], settings: Settings) -> int:
    """Bytes of recurrent state of these blocks. Source: src/llama-memory-recurrent.cpp."""
    found = (one for block in blocks for one in block if isinstance(one, StateLayer))
    return sum((one.convolution + one.state) * 4 * settings.parallel for one in found)


def compute_bytes(shape: Shape, settings: Settings) -> Term:
    """The compute buffer: no closed form exists (a graph allocator makes it), so an estimate with its band.

    The largest of three, each of which was the whole of some published buffer: logits and embeddings of a batch, the
    attention mask, and activations, to which scores are added where flash attention is off.
    """
    batch = settings.micro_batch
    rows = batch if settings.logits_for_all else min(settings.parallel, batch)
    logits = (rows * shape.vocabulary + batch * shape.width) * 4
    mask = 6 * settings.cells * batch
    activations = batch * 4 * (LIVE_ROWS * shape.width + 2 * shape.feed_forward)
    formula = "largest of logits, mask and activations of a micro-batch"
    if not settings.flash_attention:
        activations = batch * 4 * (LIVE_ROWS * shape.width + settings.cells * (shape.heads + 1))
        formula += ", with scores (micro-batch x context x (heads + 1) x 4)"
    most = max(logits, mask, activations)
    if settings.pipelined:
        # Four copies of the inputs, of which the mask is the largest. Source: src/llama-context.cpp.
        most += 4 * 4 * settings.cells * batch
    band = max(int(most * COMPUTE_BAND), LEAST_COMPUTE_BAND)
    return Term(most, "default", band, formula, "src/llama-context.cpp, graph_reserve; published buffers")


def placed(shape: Shape, shares: Sequence[float]) -> tuple[range, ...]:
    """The blocks of each GPU, split by `shares` (free memory, or -ts); the last block number is the output.

    Source: src/llama-model.cpp, load_tensors.
    """
    count = len(shape.layers) + len(shape.draft) + 1
    total = sum(shares)
    if total <= 0:
        raise WorkloadError("The GPUs have no free memory among which layers could be split.")
    ends = [end / total for end in accumulate(shares)]
    owner = [min(bisect_right(ends, block / count), len(shares) - 1) for block in range(count)]
    return tuple(
        range(owner.index(gpu), count - owner[::-1].index(gpu)) if gpu in owner else range(0)
        for gpu in range(len(shares))
    )


def demands(shape: Shape, settings: Settings, shares: Sequence[float] = (1.0,)) -> tuple[Demand, ...]:
    """What each GPU must hold with every layer on GPUs, in the order of `shares`."""
    pipelined = replace(settings, pipelined=len(shares) > 1)
    blocks = (*shape.layers, *(shape.draft if settings.drafting else ((),) * len(shape.draft)))
    weights = (*(shape.layer_weights or (0,) * len(blocks)), shape.output_weights)
    compute = compute_bytes(shape, pipelined)
    drafted = compute.bytes if settings.drafting else 0
    found = []
    for held in placed(shape, shares):
        own = [blocks[index] for index in held if index < len(blocks)]
        found.append(
            Demand(
                Term(sum(weights[index] for index in held), "derived", 0, "the tensor table", "the GGUF file"),
                Term(
                    cache_bytes(own, settings),
                    "derived",
                    0,
                    "sum over layers of (row of keys + row of values) x cells x streams",
                    "src/llama-kv-cache.cpp, src/llama-kv-cache-iswa.cpp",
                ),
                Term(
                    state_bytes(own, settings),
                    "derived",
                    0,
                    "(convolution + state) x 4 x slots, over recurrent layers",
                    "src/llama-memory-recurrent.cpp",
                ),
                Term(compute.bytes + drafted, compute.basis, compute.band_bytes, compute.formula, compute.source),
                Term(CUDA_CONTEXT, "default", CUDA_CONTEXT_BAND, "a CUDA context and its kernels", "published starts"),
            )
        )
    return tuple(found)


def host_terms(shape: Shape, settings: Settings, *, gpus: bool) -> dict[str, Term]:
    """What the host's memory must hold: everything where there is no GPU.

    Weights are mapped from the file, so they count as page cache, but a server whose pages do not stay is too slow.
    """
    mask = 4 * settings.cells * settings.micro_batch
    logits = shape.vocabulary * settings.parallel * 4
    terms = {
        "inputs": Term(shape.input_weights, "derived", 0, "token embeddings", "src/llama-model.cpp, load_tensors"),
        "mask": Term(mask, "derived", mask, "4 x context x micro-batch", "src/llama-context.cpp"),
        "logits": Term(logits, "derived", 0, "4 x vocabulary x slots", "src/llama-context.cpp, output_reserve"),
        "prompt cache": Term(settings.prompt_cache_bytes, "derived", 0, "--cache-ram", "tools/server"),
        "process": Term(PROCESS, "default", PROCESS // 2, "the server itself", "measured"),
    }
    if not gpus:
        compute = compute_bytes(shape, settings)
        whole = (*shape.layers, *(shape.draft if settings.drafting else ()))
        # One copy serves as embedding and as output where both are in the host's memory.
        weights = sum(shape.layer_weights) + shape.output_weights - shape.tied_weights
        terms["weights"] = Term(weights, "derived", 0, "the tensor table", "the GGUF file")
        terms["cache"] = Term(cache_bytes(whole, settings), "derived", 0, "as on a GPU", "src/llama-kv-cache.cpp")
        terms["state"] = Term(
            state_bytes(whole, settings), "derived", 0, "as on a GPU", "src/llama-memory-recurrent.cpp"
        )
        terms["compute"] = compute
    return terms
