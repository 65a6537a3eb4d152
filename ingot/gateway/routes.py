"""The allow-list: what callers may reach of each kind of engine, and what answers there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ingot.errors import IngotError

#: How a route is spoken: a list without a body, JSON in, a form with a file in, or frames both ways.
Kind = Literal["list", "json", "form", "socket"]


@dataclass(frozen=True)
class Endpoint:
    """A method and a path of an engine that callers may be given.

    `query` names the parameters that SDKs put behind the path; they mean nothing here and are not handed on.
    """

    method: str
    path: str
    kind: Kind
    query: tuple[str, ...] = ()


#: What every engine of text answers.
CHAT = (
    Endpoint("GET", "/v1/models", "list", ("limit",)),
    Endpoint("POST", "/v1/chat/completions", "json"),
    Endpoint("POST", "/v1/completions", "json"),
)

#: Kind of engine -> its routes that are always open. Not one of them, on purpose: /v1/responses/{id}, by which one
#: team could read or cancel another's answer.
ALWAYS: Mapping[str, tuple[Endpoint, ...]] = {
    "vllm": (
        Endpoint("GET", "/v1/models", "list", ("limit",)),
        Endpoint("POST", "/v1/chat/completions", "json"),
        Endpoint("POST", "/v1/completions", "json"),
        Endpoint("POST", "/v1/messages", "json", ("beta",)),
        Endpoint("POST", "/v1/messages/count_tokens", "json", ("beta",)),
        Endpoint("POST", "/v1/responses", "json"),
    ),
    "llama.cpp": CHAT,
    "llama.cpp-cuda": CHAT,
    "lmstudio": CHAT,
    "ollama": CHAT,
    "sglang": CHAT,
    "tensorrt-llm": CHAT,
    "tgi": CHAT,
}

#: Kind of engine -> group -> routes that are open where `gateway_routes` names the group. Not a route of any group,
#: on purpose: what vLLM serves without /v1 (/score, /pooling, …), and everything that administers. Source: vLLM 0.32's
#: routers.
OPTIONAL: Mapping[str, Mapping[str, tuple[Endpoint, ...]]] = {
    "vllm": {
        "audio": (
            Endpoint("POST", "/v1/audio/transcriptions", "form"),
            Endpoint("POST", "/v1/audio/translations", "form"),
        ),
        "embeddings": (Endpoint("POST", "/v1/embeddings", "json"),),
        "realtime": (Endpoint("GET", "/v1/realtime", "socket"),),
        "rerank": (
            Endpoint("POST", "/v1/rerank", "json"),
            Endpoint("POST", "/v2/rerank", "json"),
            Endpoint("POST", "/v1/score", "json"),
        ),
    },
    # Its other routes (/v1/responses, /v1/messages, /v1/rerank) are not proven here: they stay shut.
    "llama.cpp": {"embeddings": (Endpoint("POST", "/v1/embeddings", "json"),)},
    "llama.cpp-cuda": {},
    # What these open is what is least: their other routes are not proven here.
    "lmstudio": {},
    "ollama": {},
    "sglang": {},
    "tensorrt-llm": {},
    "tgi": {},
}

#: What answers: the only engine, a script that chooses one by the request's body, a choice by the query's model,
#: nginx' own list, or nobody.
Answer = Literal["engine", "script", "query", "list", "nobody"]


@dataclass(frozen=True)
class Route:
    """An endpoint that is open, and what answers there."""

    method: str
    path: str
    kind: Kind
    answer: Answer
    query: tuple[str, ...] = ()


#: What a served model is for -> the group of routes that it opens by itself. Those of models that write text are always
#: open: an engine that writes none refuses them itself.
OPENED_BY: Mapping[str, str] = {"embed": "embeddings", "rerank": "rerank", "transcribe": "audio"}


def endpoints(groups: Sequence[str], kinds: Collection[str] = (), engine: str = "vllm") -> tuple[Endpoint, ...]:
    """What is open on a kind of engine: always, by name of a group, and by the kinds of models that it serves.

    Raises: IngotError for a group that this engine does not have.
    """
    known = OPTIONAL[engine]
    unknown = [group for group in groups if group not in known]
    if unknown:
        raise IngotError(
            f"gateway_routes names {unknown[0]!r}, expected some of {', '.join(known)}; correct it in group_data or "
            "the host's file."
        )
    opened = {*groups, *(OPENED_BY[kind] for kind in kinds if kind in OPENED_BY)}
    return (*ALWAYS[engine], *(one for group in known if group in opened for one in known[group]))


def serves(engine: str, path: str) -> bool:
    """Whether an engine has a route, whichever groups are open; "" is the one that has all of them."""
    if not engine:
        return True
    known = (*ALWAYS[engine], *(one for group in OPTIONAL[engine].values() for one in group))
    return any(one.path == path for one in known)


def routes(open_to_callers: Sequence[Endpoint], *, models: int, listed: bool, scripted: bool) -> list[Route]:
    """The open endpoints with what answers; everything else is 404 and never meets an engine.

    `listed`: nginx lists the models itself. `scripted`: a script chooses the engine, or the replica, by the body.
    """

    def answer(kind: Kind) -> Answer:
        if models == 0:
            return "nobody"
        if kind == "list":
            return "list" if listed else "engine"
        if kind == "socket":
            return "query"
        return "script" if scripted else "engine"

    return [Route(one.method, one.path, one.kind, answer(one.kind), one.query) for one in open_to_callers]
