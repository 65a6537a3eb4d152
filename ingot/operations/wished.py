"""The owner's wish for a driver, with what the engine's image asks of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ingot.compat import Image, Wish
from ingot.compat.images import COMPATIBILITY, vllm_image
from ingot.errors import IngotError
from ingot.operations.driver import wish


def wished(data: Any) -> Wish:
    """A host's values as a wish.

    Raises: IngotError, one sentence without the host's name, for a value that is none of its choices.
    """
    return replace(wish(data), image=image(data))


def image(data: Any) -> Image | None:
    """What the engine's image asks of a driver; None where it computes on the processor.

    Raises: IngotError, as `wished`.
    """
    if data.engine_build != "cuda":
        return None
    compatibility = str(data.engine_extra_env.get(COMPATIBILITY, "0")) == "1"
    cuda = data.engine_cuda
    try:
        return vllm_image(
            data.engine_image,
            str(data.engine_version),
            None if cuda is None else str(cuda),
            compatibility=compatibility,
        )
    except ValueError:
        raise IngotError(
            f"engine_cuda is {cuda!r}, expected a CUDA version such as '13.0'; correct it in the host's values"
        ) from None
