"""What SGLang takes of each GPU: a share of what was free before the weights, less the weights, is its cache.

Sources are files of SGLang 0.5.23 below `python/sglang/srt/`. "GB" in its own lines is GiB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ingot.sizing.errors import WorkloadError
from ingot.sizing.memory import Term
from ingot.sizing.units import GIB, MIB, gib, show_gib

#: Until 0.5 the share was a table by tensor parallelism. Source: server_args.py of 0.4.9.
OLD_SHARES = ((16, 0.79), (8, 0.81), (4, 0.85), (2, 0.87), (1, 0.88))
#: Card of less than so many GiB -> tokens of a prefill chunk, largest batch of a CUDA graph, the same from tensor
#: parallelism 4 on. Source: server_args.py, by-card defaults.
BY_CARD = (
    (20, 2048, 8, 8),
    (35, 4096, 48, 160),
    (60, 4096, 32, 160),
    (160, 8192, 256, 512),
    (math.inf, 16384, 512, 512),
)
#: From about here on the pool is resized after graph capture; 0.5.23 does, and which release began is not known.
RESIZED = (0, 5, 20)
#: MiB that a captured batch size takes. Source: arg_groups/memory_hook.py.
GRAPH_MIB = 2
#: What a captured batch size really takes: 12 and 14 MiB in two published starts. It comes out of what the share keeps
#: back, with the table of requests and, at least, what the attention backend and libraries take.
CAPTURED_BYTES = 12 * MIB
LIBRARIES = gib(0.4)
OUTSIDE_BAND = gib(1.0)
#: Requests at once are between these, unless the flag says otherwise. Source: pool_configurator.py.
LEAST_RUNNING, MOST_RUNNING = 2048, 4096
#: A row of the table from requests to tokens is this much longer than the context. Source: mem_cache/memory_pool.py.
ROW_EXTRA = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """What one rank caches of each token, in bytes, and of each request beside it (state of hybrid models)."""

    token_bytes: int
    request_bytes: int = 0
    latent: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server is started; None is the engine's own default for the card.

    `version` decides which default of the share of memory holds.
    """

    context: int
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    share: float | None = None
    chunk: int | None = None
    graph_batch: int | None = None
    max_running: int | None = None
    page: int = 1
    version: tuple[int, ...] = (0, 5, 23)
    drafting: bool = False


@dataclass(frozen=True, slots=True)
class Demand:
    """One GPU after the start: weights, cache, the table of requests; `outside` is kept back by the share."""

    before: int
    weights: Term
    cache: Term
    table: Term
    outside: Term
    tokens: int
    running: int

    @property
    def buffers(self) -> int:
        """Bytes in use when the pool is there and no graph is captured: what `Memory pool end. avail mem=` leaves."""
        return self.weights.bytes + self.cache.bytes + self.table.bytes

    @property
    def most(self) -> int:
        """Bytes in use with every band at its upper end."""
        return sum(one.bytes + one.band_bytes for one in (self.weights, self.cache, self.table, self.outside))


def token_bytes(layers: int, kv_heads: int, head_dim: int, value_dim: int, tensor_parallel: int, element: float) -> int:
    """Bytes of one token on one rank; ranks beyond the KV heads hold a copy. Source: pool_configurator.py."""
    return int(max(1, kv_heads // tensor_parallel) * (head_dim + value_dim) * layers * element)


def latent_token_bytes(layers: int, latent: int, rope: int, element: float) -> int:
    """Bytes of one token of latent attention: the same on every rank. Source: pool_configurator.py."""
    return int((latent + rope) * layers * element)


def default_share(total: int, settings: Settings, *, latent: bool = False) -> float:
    """The share of memory that weights and cache may take where no flag says. Source: arg_groups/memory_hook.py."""
    if settings.version < (0, 5):
        return next((share for least, share in OLD_SHARES if settings.tensor_parallel >= least), OLD_SHARES[-1][1])
    chunk, graph = by_card(total, settings)
    total_mib = total / MIB
    split = settings.tensor_parallel * settings.pipeline_parallel / 8 * 1024
    if settings.version >= RESIZED and not latent:
        # The pool is resized after graphs are captured, so less is kept back for them.
        reserved = 1536 + split
    else:
        reserved = 512 + 1.5 * max(chunk, 2048) + split + GRAPH_MIB * graph
        # Prefill graphs of latent attention take more.
        reserved += 1536 if latent and settings.version >= RESIZED else 0
        if total_mib > 60 * 1024:
            reserved = max(reserved, 10_240)
    if settings.drafting and settings.version < RESIZED:
        reserved += 2048
    return round((total_mib - reserved) / total_mib, 3)


def by_card(total: int, settings: Settings) -> tuple[int, int]:
    """Tokens of a prefill chunk and the largest batch of a CUDA graph: as asked, else by the card."""
    row = next(one for one in BY_CARD if total < one[0] * GIB)
    graph = row[3] if settings.tensor_parallel >= 4 else row[2]
    return settings.chunk or row[1], graph if settings.graph_batch is None else settings.graph_batch


def demand(shape: Shape, settings: Settings, total: int, before: int, weights: int) -> Demand:
    """One GPU's memory: `before` bytes are free when loading begins, of `total`.

    The context is not checked against the cache by the engine; who plans must compare it with `tokens`.

    Raises: WorkloadError where the weights leave nothing for the cache, with the engine's own arithmetic.
    """
    share = settings.share if settings.share is not None else default_share(total, settings, latent=shape.latent)
    budget = int(before - weights - before * (1 - share))
    if budget <= 0:
        raise WorkloadError(
            f"SGLang's weights take {show_gib(weights)} of {show_gib(before)} free, more than its share of "
            f"{share:.2f}: the cache would have nothing (the share would have to be above {weights / before:.2f})."
        )
    row = (settings.context + ROW_EXTRA) * 4
    # Requests beside each other are decided before the pool: state of hybrid models is allocated for each.
    tokens = budget // shape.token_bytes // settings.page * settings.page if shape.token_bytes else 0
    running = settings.max_running or running_requests(tokens, settings.context)
    outside = LIBRARIES + CAPTURED_BYTES * by_card(total, settings)[1]
    kept = int(before * (1 - share))
    if settings.version < RESIZED and kept < running * row + outside:
        raise WorkloadError(
            f"SGLang's share of {share:.2f} keeps {show_gib(kept)} back, less than its table of {running} "
            f"requests ({show_gib(running * row)}) and its CUDA graphs and libraries ({show_gib(outside)}): make the "
            "share smaller."
        )
    return Demand(
        before,
        Term(weights, "derived", 0, "the checkpoint's tensors of one rank", "the safetensors files"),
        Term(
            tokens * shape.token_bytes if shape.token_bytes else budget,
            "derived",
            0,
            f"free - weights - free x (1 - {share:.3f}), in whole tokens",
            "mem_cache/kv_cache_configurator.py, model_executor/pool_configurator.py",
        ),
        Term(running * row, "derived", 0, "requests x (context + 4) x 4", "mem_cache/memory_pool.py"),
        Term(outside, "default", OUTSIDE_BAND, "CUDA graphs and libraries", "published starts"),
        tokens,
        running,
    )


def running_requests(tokens: int, context: int) -> int:
    """Requests at once that the engine sets itself. Source: model_executor/pool_configurator.py."""
    return max(1, min(max(min(tokens * 512 // max(context, 1), MOST_RUNNING), LEAST_RUNNING), max(tokens // 2, 1)))
