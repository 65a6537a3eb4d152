"""Drafts and adapters come with their model: fetched beside it, told to its engine, and called by their own names."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from ingot.facts.asking import Answer, Asked
from ingot.facts.replica import Evidence, Glance, ReplicaEvidence, ReplicaGlance, ReplicaLog
from ingot.operations.serving import beside, engine
from ingot.sizing import Adapter, Speculation
from tests.operations.serving.onehost import OneHost

pytestmark = pytest.mark.models

COMMIT = "c" * 40
SERVE = {
    "model": "small",
    "context": 2048,
    "concurrency": 8,
    "replicas": 1,
    "arguments": {"tool_call_parser": "hermes", "chat_template": "llama3_json.jinja"},
    "speculation": {"method": "ngram", "tokens": 4, "lookup": 3},
    "adapters": [{"name": "sales", "repository": "org/sales", "revision": COMMIT, "rank": 16}],
}
CALL = {"function": {"name": "report", "arguments": '{"works": true}'}}


def answers(endpoint: str, requests: list[tuple[str, dict[str, Any], bool]], **_: Any) -> tuple[Answer, ...]:
    """A good engine's answers to whatever a proof asks."""
    text = json.dumps({"choices": [{"text": "one", "message": {"content": None, "tool_calls": [CALL]}}]})
    return tuple(Answer("200", text) for _ in requests)


@pytest.fixture
def host() -> OneHost:
    made = OneHost(serve=[SERVE])
    made.answers |= {
        ReplicaGlance: Glance("running", health="200", answered="200"),
        ReplicaEvidence: Evidence("running", 0, "200"),
        ReplicaLog: [],
        Asked: answers,
    }
    return made


def test_a_hosts_own_arguments_drafts_and_adapters_reach_the_engine(host: OneHost) -> None:
    assert host.run(engine.replicas) and host.refused == []
    service = yaml.safe_load(host.composed())["services"]["small-0"]
    argv = service["command"]
    assert argv[argv.index("--tool-call-parser") + 1] == "hermes"
    assert argv[argv.index("--lora-modules") + 1] == "sales=/adapters/sales"
    assert json.loads(argv[argv.index("--speculative-config") + 1])["method"] == "ngram"
    mounted = {one["target"]: one["source"] for one in service["volumes"]}
    assert mounted["/adapters/sales"] == f"/srv/models/sales/adapter/{COMMIT}"
    template = argv[argv.index("--chat-template") + 1].removeprefix("/ingot/")
    assert "<|start_header_id|>" in host.files[f"/var/lib/ingot/engine/lib/{template}"]


def test_callers_find_an_adapter_by_its_own_name(host: OneHost) -> None:
    host.run(engine.replicas)
    assert json.loads(host.files["/var/lib/ingot/upstreams.json"]) == [
        {"model": "sales", "replicas": ["172.31.213.10:8000"]},
        {"model": "small", "replicas": ["172.31.213.10:8000"]},
    ]


def test_an_adapter_that_does_not_answer_fails_its_replica(host: OneHost) -> None:
    def broken(endpoint: str, requests: list[tuple[str, dict[str, Any], bool]], **_: Any) -> tuple[Answer, ...]:
        return tuple(
            Answer("404", "no such model") if body["model"] == "sales" else answer
            for (_, body, _), answer in zip(requests, answers(endpoint, requests), strict=True)
        )

    host.answers[Asked] = broken
    host.run(engine.replicas)
    assert "answered /v1/completions with 404 where a completion was expected" in host.refused[0]


def test_a_draft_has_files_of_its_own_only_where_it_names_a_repository() -> None:
    assert beside.of_draft(Speculation("mtp", 1)) is None and beside.of_draft(None) is None
    draft = beside.of_draft(Speculation("eagle3", 3, "org/draft", COMMIT))
    assert draft and str(draft.directory) == f"draft/{COMMIT}"
    assert str(beside.of_adapter(Adapter("a", "org/a", None, 8)).directory) == "adapter/unpinned"
