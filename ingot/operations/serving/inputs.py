"""What a plan is made from, as digests: a stored plan stays as long as these do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from enum import Enum
from pathlib import PurePath
from typing import Any

from ingot.sizing import GPU, EngineProfile, ModelRequest, Peak

#: What of a model or a variant decides no plan.
_TELLS = frozenset({"title", "license", "gated", "verified"})

#: Part of what a plan is made from -> its digest.
Inputs = Mapping[str, str]


def inputs(
    gpus: Sequence[GPU], requests: Sequence[ModelRequest], engine: EngineProfile, peaks: Mapping[str, Peak]
) -> Inputs:
    """Digests of all that decides a plan, but for what a host measures: free and reserved memory, the engine's own use.

    GPUs are named by UUID, since their indices may change at a reboot. A field that a later version of Ingot adds
    changes no digest while it has its default.
    """
    rated = any(request.workload.tokens_per_second is not None for request in requests)
    return {
        "GPUs": _digest([_gpu(gpu, gpus) for gpu in sorted(gpus, key=lambda gpu: gpu.uuid)]),
        "models": _digest([_canonical(request) for request in requests]),
        "engine": _digest([engine.label, engine.build]),
        # A wished rate is met by them; what else they decide is not worth replacing what serves.
        **({"peak figures": _digest([_canonical(peaks.get(gpu.name)) for gpu in gpus])} if rated else {}),
    }


def earlier(gpus: Iterable[GPU], requests: Sequence[ModelRequest], engine: EngineProfile) -> str | None:
    """The digest that versions of Ingot before this one stored for the same; None where they left something out.

    They took all but a model's architecture and what was added since.
    """
    if not all(map(_is_as_before, requests)):
        return None
    by_index = {gpu.index: gpu for gpu in gpus}
    decisive = {
        "gpus": sorted(
            (
                gpu.uuid,
                gpu.name,
                gpu.vram_bytes,
                gpu.compute_capability or (),
                sorted(by_index[peer].uuid for peer in gpu.nvlink_peers if peer in by_index),
            )
            for gpu in by_index.values()
        ),
        "asked": [
            (
                request.model.name,
                [(one.name, one.repository, one.revision, one.quantization) for one in request.model.variants],
                (request.workload.context, request.workload.concurrency, None),
                request.variant,
                request.replicas,
                request.share,
            )
            for request in requests
        ],
        "engine": (engine.label, engine.build),
    }
    # In this order, and not sorted: that is what they stored.
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]


def _is_as_before(request: ModelRequest) -> bool:
    """Whether earlier versions knew all of a request that decides a plan; a wished rate they took and ignored."""
    known = ModelRequest(request.model, request.workload, request.variant, request.replicas, share=request.share)
    return request.workload.tokens_per_second is None and replace(request, arguments=known.arguments) == known


def _gpu(gpu: GPU, others: Iterable[GPU]) -> Any:
    uuids = {other.index: other.uuid for other in others}
    return [
        gpu.uuid,
        gpu.name,
        gpu.vram_bytes,
        list(gpu.compute_capability or ()),
        sorted(uuids[peer] for peer in gpu.nvlink_peers if peer in uuids),
        gpu.unified_memory,
        gpu.mig_profile,
    ]


def _canonical(value: Any) -> Any:
    """A value as JSON, whatever fields with defaults its class has besides."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _canonical(here)
            for field in fields(value)
            if field.name not in _TELLS and (here := getattr(value, field.name)) != _default(field)
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _canonical(one) for key, one in value.items()}
    if isinstance(value, AbstractSet):
        return sorted(map(_canonical, value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_canonical(one) for one in value]
    return str(value) if isinstance(value, PurePath) else value


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
