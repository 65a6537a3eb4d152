"""What a host's values ask the planner for."""

from __future__ import annotations

from collections.abc import Iterable

from ingot.engines import ENGINES
from ingot.errors import IngotError
from ingot.settings.serving import Serving
from ingot.sizing import ModelRequest


def requests(values: Serving, *, has_gpu: bool = True) -> tuple[ModelRequest, ...]:
    """The value `serve` as requests to the planner; `has_gpu`: a GPU is there, which `engine: auto` looks at.

    Raises: IngotError, one sentence without the host's name, where there is none; CatalogError, where
    the lock of models cannot be read.
    """
    if not values.serve:
        raise IngotError(
            "nothing to serve (`serve` is empty), expected at least one model with context and concurrency; add it to "
            "the host's file or its group's values."
        )
    models, lock = values.models, values.lock
    return tuple(one.request(models, lock, has_gpu=has_gpu) for one in values.serve)


def need_gpu(asked: Iterable[ModelRequest]) -> bool:
    """Whether any of these is served by an engine that is started with GPUs of its own."""
    return any(ENGINES[request.engine].needs_gpu for request in asked)


def all_need_gpus(asked: Iterable[ModelRequest]) -> bool:
    """Whether nothing of these is served from the host's own memory."""
    return all(ENGINES[request.engine].needs_gpu for request in asked)
