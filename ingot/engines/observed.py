"""What a started vLLM says about its memory, in its log and its metrics, as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

#: The gauge whose labels carry the resolved cache settings.
CACHE_INFO = "vllm:cache_config_info"

_GIB = 1024**3
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
# Wordings of vLLM 0.8 to 0.33: v1/worker/gpu_worker.py, v1/worker/gpu/model_runner.py, v1/core/kv_cache_utils.py.
_WEIGHTS = re.compile(r"Model loading took ([\d.]+) (?:GiB|GB)")
_AVAILABLE = re.compile(r"Available KV cache memory: (-?[\d.]+) GiB")
_TOKENS = re.compile(r"KV cache size: ([\d,]+) tokens")
_CONCURRENCY = re.compile(r"Maximum concurrency for ([\d,]+) tokens per request: ([\d.]+)x")
_GRAPHS = re.compile(r"Graph capturing finished in [\d.]+ secs?, took (-?[\d.]+) GiB")
_USAGE = re.compile(r"Actual usage is ([\d.]+) GiB for (?:consumed memory|weight).*?([\d.]+) GiB for peak activation")
_FREE = re.compile(r"Free memory on device \(([\d.]+)/([\d.]+) GiB\) on startup")
# vllm/compilation/backends.py: a graph that is not in the compile cache is compiled.
_COMPILED = re.compile(r"Compiling a graph for .* takes [\d.]+ s")
# model_executor/model_loader/default_loader.py; each rank says it, and again for a draft.
_LOADING = re.compile(r"Loading weights took ([\d.]+) s")
_VERSION = re.compile(r"vLLM API server version (\S+)")

#: Lines that carry one of the numbers above, as a grep -E expression for the host.
LOG_LINES = (
    "Model loading took|Loading weights took|KV cache memory|KV cache size|Maximum concurrency|"
    "Graph capturing finished|Actual usage is|API server version|Compiling a graph for"
)


@dataclass(frozen=True, slots=True)
class Observed:
    """One start's real numbers; None is what was not said. Bytes are of one GPU; GPUs of a replica that differ
    are given by the tightest (most weights, least cache). Of `layers` those that are not `layers_on_gpus` are computed
    on the processor. `compiled` says that the start compiled the model, which keeps memory that a start with a compile
    cache has for its cache. `loading_s` is the slowest rank's. `gpu_bytes` are all buffers on the GPU that has most of
    them, where an engine says so."""

    engine_version: str | None = None
    weights_bytes: int | None = None
    available_kv_bytes: int | None = None
    graphs_bytes: int | None = None
    consumed_bytes: int | None = None
    activation_bytes: int | None = None
    total_bytes: int | None = None
    free_at_start_bytes: int | None = None
    kv_cache_tokens: int | None = None
    max_concurrency: float | None = None
    num_blocks: int | None = None
    block_size: int | None = None
    compiled: bool = False
    loading_s: float | None = None
    layers: int | None = None
    layers_on_gpus: int | None = None
    gpu_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON-able values."""
        return asdict(self)


def parse(log: Iterable[str], metrics: Iterable[str]) -> Observed:
    """The numbers in log lines and in the text of /metrics. Lines that say nothing of the kind are ignored."""
    lines = list(log)
    usage, free = _last(_USAGE, lines), _last(_FREE, lines)
    concurrency = _last(_CONCURRENCY, lines)
    tokens = _last(_TOKENS, lines)
    version = _last(_VERSION, lines)
    labels = _cache_info(metrics)
    return Observed(
        engine_version=version.group(1) if version else None,
        weights_bytes=_extreme(max, _WEIGHTS, lines),
        available_kv_bytes=_extreme(min, _AVAILABLE, lines),
        graphs_bytes=_extreme(max, _GRAPHS, lines),
        consumed_bytes=_bytes(usage.group(1)) if usage else None,
        activation_bytes=_bytes(usage.group(2)) if usage else None,
        total_bytes=_bytes(free.group(2)) if free else None,
        free_at_start_bytes=_bytes(free.group(1)) if free else None,
        kv_cache_tokens=_int(labels.get("kv_cache_size_tokens"), tokens),
        max_concurrency=_float(labels.get("kv_cache_max_concurrency"), concurrency),
        num_blocks=_int(labels.get("num_gpu_blocks")),
        block_size=_int(labels.get("block_size")),
        compiled=any(_COMPILED.search(line) for line in lines),
        loading_s=max((float(match[1]) for line in lines if (match := _LOADING.search(line))), default=None),
    )


def _last(pattern: re.Pattern[str], lines: Iterable[str]) -> re.Match[str] | None:
    found = None
    for line in lines:
        found = pattern.search(line) or found
    return found


def _extreme(pick: Any, pattern: re.Pattern[str], lines: Iterable[str]) -> int | None:
    found = [_bytes(match.group(1)) for line in lines if (match := pattern.search(line))]
    return int(pick(found)) if found else None


def _bytes(gib: str) -> int:
    return int(float(gib) * _GIB)


def _cache_info(metrics: Iterable[str]) -> dict[str, str]:
    for line in metrics:
        if line.startswith(CACHE_INFO + "{"):
            return dict(_LABEL.findall(line))
    return {}


def _int(label: str | None, logged: re.Match[str] | None = None) -> int | None:
    if label is not None and label.isdigit():
        return int(label)
    return int(logged.group(1).replace(",", "")) if logged else None


def _float(label: str | None, logged: re.Match[str] | None) -> float | None:
    try:
        return float(label) if label is not None else float(logged.group(2)) if logged else None
    except ValueError:
        return float(logged.group(2)) if logged else None
