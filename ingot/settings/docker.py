"""Section "docker": the container engine."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from ingot.settings.kinds import Count, Expected, Limits, LogSize, Section, pattern


def _json(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("keys of daemon.json with what JSON can hold") from None
    return value


class Docker(Section):
    """Docker Engine: its packages, and its daemon.json."""

    docker_daemon: Annotated[
        dict[str, Any], AfterValidator(_json), Expected("keys of daemon.json such as {'registry-mirrors': […]}")
    ]
    docker_default_ulimits: Limits
    docker_log_max_files: Count
    docker_log_max_size: LogSize
    docker_source: Annotated[Literal["docker", "distribution"], Expected("'docker' or 'distribution'")]
    docker_version: Annotated[
        Annotated[str, *pattern(r"[0-9][A-Za-z0-9.:~+*-]*", "a version of docker-ce such as '5:29.*'")] | None,
        Expected("a version of docker-ce such as '5:29.*', or None"),
    ]
