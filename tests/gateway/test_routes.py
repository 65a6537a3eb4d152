"""The allow-list: what is open by default, what each group opens, and what stays shut whatever a site asks for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingot.errors import IngotError
from ingot.facts.gateway import ENGINES
from ingot.gateway.hold_out import held_out
from ingot.gateway.routes import ALWAYS, OPTIONAL, endpoints, routes
from ingot.gateway.upstreams import Upstream, engines
from ingot.operations.gateway import pool
from tests.gateway.test_site import DEBIAN_13, SETTINGS, TWO_MODELS, files, lines

pytestmark = pytest.mark.gateway

EVERY_GROUP = tuple(OPTIONAL["vllm"])
REALTIME = replace(SETTINGS, endpoints=endpoints(["realtime"]))


@pytest.mark.models
@pytest.mark.parametrize(
    ("kinds", "opened"),
    [
        (("generate",), set()),
        (("generate", "embed", "rerank"), {"/v1/embeddings", "/v1/rerank", "/v2/rerank", "/v1/score"}),
        (("transcribe",), {"/v1/audio/transcriptions", "/v1/audio/translations"}),
    ],
)
def test_routes_are_opened_by_what_is_served(kinds: tuple[str, ...], opened: set[str]) -> None:
    always = {one.path for one in endpoints(())}
    assert {one.path for one in endpoints((), kinds)} - always == opened


def test_a_group_opens_its_routes_and_no_other() -> None:
    assert [(one.method, one.path) for one in endpoints(["embeddings"])] == [
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/embeddings"),
    ]


def test_an_unknown_group_is_one_sentence() -> None:
    with pytest.raises(IngotError, match=r"gateway_routes names 'chat', expected some of audio, embeddings, .*correct"):
        endpoints(["chat"])


def test_no_group_opens_what_reads_other_teams_answers_or_administers() -> None:
    opened = {one.path for one in endpoints(EVERY_GROUP)}
    assert all(path.startswith(("/v1/", "/v2/")) for path in opened)
    assert not [path for path in opened if "{" in path or "lora" in path or path.endswith(("/render", "/cancel"))]
    assert len(opened) == len(ALWAYS["vllm"]) + sum(len(group) for group in OPTIONAL["vllm"].values())


def test_each_open_route_is_an_exact_location() -> None:
    rendered = lines(DEBIAN_13, replace(SETTINGS, endpoints=endpoints(EVERY_GROUP)))
    assert all(f"location = {one.path} {{" in rendered for one in endpoints(EVERY_GROUP))


def test_the_body_decides_only_where_there_is_something_to_choose() -> None:
    chosen = {one.path: one.answer for one in routes(endpoints(EVERY_GROUP), models=2, listed=True, scripted=True)}
    assert (chosen["/v1/models"], chosen["/v1/messages"], chosen["/v1/realtime"]) == ("list", "script", "query")
    only = {one.answer for one in routes(endpoints(EVERY_GROUP), models=1, listed=False, scripted=False)}
    assert only == {"engine", "query"}


def test_frames_are_passed_on_only_where_the_route_is_open() -> None:
    assert not [line for line in lines(DEBIAN_13) if "header upgrade" in line.lower()]
    assert "proxy_set_header Upgrade websocket;" in lines(DEBIAN_13, REALTIME)


def test_only_http_1_1_becomes_a_websocket() -> None:
    said = lines(DEBIAN_13, REALTIME)
    assert said.index("if ($server_protocol != HTTP/1.1) { return 597; }") < said.index(
        "proxy_set_header Upgrade websocket;"
    )


def test_a_websocket_client_names_the_model_in_the_query_as_it_is_or_escaped() -> None:
    several = lines(TWO_MODELS, REALTIME)
    assert '"model=org/llama" engine_1;' in several and '"model=org%2Fllama" engine_1;' in several
    assert '"" engine_0;' not in several, "with several models one must be named"
    assert '"" engine_0;' in lines(DEBIAN_13, REALTIME)


def test_conversations_stay_together_only_where_asked_for_and_where_replicas_are_several() -> None:
    kept = replace(SETTINGS, affinity=True)
    assert "hash $affinity consistent;" in lines(DEBIAN_13, kept)
    assert "js_content by_model.choose;" in lines(DEBIAN_13, kept)
    one_replica = replace(DEBIAN_13, upstreams=(Upstream("qwen", ("172.31.213.10:8000",)),))
    assert "js_content by_model.choose;" not in lines(one_replica, kept), "no body is read for nothing"
    assert not [line for line in lines(DEBIAN_13) if "affinity" in line or "js_content" in line]


def test_draining_replicas_are_passed_by_and_a_model_without_another_says_so() -> None:
    one = (Upstream("qwen", ("a:1", "b:1"), draining=("a:1",)),)
    every = (Upstream("qwen", ("a:1", "b:1"), draining=("a:1", "b:1")),)
    assert "server a:1 max_fails=3 fail_timeout=5s down;" in pool.engines_conf(engines(one), affinity=False)
    assert [engines(one)[0].out, engines(every)[0].out] == ["", "draining"]
    assert 'map "" $engine_0_out { default "draining"; }' in pool.engines_conf(engines(every), affinity=False)


def test_marks_change_one_file_of_nginx_and_that_file_names_itself() -> None:
    draining = replace(DEBIAN_13, upstreams=(replace(DEBIAN_13.upstreams[0], draining=("172.31.213.10:8000",)),))
    before, after = files(DEBIAN_13), files(draining)
    assert [path for path in before if before[path] != after[path]] == [ENGINES]
    names = [text.splitlines()[2] for text in (before[ENGINES], after[ENGINES])]
    assert names[0].startswith('map "" $engines_in_use') and names[0] != names[1]


def test_a_host_that_failed_its_acceptance_serves_nobody() -> None:
    assert [engine.out for engine in engines(DEBIAN_13.upstreams, held_out=True)] == ["held out"]


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ('{"verdict": "fail", "override": null}', True),
        ('{"verdict": "fail", "override": {"reason": "spare", "by": "me", "at": "2026-11-23"}}', False),
        ('{"verdict": "warn"}', False),
        ("", False),
        ("[]", False),
        ('{"verdict"', False),
    ],
)
def test_only_a_readable_failure_that_nobody_overrode_holds_a_host_out(text: str, out: bool) -> None:
    assert held_out(text) is out


def test_the_log_names_the_path_that_was_asked_for_whatever_a_script_made_of_it() -> None:
    assert "/-/engine_1/v1/completions /v1/completions;" in lines(TWO_MODELS)
    assert [line for line in lines(TWO_MODELS) if '"path":"$asked_path"' in line]
