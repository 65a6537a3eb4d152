"""Section "driver": the NVIDIA driver and the container toolkit."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from ingot.compat import Fabric, Flavour, Source, rules, version_key
from ingot.settings.kinds import Expected, Many, Section, Switch, Version, either, pattern


def _names_gpu(value: Any) -> bool:
    return bool(re.fullmatch(r"[\w./-]+", value)) if isinstance(value, str) else type(value) is int and value >= 0


GpuName = Annotated[int | str, *either(_names_gpu, "the UUID of a GPU, or its index")]


def _is_safe(version: str) -> str:
    if version_key(version) < version_key(rules.TOOLKIT_MINIMUM):
        raise ValueError(
            f"{rules.TOOLKIT_MINIMUM} or newer, since older ones have known vulnerabilities "
            f"({rules.TOOLKIT_FLOOR.source})"
        )
    return version


class Driver(Section):
    """Which GPUs Ingot uses, and the packages that make them answer."""

    gpus_use: Annotated[
        Annotated[
            Many[GpuName],
            Field(min_length=1),
        ]
        | None,
        Expected("a list of GPU UUIDs or indices such as [0, 1], or None for all"),
    ]
    driver_branch: Annotated[int, Field(ge=100, le=9999), Expected("a driver branch such as 580")]
    driver_console: Switch
    driver_disrupt: Switch
    driver_fabric: Annotated[
        Annotated[Fabric, Field(strict=False)] | None,
        Expected("'none', 'fabric-manager', 'fabric-manager+nvlsm', 'imex', or None for what the host needs"),
    ]
    driver_flavour: Annotated[
        Annotated[Flavour, Field(strict=False)] | None, Expected("'open', 'proprietary', or None for what GPUs need")
    ]
    driver_kernel_upgrade: Switch
    driver_source: Annotated[
        Annotated[Source, Field(strict=False)] | None,
        Expected("'nvidia', 'ubuntu', 'debian', or None for what the host needs"),
    ]
    driver_version: Annotated[
        Annotated[str, *pattern(r"[0-9]{3,4}(?:\.[0-9]+){1,2}", "")] | None,
        Expected("an exact version in quotes such as '580.173.02', or None"),
    ]
    toolkit_version: Annotated[Version, AfterValidator(_is_safe), Expected("a version in quotes such as '1.20.0'")]
