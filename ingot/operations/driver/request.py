"""What a host's values ask of its driver, with what the engine's image needs."""

from __future__ import annotations

from dataclasses import replace

from ingot.compat import DriverRequest, Image
from ingot.compat.images import COMPATIBILITY, vllm_image
from ingot.settings import Settings
from ingot.settings.driver import Driver
from ingot.settings.engine import Engine


def driver_request(values: Settings) -> DriverRequest:
    """The owner's values, with what the engine's image needs: what `ingot plan` and preflight judge by."""
    return replace(owners_request(values), image=image(values))


def owners_request(values: Driver) -> DriverRequest:
    """The owner's values alone."""
    return DriverRequest(
        branch=values.driver_branch,
        version=values.driver_version,
        flavour=values.driver_flavour,
        source=values.driver_source,
        fabric=values.driver_fabric,
    )


def image(values: Engine) -> Image | None:
    """What the engine's image needs of a driver; None where it computes on the processor."""
    if values.engine_build != "cuda":
        return None
    compatibility = values.engine_extra_env.get(COMPATIBILITY, "0") == "1"
    return vllm_image(values.engine_image, values.engine_version, values.engine_cuda, compatibility=compatibility)
