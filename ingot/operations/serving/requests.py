"""What a host's values ask the planner for."""

from __future__ import annotations

from ingot.errors import IngotError
from ingot.settings.serving import Serving
from ingot.sizing import ModelRequest


def requests(values: Serving) -> tuple[ModelRequest, ...]:
    """The value `serve` as requests to the planner.

    Raises: IngotError, one sentence without the host's name, where there is none; CatalogError, where
    the lock of models cannot be read.
    """
    if not values.serve:
        raise IngotError(
            "nothing to serve (`serve` is empty), expected at least one model with context and concurrency; add it to "
            "the host's file or its group's values."
        )
    models, lock = values.models, values.lock
    return tuple(one.request(models, lock) for one in values.serve)
