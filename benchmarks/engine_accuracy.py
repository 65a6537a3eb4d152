"""How true the arithmetic of engines besides vLLM is: judged on published starts.

    benchmarks/engine_accuracy.py CASES.json [--json]

+ kv: bytes of the cache from the model's shape and the settings (SGLang and TensorRT-LLM: from the tokens that the
  log shows), exact within 0.5 % and the log's last digit
+ total: device memory after the start, within 5 %. Weights are taken from the log where it shows them: a plan reads
  them in the tensor table of the file, which a case does not have
+ false_fit, false_refuse: what did not fit wholly on the GPUs though the arithmetic says so, and the other way round

Tier C cases are not judged. A case of which a figure cannot be judged is listed with the reason.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine_cases import Case, Unknown, each, is_on, load_cases

from ingot.sizing.engines import llama_cpp, sglang, tensorrt_llm
from ingot.sizing.errors import SizingError, WorkloadError
from ingot.sizing.gguf.shape import WINDOWED
from ingot.sizing.units import GIB, MIB, ceil_div

KV_PCT, TOTAL_PCT = 0.5, 5.0
#: Where a case does not name it, for the compute buffer alone.
TYPICAL_VOCABULARY = 131_072
#: From which build of llama.cpp, or month: logits are kept of answered tokens alone; slots have streams of their own;
#: latent attention is cached as such; and without values.
ROWS_SINCE = (9600, (2026, 6))
STREAMS_SINCE = (5900, (2025, 7))
LATENT_SINCE = (5132, (2025, 4))
VALUELESS_SINCE = (7840, (2026, 2))


@dataclass
class Judged:
    """One case: predicted and logged bytes of cache and device, verdicts, and reasons where there is no figure."""

    case: Case
    kv: tuple[float, float, float] | None = None
    total: tuple[float, float] | None = None
    fit: bool | None = None
    reasons: list[str] = field(default_factory=list)

    @property
    def kv_exact(self) -> bool:
        """Within half a percent, and the log's own rounding."""
        assert self.kv
        predicted, logged, digit = self.kv
        return abs(predicted - logged) <= logged * KV_PCT / 100 + digit

    @property
    def total_within(self) -> bool:
        """Within five percent."""
        assert self.total
        return abs(self.total[0] - self.total[1]) <= self.total[1] * TOTAL_PCT / 100


def judge(case: Case) -> Judged:
    """The arithmetic's answers on one case."""
    judged = Judged(case)
    if case.raw.get("tier") == "C":
        judged.reasons.append("tier C: an example that its collector does not assert")
        return judged
    parts = JUDGES.get(case.engine)
    if parts is None:
        judged.reasons.append(f"no arithmetic for engine {case.engine!r}")
        return judged
    for name, part in zip(("kv", "total", "fit"), parts, strict=True):
        try:
            found = part(case)
            # What others wrote may be no number; then it is not judged.
            setattr(judged, name, found if isinstance(found, bool) else tuple(map(float, found)))
        except Unknown as reason:
            judged.reasons.append(f"{name}: {reason}")
        except SizingError as error:
            judged.reasons.append(f"{name}: {error}")
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, ArithmeticError) as error:
            # A file of others' making: one case that is written otherwise stops no other.
            judged.reasons.append(f"{name}: the case cannot be read ({type(error).__name__}: {error})")
    if case.fits is None:
        judged.fit = None
    return judged


# llama.cpp, and Ollama since 0.30, which starts it


def llama_layers(case: Case) -> tuple[llama_cpp.CacheLayer, ...]:
    """The layers that keep a cache, in the case's words."""
    geometry = case.geometry
    count = geometry.get("n_kv_layer")
    if count is None:
        keeping_none = int(geometry.get("n_recurrent_layer") or 0) + int(geometry.get("nextn_layers") or 0)
        count = int(case.shape("n_layer")) - keeping_none
    latent = geometry.get("kv_lora_rank")
    if latent and not _before(case, LATENT_SINCE):
        rope = int(case.shape("qk_rope_head_dim", "n_rot", "rope_dim"))
        values = int(latent) if _before(case, VALUELESS_SINCE) else 0
        return (llama_cpp.CacheLayer(int(latent) + rope, values),) * int(count)
    if geometry.get("n_head_kv") is None and geometry.get("n_embd_k_gqa") is not None:
        keys_row, values_row = (each(case.shape(name), int(count)) for name in ("n_embd_k_gqa", "n_embd_v_gqa"))
        if geometry.get("n_swa"):
            raise Unknown("the case does not say which layers have a window")
        return tuple(llama_cpp.CacheLayer(*one) for one in zip(keys_row, values_row, strict=True))
    heads = each(case.shape("n_head_kv"), int(count))
    keys = int(case.shape("head_dim", "head_dim_k", "key_length", "n_embd_head_k"))
    values = int(geometry.get("head_dim_v") or geometry.get("value_length") or geometry.get("n_embd_head_v") or keys)
    window = geometry.get("n_swa") or geometry.get("sliding_window")
    if not window or is_on(case.flag("swa-full")):
        return tuple(llama_cpp.CacheLayer(one * keys, one * values) for one in heads if one)
    windowed = _windowed(case, len(heads))
    keys_swa = int(geometry.get("head_dim_swa") or geometry.get("head_dim_k_swa") or keys)
    values_swa = int(geometry.get("head_dim_v_swa") or geometry.get("head_dim_swa") or values)
    heads_swa = each(geometry.get("n_head_kv_swa") or list(heads), len(heads))
    return tuple(
        llama_cpp.CacheLayer(heads_swa[index] * keys_swa, heads_swa[index] * values_swa, int(window))
        if index in windowed
        else llama_cpp.CacheLayer(one * keys, one * values)
        for index, one in enumerate(heads)
        if one
    )


def _windowed(case: Case, count: int) -> frozenset[int]:
    pattern = case.geometry.get("swa_pattern") or case.geometry.get("sliding_window_pattern")
    if isinstance(pattern, list):
        return frozenset(index for index, one in enumerate(pattern) if one)
    if isinstance(pattern, int) and pattern > 0:
        return frozenset(index for index in range(count) if index % pattern < pattern - 1)
    for name, value in case.geometry.items():
        if "swa" in name and "layer" in name and isinstance(value, int):
            return frozenset(range(value))
    # The model's shape, where its own code says it and not its config.
    model = re.sub(r"[^a-z0-9]", "", str(case.raw.get("model") or "").lower())
    for architecture, every in WINDOWED.items():
        if re.sub(r"[^a-z0-9]", "", architecture) in model:
            return frozenset(index for index in range(count) if index % every < every - 1)
    raise Unknown("the case does not say which layers have a window")


def llama_settings(case: Case) -> llama_cpp.Settings:
    """How the server was started."""
    ollama_ctx = case.number("num-ctx", "ollama-context-length")
    stated = case.number("np", "parallel", "num-parallel", "n-parallel", "ollama-num-parallel")
    repeated = case.printed(r"(\d+)/(\d+) seqs")
    if stated is None and repeated:
        stated = float(repeated[1])
    if stated is None and case.engine == "ollama" and _old_ollama(case):
        raise Unknown("the case does not give the slots, of which that version chose 1 or 4 itself")
    slots = int(stated or 1)
    context = case.number("c", "ctx-size", "ctx", "n-ctx", "context", "context-length")
    if not context:
        context = ollama_ctx * slots if ollama_ctx else None
    if not context:
        printed = re.search(r"\bn_ctx\s*=\s*(\d+)", str(case.raw.get("verbatim") or ""))
        context = float(printed[1]) if printed else case.geometry.get("n_ctx_train")
    if not context:
        raise Unknown("the case does not give the context")
    flash = is_on(case.flag("fa", "flash-attn", "flash-attention", "ollama-flash-attention"))
    if flash is None and case.engine == "ollama" and _old_ollama(case):
        flash = False
    parallel = case.flag("np", "parallel")
    unified = is_on(case.flag("kv-unified", "kvu"))
    return llama_cpp.Settings(
        context=int(context),
        parallel=slots,
        unified=bool(unified) if unified is not None else _unified(case, str(parallel)),
        micro_batch=int(case.number("ub", "ubatch-size", "n-ubatch", "batch") or 512),
        key_type=_cache_type(case, "k"),
        value_type=_cache_type(case, "v"),
        flash_attention=flash is not False,
        logits_for_all=_logits_for_all(case),
        drafting=case.observed.get("draft_kv_gpu_mib") is not None,
        pipelined=int(case.raw.get("gpu_count") or 1) > 1,
    )


def _cache_type(case: Case, part: str) -> str:
    named = case.flag(f"ct{part}", f"cache-type-{part}", f"type-{part}", "kv-cache-type", "ollama-kv-cache-type")
    repeated = case.printed(rf"\b{part.upper()} \((\w+)\):")
    return str(named or (repeated[1] if repeated else "f16")).lower()


def _unified(case: Case, parallel: str) -> bool:
    repeated = case.printed(r"(\d+)/(\d+) seqs")
    if repeated:
        return repeated[2] == "1"
    return "auto" in parallel or _before(case, STREAMS_SINCE)


def _logits_for_all(case: Case) -> bool:
    return _before(case, ROWS_SINCE, otherwise=True)


def _before(case: Case, since: tuple[int, tuple[int, int]], *, otherwise: bool = False) -> bool:
    """Whether the case's build, or its month where it names none, is before one; `otherwise` where neither is known."""
    if case.build:
        return case.build < since[0]
    return case.date < since[1] if case.date else otherwise


def llama_shape(case: Case) -> llama_cpp.Shape:
    """The model, weights left out."""
    width = int(case.geometry.get("n_embd") or 0)
    layers: list[tuple[llama_cpp.CacheLayer | llama_cpp.StateLayer, ...]] = [(one,) for one in llama_layers(case)]
    states = int(case.geometry.get("n_recurrent_layer") or 0)
    if states:
        kernel, inner = int(case.shape("ssm_d_conv")), int(case.shape("ssm_d_inner"))
        size, groups = int(case.shape("ssm_d_state")), int(case.geometry.get("ssm_n_group") or 0)
        state = llama_cpp.StateLayer((kernel - 1) * (inner + 2 * groups * size), size * inner)
        layers += [(state,)] * states
    draft = int(case.geometry.get("nextn_layers") or 0)
    return llama_cpp.Shape(
        width=width,
        vocabulary=int(case.geometry.get("n_vocab") or TYPICAL_VOCABULARY),
        layers=tuple(layers),
        draft=(layers[0],) * draft,
        heads=int(case.geometry.get("n_head") or 0),
        feed_forward=int(case.geometry.get("n_ff") or 0),
    )


def llama_kv(case: Case) -> tuple[float, float, float]:
    """Cache of all layers, draft and windows included."""
    settings = llama_settings(case)
    cells = case.observed.get("swa_cells")
    window = case.geometry.get("n_swa")
    if cells and window and case.geometry.get("n_head_kv") is None:
        # Bytes need heads; the cells of the window are what the settings decide.
        return float(settings.window_cells(int(window))), float(cells), 0.0
    shape = llama_shape(case)
    predicted = llama_cpp.cache_bytes(shape.layers, settings)
    logged = case.seen("kv_gpu_mib", "kv_host_mib", "kv_mib", "kv_gib")
    if logged is None:
        logged = case.seen("context_gpu_mib")
        if logged is None:
            raise Unknown("the case shows no size of the cache")
        predicted += llama_cpp.state_bytes(shape.layers, settings)
    elif case.observed.get("kv_gpu_mib") is not None:
        logged += case.seen("kv_swa_gpu_mib") or 0
        # Layers that stayed on the processor keep their cache there.
        logged += case.seen("kv_host_mib") or 0
    recurrent = case.seen("recurrent_gpu_mib")
    if recurrent is not None and case.geometry.get("n_recurrent_layer"):
        predicted += llama_cpp.state_bytes(shape.layers, settings)
        logged += recurrent
    draft = case.seen("draft_kv_gpu_mib")
    if draft is not None:
        predicted += llama_cpp.cache_bytes(shape.draft, settings)
        logged += draft
    return predicted, logged, MIB / 100


def llama_total(case: Case) -> tuple[float, float]:
    """Buffers on the GPUs: weights, cache, state, compute."""
    if case.engine == "ollama" and _old_ollama(case):
        raise Unknown("the log shows the estimate of Ollama's own runner, which 0.30 replaced, not what was used")
    if not case.raw.get("gpu_count", 1):
        raise Unknown("it runs on the processor: there is no device memory")
    names = ("model_gpu_mib", "kv_gpu_mib", "compute_gpu_mib")
    if case.observed.get(names[1]) is None and case.observed.get("context_gpu_mib") is not None:
        names = (names[0], "context_gpu_mib", names[2])
    projected = case.seen("fit_projected_mib")
    if projected and case.seen(names[0]) and case.observed.get(names[2]) is None:
        # Its own projection before it allocates, by the same code that does.
        compute = llama_cpp.compute_bytes(llama_shape(case), llama_settings(case)).bytes
        cached = llama_shape(case).layers
        held = llama_cpp.cache_bytes(cached, llama_settings(case)) + llama_cpp.state_bytes(cached, llama_settings(case))
        return (case.seen(names[0]) or 0) + held + compute, projected
    parts = [case.seen(name) for name in names]
    if any(part is None for part in parts):
        missing = ", ".join(name for name, part in zip(names, parts, strict=True) if part is None)
        raise Unknown(f"the case does not show {missing} of every GPU")
    kv = llama_kv(case)
    if kv[1] < MIB / 4:
        raise Unknown("the case does not give what bytes of its cache follow from")
    more = sum(case.seen(name) or 0 for name in ("kv_swa_gpu_mib", "recurrent_gpu_mib", "draft_kv_gpu_mib"))
    computes = case.seen("draft_compute_gpu_mib") or 0
    logged = sum(part for part in parts if part is not None) + more + computes
    compute = llama_cpp.compute_bytes(llama_shape(case), llama_settings(case)).bytes
    count = len(value) if isinstance(value := case.observed.get("compute_gpu_mib"), list) else 1
    return (parts[0] or 0) + kv[0] + compute * (count + bool(computes)), logged


def llama_fit(case: Case) -> bool:
    """Whether everything fits on the GPUs, with every band at its upper end."""
    count = int(case.raw.get("gpu_count") or 0)
    free = case.free_bytes()
    if not count:
        raise Unknown("it runs on the processor: there is no device memory")
    if not free:
        raise Unknown("the case names no memory of a GPU")
    weights = _weights(case)
    shape, settings = llama_shape(case), llama_settings(case)
    compute = llama_cpp.compute_bytes(shape, settings)
    drafting = 2 if settings.drafting else 1
    draft = shape.draft if settings.drafting else ()
    # What llama.cpp prints as free is so after its CUDA context was made.
    made = case.observed.get("gpu_free_at_start_mib") is not None
    beside = (
        (0 if made else llama_cpp.CUDA_CONTEXT)
        + llama_cpp.CUDA_CONTEXT_BAND
        + compute.bytes * drafting
        + compute.band_bytes
    )
    projector = (case.seen("mmproj_weights_mib") or 0) + (case.seen("mmproj_compute_gpu_mib") or 0)
    cached = (*shape.layers, *draft)
    held = llama_cpp.cache_bytes(cached, settings) + llama_cpp.state_bytes(cached, settings) + projector
    each_free = case.observed.get("gpu_free_at_start_mib")
    whole = sum(each_free) * MIB if isinstance(each_free, list) else free * count
    # Layers are whole: each further GPU may be left with one that it has no room for.
    uneven = (weights + held) / max(int(case.geometry.get("n_layer") or 32), 1) * (count - 1)
    return weights + held + uneven + beside * count <= whole


def _weights(case: Case) -> float:
    """Bytes that the GPUs would have to hold: the whole file where the log shows a part of it on the processor."""
    on_gpu = case.seen("model_gpu_mib")
    whole = case.seen("file_size_gib", "file_size_mib", "weights_gib", "weights_mib")
    if case.fits is False:
        parts = [one for one in (whole, case.seen("model_host_mib"), on_gpu) if one]
        if parts:
            return max(parts)
    if on_gpu or whole:
        return float(on_gpu or whole or 0)
    raise Unknown("the case does not show the size of its weights")


def _old_ollama(case: Case) -> bool:
    if "old estimator" in case.version:
        return True
    if case.numbers:
        return case.numbers < (0, 30)
    return case.date is not None and case.date < (2026, 5)


# SGLang


def sglang_shape(case: Case) -> sglang.Shape:
    """What one rank caches of a token."""
    if case.geometry.get("n_swa") and not is_on(case.flag("disable-hybrid-swa-memory")):
        raise Unknown("layers with a window have a pool of their own, of which the case does not show the tokens")
    mixed = ("swa_layer_tokens", "mamba_slots", "ssm_state_gb", "conv_state_gb")
    if any(name in case.observed for name in mixed):
        layers = int(case.shape("n_kv_layer"))
    else:
        layers = int(case.shape("n_kv_layer", "n_layer"))
    layers = ceil_div(layers, int(case.number("pp", "pp-size") or 1))
    element = _element(case)
    latent = case.geometry.get("kv_lora_rank")
    if latent:
        rope = int(case.shape("qk_rope_head_dim", "rope_dim"))
        return sglang.Shape(sglang.latent_token_bytes(layers, int(latent), rope, element), latent=True)
    keys = int(case.shape("head_dim", "head_dim_k"))
    values = int(case.geometry.get("head_dim_v") or keys)
    heads = int(case.shape("n_head_kv"))
    ranks = case.tensor_parallel
    if is_on(case.flag("enable-dp-attention")):
        ranks = max(1, ranks // int(case.number("dp", "dp-size") or 1))
    return sglang.Shape(sglang.token_bytes(layers, heads, keys, values, ranks, element))


def _element(case: Case) -> float:
    named = str(case.flag("kv-cache-dtype", "kv_cache_dtype") or "")
    if not named:
        printed = re.search(r"KV Cache is allocated\. dtype: torch\.(\w+)", str(case.raw.get("verbatim") or ""))
        named = printed[1] if printed else ""
    if "fp8" in named or "float8" in named or "int8" in named:
        return 1.0
    weights = str(case.raw.get("quantization") or "")
    if re.search(r"(?:fp8|int8) KV|KV (?:cache )?(?:fp8|int8)", weights, re.IGNORECASE):
        return 1.0
    if case.engine == "tensorrt-llm" and not named and re.search(r"fp8|fp4", weights, re.IGNORECASE):
        raise Unknown("such checkpoints may name a format of the cache, which the case does not")
    return 2.0


def sglang_kv(case: Case) -> tuple[float, float, float]:
    """Cache of the tokens that the log shows."""
    tokens = case.observed.get("tokens")
    logged = [case.seen(name) for name in ("k_gb", "v_gb")]
    whole = case.seen("kv_gb", "kv_gib")
    if whole is None and case.geometry.get("kv_lora_rank"):
        whole = logged[0]
    if whole is None and any(one is None for one in logged):
        raise Unknown("the case shows no size of the cache")
    if not isinstance(tokens, (int, float)):
        raise Unknown("the case shows no number of tokens")
    size = whole if whole is not None else sum(one or 0 for one in logged)
    return tokens * sglang_shape(case).token_bytes, size, GIB * 0.01


def sglang_settings(case: Case) -> sglang.Settings:
    """How the server was started."""
    context = case.number("context-length", "context_length") or case.observed.get("context_len")
    graph = case.number("cuda-graph-max-bs", "cuda-graph-max-bs-decode")
    sizes = case.flag("cuda-graph-bs")
    chunk = case.number("chunked-prefill-size") or case.observed.get("chunked_prefill_size")
    share = case.flag("mem-fraction-static")
    running = case.number("max-running-requests")
    return sglang.Settings(
        context=int(context or 0),
        tensor_parallel=case.tensor_parallel,
        pipeline_parallel=int(case.number("pp", "pp-size") or 1),
        share=float(share) if isinstance(share, (int, float)) else _share_in_words(share),
        chunk=int(chunk) if chunk and chunk > 0 else None,
        graph_batch=0
        if is_on(case.flag("disable-cuda-graph"))
        else int(graph)
        if graph
        else (max(int(one) for one in sizes) if isinstance(sizes, list) else None),
        max_running=int(running) if running else None,
        page=int(case.number("page-size") or 1),
        version=case.numbers or ((0, 4) if case.date is not None and case.date < (2025, 9) else (0, 5)),
        drafting=case.flag("speculative-algo", "speculative-algorithm") is not None,
    )


def _share_in_words(value: Any) -> float | None:
    found = re.match(r"\s*(0?\.\d+)", str(value)) if value is not None else None
    return float(found[1]) if found else None


def _sglang_demand(case: Case) -> sglang.Demand:
    after, weights = case.seen("avail_after_load_gb"), case.seen("weights_gb")
    before = case.seen("avail_before_load_gb")
    if before is None and after is not None and weights is not None:
        before = after + weights
    if weights is None and after is not None and before is not None:
        weights = before - after
    if before is None or weights is None:
        raise Unknown("the case does not show the memory before and after the weights")
    if re.search(r"\bAMD\b|\bMI\d{3}", str(case.raw.get("gpu") or "")):
        raise Unknown("on AMD cards an attention workspace comes off the share, of which no size is published")
    total = case.card_bytes()
    if total is None or total < before:
        # A card is sold by the next of these sizes; what is free is a little less.
        total = next(
            (one * GIB for one in (8, 12, 16, 24, 32, 48, 80, 96, 141, 192, 288) if one * GIB > before), before
        )
    try:
        shape = sglang_shape(case)
    except Unknown:
        shape = sglang.Shape(0)
    return sglang.demand(shape, sglang_settings(case), int(total), int(before), int(weights))


def sglang_total(case: Case) -> tuple[float, float]:
    """Memory in use when the pool is there."""
    left = case.seen("avail_after_pool_gb")
    if left is None:
        raise Unknown("the case does not show what was free after the pool")
    demand = _sglang_demand(case)
    return demand.buffers, demand.before - left


def sglang_fit(case: Case) -> bool:
    """Whether the share leaves anything for the cache."""
    try:
        _sglang_demand(case)
    except WorkloadError:
        return False
    return True


# TensorRT-LLM


def _trt_token_bytes(case: Case) -> int:
    layers, element = int(case.shape("n_kv_layer", "n_layer")), _element(case)
    layers = ceil_div(layers, int(case.number("pp", "pp-size") or 1))
    latent = case.geometry.get("kv_lora_rank")
    if latent:
        return tensorrt_llm.latent_token_bytes(layers, int(latent), int(case.shape("qk_rope_head_dim")), element)
    heads, width = int(case.shape("n_head_kv")), int(case.shape("head_dim"))
    return tensorrt_llm.token_bytes(layers, heads, width, case.tensor_parallel, element)


def trt_kv(case: Case) -> tuple[float, float, float]:
    """Cache of the tokens that the log shows."""
    logged, tokens = case.seen("kv_gib", "kv_gb"), case.observed.get("tokens")
    if not tokens and case.observed.get("blocks"):
        tokens = case.observed["blocks"] * int(case.number("tokens-per-block") or 32)
    if not logged or not tokens:
        raise Unknown("the case shows no size of the cache with its tokens")
    return tokens * _trt_token_bytes(case), logged, GIB * 0.005


def trt_total(case: Case) -> tuple[float, float]:
    """Memory in use when the cache is there."""
    total, free, logged = case.seen("gpu_total_gib"), case.seen("gpu_free_gib"), case.seen("kv_gib")
    if not total or not free or not logged:
        raise Unknown("the case does not show total and free memory with the cache")
    share = case.number("free-gpu-memory-fraction", "kv-cache-free-gpu-memory-fraction") or tensorrt_llm.SHARE
    block = int(case.number("tokens-per-block") or 32)
    _, held = tensorrt_llm.cache(int(free), _trt_token_bytes(case), tensorrt_llm.Settings(float(share), block))
    return total - free + held, total - free + logged


def trt_fit(case: Case) -> bool:
    """Whether weights and the trial run leave anything for the cache."""
    free = case.seen("gpu_free_gib")
    if free is None:
        raise Unknown("the case does not show what was free after weights and the trial run")
    share = case.number("free-gpu-memory-fraction", "kv-cache-free-gpu-memory-fraction") or tensorrt_llm.SHARE
    block = int(case.number("tokens-per-block") or 32)
    return tensorrt_llm.cache(int(free), _trt_token_bytes(case), tensorrt_llm.Settings(float(share), block))[0] > 0


JUDGES = {
    "llama.cpp": (llama_kv, llama_total, llama_fit),
    "ollama": (llama_kv, llama_total, llama_fit),
    "sglang": (sglang_kv, sglang_total, sglang_fit),
    "tensorrt-llm": (trt_kv, trt_total, trt_fit),
}


def report(judged: Sequence[Judged]) -> dict[str, Any]:
    """The figures of all cases."""
    kv = [one for one in judged if one.kv]
    total = [one for one in judged if one.total]
    return {
        "kv": {
            "cases": len(kv),
            "exact": sum(one.kv_exact for one in kv),
            "misses": [_miss(one.case, one.kv) for one in kv if one.kv and not one.kv_exact],
        },
        "total": {
            "cases": len(total),
            "within_5_pct": sum(one.total_within for one in total),
            "misses": [_miss(one.case, one.total) for one in total if one.total and not one.total_within],
        },
        "false_fit": [one.case.id for one in judged if one.fit is True and one.case.fits is False],
        "false_refuse": [one.case.id for one in judged if one.fit is False and one.case.fits is True],
        # A case whose two figures are judged is judged, also where its GPU's memory is not named.
        "not_judged": {
            one.case.id: "; ".join(one.reasons) for one in judged if one.reasons and not (one.kv and one.total)
        },
    }


def _miss(case: Case, figures: Sequence[float]) -> dict[str, Any]:
    predicted, logged = figures[0], figures[1]
    return {
        "id": case.id,
        "predicted_mib": round(predicted / MIB, 2),
        "logged_mib": round(logged / MIB, 2),
        "error_pct": round((predicted / logged - 1) * 100, 2) if logged else None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures: 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, help="published starts, in the format of engine_starts.json")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    judged = [judge(case) for case in load_cases(options.cases)]
    found = report(judged)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for one in judged:
        kv = f"{one.kv[0] / one.kv[1] * 100 - 100:+7.2f} %" if one.kv else "        -"
        total = f"{one.total[0] / one.total[1] * 100 - 100:+7.2f} %" if one.total else "        -"
        fit = {True: "fits", False: "refuses", None: "-"}[one.fit]
        print(f"{one.case.id:34} kv {kv}  total {total}  {fit:8} {one.case.outcome}")
    for name in ("kv", "total"):
        figures = found[name]
        right = figures["exact" if name == "kv" else "within_5_pct"]
        print(f"{name}: {right} of {figures['cases']}, misses {figures['misses']}")
    print(f"false fit: {found['false_fit']}, false refuse: {found['false_refuse']}")
    for name, why in found["not_judged"].items():
        print(f"not judged: {name}: {why}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
