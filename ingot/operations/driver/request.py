"""The owner's wish for a driver, with what the engine's image asks of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from ingot.compat import Flavour, Image, Source, Wish
from ingot.compat.images import COMPATIBILITY, vllm_image
from ingot.errors import IngotError

T = TypeVar("T")


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


def wish(data: Any) -> Wish:
    """The owner's values of a host.

    Raises: IngotError, one sentence, for a value that is none of its choices.
    """
    return Wish(
        branch=_choice("driver_branch", data.driver_branch, int),
        version=data.driver_version,
        flavour=_choice("driver_flavour", data.driver_flavour, Flavour) if data.driver_flavour else None,
        source=_choice("driver_source", data.driver_source, Source) if data.driver_source else None,
    )


def _choice(name: str, value: Any, choices: Callable[[Any], T]) -> T:
    try:
        return choices(value)
    except (TypeError, ValueError):
        raise IngotError(
            f"{name} is {value!r}, which is none of its choices; correct it in the host's values"
        ) from None
