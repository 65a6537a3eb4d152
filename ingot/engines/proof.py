"""What a replica must answer before it counts as good: what it is for, asked of it and judged. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

#: Several tokens for every tokenizer: vLLM's CPU build has died on shorter prompts on processors with AMX.
PROMPT = "This is the proof of a deployment. Count from one to ten, then say that you are ready to work."
#: Of two documents each; a reranker with any weights must put one before the other.
QUERY = "Which of these documents is about rain in the mountains?"
DOCUMENTS = ("In the mountains it has rained for three days.", "The price of copper fell again on Friday.")
#: Thoughts come before a call, and end by themselves.
THOUGHTS_TOKENS = 4096
#: Marks of thoughts that nobody separated (vLLM's reasoning parsers: the tags of most families).
MARKS = ("<think>", "</think>", "<|channel>thought", "<seed:think>")
#: A call, for a tokenizer that has one token per character too.
CALL_TOKENS = 192
#: What an always open tag leaves is judged on this many tokens.
LOOK_TOKENS = 24

TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "report",
        "description": "Report that the deployment works.",
        # Else a grammar lets any JSON be an argument, and a model of random weights takes the shortest.
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"works": {"type": "boolean"}},
            "required": ["works"],
            "additionalProperties": False,
        },
    },
}


class Provable(Protocol):
    """What serves: a service of a host, or a model behind its gateway. See `ingot.engines.service.Service`."""

    @property
    def model(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def width(self) -> int | None: ...
    @property
    def calls_tools(self) -> bool: ...
    @property
    def reasons(self) -> bool: ...
    @property
    def adapters(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Question:
    """One request of a proof: what it shows in words, its path, and its JSON; `speech` sends a second of silence."""

    shows: str
    path: str
    body: Mapping[str, Any] = field(default_factory=dict)
    speech: bool = False


def questions(service: Provable) -> tuple[Question, ...]:
    """What a replica is asked, of its model and of each of its adapters."""
    asked: list[Question] = []
    for model in (service.model, *service.adapters):
        asked += _questions(service, model)
    return tuple(asked)


def _questions(service: Provable, model: str) -> list[Question]:
    if service.kind == "embed":
        return [Question("an embedding", "/v1/embeddings", {"model": model, "input": PROMPT})]
    if service.kind == "rerank":
        body: dict[str, Any] = {"model": model, "query": QUERY, "documents": list(DOCUMENTS)}
        return [Question("an order of documents", "/v1/rerank", body)]
    if service.kind == "transcribe":
        # The language is named: random weights would hear one that there is not.
        body = {"model": model, "language": "en"}
        return [Question("a transcript", "/v1/audio/transcriptions", body, speech=True)]
    plain: dict[str, Any] = {"model": model, "prompt": PROMPT, "max_tokens": 1, "temperature": 0}
    asked = [Question("a completion", "/v1/completions", plain)]
    talk: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "temperature": 0}
    if service.reasons:
        body = {**talk, "max_tokens": LOOK_TOKENS}
        asked.append(Question("thoughts apart from the answer", "/v1/chat/completions", body))
    if service.calls_tools:
        choice = {"type": "function", "function": {"name": "report"}}
        length = THOUGHTS_TOKENS if service.reasons else CALL_TOKENS
        body = {**talk, "tools": [TOOL], "tool_choice": choice, "max_tokens": length, **_without_thoughts(service)}
        asked.append(Question("a tool call", "/v1/chat/completions", body))
    return asked


def _without_thoughts(service: Provable) -> dict[str, Any]:
    """Where thinking can be turned off, a call needs none of it; templates ignore what they do not know."""
    return {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}} if service.reasons else {}


def trouble(service: Provable, question: Question, status: str, text: str) -> str | None:
    """Why an answer is no proof, as the end of a sentence; None when it is one."""
    if status != "200":
        said = " ".join(text.split())[:200]
        return (
            f"gave no answer to {question.path} within the time"
            if status == "000"
            else (f"answered {question.path} with {status} where {question.shows} was expected ({said})")
        )
    try:
        found = _missing(service, question, json.loads(text))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        found = f"an answer that cannot be read ({type(error).__name__}: {error})"
    return f"gave {found} to {question.path}, expected {question.shows}" if found else None


def _missing(service: Provable, question: Question, answer: Any) -> str | None:
    """What an answer has instead of what it should show. Raises what a shape that is another raises."""
    if question.path == "/v1/embeddings":
        width = len(answer["data"][0]["embedding"])
        right = width == service.width if service.width else width > 0
        return None if right else f"{width} numbers instead of {service.width}"
    if question.path == "/v1/rerank":
        scores = [float(one["relevance_score"]) for one in answer["results"]]
        order = sorted(one["index"] for one in answer["results"])
        ranked = order == list(range(len(DOCUMENTS))) and scores == sorted(scores, reverse=True)
        return None if ranked else f"documents {order} with scores {scores}"
    if question.path == "/v1/audio/transcriptions":
        return None if isinstance(answer["text"], str) else "no text"
    choice = answer["choices"][0]
    if question.path == "/v1/completions":
        return None if isinstance(choice["text"], str) else "no text"
    if "tools" in question.body:
        (call,) = choice["message"]["tool_calls"] or [None]
        if call is None:
            return f"no call ({choice.get('finish_reason')})"
        arguments = json.loads(call["function"]["arguments"])
        named = call["function"]["name"] == "report" and isinstance(arguments["works"], bool)
        return None if named else f"a call of {call['function']['name']} with {arguments}"
    content = choice["message"]["content"] or ""
    mark = next((mark for mark in MARKS if mark in content), None)
    return f"thoughts within the answer ({mark})" if mark else None
