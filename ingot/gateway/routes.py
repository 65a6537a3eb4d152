"""The allow-list: what callers may reach, and what answers there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Route:
    """A path that callers may use, and what answers: the engine, one of several by model, nginx' own list, nobody."""

    method: str
    path: str
    answer: Literal["engine", "by model", "list", "nobody"]


def routes(models: int, *, embeddings: bool) -> list[Route]:
    """What callers may reach; everything else is 404 and never meets an engine."""
    paths = ["/v1/chat/completions", "/v1/completions", *(["/v1/embeddings"] if embeddings else [])]
    if models == 0:
        return [Route("GET", "/v1/models", "nobody"), *(Route("POST", path, "nobody") for path in paths)]
    if models == 1:
        return [Route("GET", "/v1/models", "engine"), *(Route("POST", path, "engine") for path in paths)]
    return [Route("GET", "/v1/models", "list"), *(Route("POST", path, "by model") for path in paths)]
