"""The engines behind a gateway: what the engine role wrote down, as nginx' upstreams."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

#: Written by the engine role; the gateway's only knowledge of engines.
UPSTREAMS_FILE = "/var/lib/ingot/upstreams.json"
# Both a model's name and an address are written into nginx' configuration.
_WORD = re.compile(r"[A-Za-z0-9._:/@-]+")


@dataclass(frozen=True)
class Upstream:
    """A served model and the addresses (`ip:port`) of its replicas."""

    model: str
    replicas: tuple[str, ...]


@dataclass(frozen=True)
class Engine:
    """An nginx upstream: a name, the model it serves and the replicas' addresses."""

    name: str
    model: str
    replicas: tuple[str, ...]


def parse_upstreams(text: str) -> tuple[tuple[Upstream, ...], str | None]:
    """The engine role's list of served models, and what is wrong with it if it cannot be read."""
    if not text.strip():
        return (), None
    try:
        found = tuple(Upstream(entry["model"], tuple(entry["replicas"])) for entry in json.loads(text))
        for upstream in found:
            if not all(_WORD.fullmatch(word) for word in (upstream.model, *upstream.replicas)):
                return (), f"{upstream} holds other characters than letters, digits and . _ : / @ -"
    except (ValueError, KeyError, TypeError) as error:
        return (), f"{type(error).__name__}: {error}"
    return tuple(upstream for upstream in found if upstream.replicas), None


def engines(upstreams: Sequence[Upstream]) -> list[Engine]:
    """An nginx upstream per served model."""
    return [Engine(f"engine_{index}", upstream.model, upstream.replicas) for index, upstream in enumerate(upstreams)]


def model_list(served: Sequence[Engine]) -> str:
    """`/v1/models` of a host with several engines, as OpenAI shapes it."""
    models = [{"id": engine.model, "object": "model", "created": 0, "owned_by": "ingot"} for engine in served]
    return json.dumps({"object": "list", "data": models})
