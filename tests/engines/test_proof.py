"""A replica is good when it did what it is for: what it is asked, and what counts as an answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ingot.engines import VLLM, Replica, Service, Values, proof

pytestmark = pytest.mark.models


@pytest.fixture
def service(replica: Replica, values: Values) -> Service:
    return VLLM.service(replica, values)


def call(name: str = "report", arguments: str = '{"works": true}') -> str:
    calls = [{"function": {"name": name, "arguments": arguments}}]
    return json.dumps({"choices": [{"finish_reason": "stop", "message": {"content": None, "tool_calls": calls}}]})


def judged(service: Service, answer: Any, number: int = -1) -> str | None:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return proof.trouble(service, proof.questions(service)[number], "200", text)


def test_what_a_model_was_given_a_parser_for_is_asked_of_it(service: Service) -> None:
    assert [one.shows for one in proof.questions(service)] == ["a completion"]
    agent = replace(service, calls_tools=True, reasons=True)
    assert [one.shows for one in proof.questions(agent)] == [
        "a completion",
        "thoughts apart from the answer",
        "a tool call",
    ]
    assert [one.shows for one in proof.questions(replace(service, kind="embed"))] == ["an embedding"]
    assert [one.shows for one in proof.questions(replace(service, kind="rerank"))] == ["an order of documents"]
    (speech,) = proof.questions(replace(service, kind="transcribe"))
    assert speech.speech and speech.shows == "a transcript"


def test_no_prompt_is_of_one_token(service: Service) -> None:
    agent = replace(service, calls_tools=True, reasons=True)
    for question in proof.questions(agent):
        said = str(question.body.get("prompt") or question.body["messages"][0]["content"])
        assert len(said.split()) > 8


def test_every_adapter_is_proven_by_its_own_name(service: Service) -> None:
    asked = proof.questions(replace(service, adapters=("sales", "support")))
    assert [one.body["model"] for one in asked] == ["qwen2.5-7b-instruct", "sales", "support"]


def test_a_call_is_forced_and_must_fit_its_schema(service: Service) -> None:
    agent = replace(service, calls_tools=True)
    asked = proof.questions(agent)[-1].body
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "report"}}
    assert judged(agent, call()) is None
    assert "a call of other" in str(judged(agent, call("other")))
    assert "cannot be read" in str(judged(agent, call(arguments='{"works": tr')))
    assert "cannot be read" in str(judged(agent, call(arguments="{}")))
    none = {"choices": [{"finish_reason": "length", "message": {"content": "…", "tool_calls": []}}]}
    assert "gave no call (length) to /v1/chat/completions, expected a tool call" in str(judged(agent, none))


def test_thoughts_within_the_answer_are_a_fault(service: Service) -> None:
    thinker = replace(service, reasons=True)
    said = {"choices": [{"message": {"content": "<think>Well,", "reasoning": None}}]}
    assert judged(thinker, said) == (
        "gave thoughts within the answer (<think>) to /v1/chat/completions, expected thoughts apart from the answer"
    )
    apart = {"choices": [{"message": {"content": None, "reasoning": "Well,"}}]}
    assert judged(thinker, apart) is None


def test_an_embedding_has_the_width_of_its_model(service: Service) -> None:
    embedder = replace(service, kind="embed", width=4)
    assert judged(embedder, {"data": [{"embedding": [0.1] * 4}]}) is None
    assert judged(embedder, {"data": [{"embedding": [0.1] * 3}]}) == (
        "gave 3 numbers instead of 4 to /v1/embeddings, expected an embedding"
    )
    assert judged(replace(embedder, width=None), {"data": [{"embedding": []}]})


def test_documents_come_back_in_an_order(service: Service) -> None:
    reranker = replace(service, kind="rerank")
    right = {"results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]}
    assert judged(reranker, right) is None
    assert "documents [0]" in str(judged(reranker, {"results": [{"index": 0, "relevance_score": 0.1}]}))
    assert judged(reranker, {"results": right["results"][::-1]})


def test_a_transcript_is_a_text(service: Service) -> None:
    assert judged(replace(service, kind="transcribe"), {"text": ""}) is None
    assert judged(replace(service, kind="transcribe"), {"error": "no"})


def test_an_error_is_said_with_its_words(service: Service) -> None:
    question = proof.questions(service)[0]
    said = proof.trouble(service, question, "400", '{"error": {"message": "bad"}}')
    assert said == 'answered /v1/completions with 400 where a completion was expected ({"error": {"message": "bad"}})'
    assert "no answer to /v1/completions" in str(proof.trouble(service, question, "000", ""))
