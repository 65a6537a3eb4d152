"""What the gateway does for engines that count for nobody, and that it does nothing of it for others."""

from __future__ import annotations

import base64
import json
import random
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from ingot.gateway.upstreams import Upstream, engines, parse_upstreams, upstreams_json
from ingot.operations import render, tree
from ingot.operations.gateway import site
from ingot.operations.gateway.pool import engines_conf
from tests.gateway.test_site import DEBIAN_13, PRESENTED, SETTINGS

pytestmark = [pytest.mark.gateway, pytest.mark.engines]

LLAMA = Upstream("tiny", ("172.31.213.10:8000",), engine="llama.cpp", most=34, gathered=True)
ALONE = replace(DEBIAN_13, upstreams=(LLAMA,))
BESIDE = replace(DEBIAN_13, upstreams=(*DEBIAN_13.upstreams, LLAMA))
NODE = shutil.which("node")


def files(found: object) -> dict[str, str]:
    entries = site.entries(found, SETTINGS, (), PRESENTED)  # type: ignore[arg-type]
    return {one.path: str(one.content) for one in entries if isinstance(one, tree.File)}


def location(text: str, path: str) -> str:
    return text.partition(f"location = {path} {{")[2].partition("\n        }")[0]


def test_its_upstream_keeps_what_the_gateway_must_know() -> None:
    assert parse_upstreams(upstreams_json([LLAMA])) == ((LLAMA,), None)
    assert "server 172.31.213.10:8000 max_fails=3 fail_timeout=5s max_conns=34;" in engines_conf(
        engines([LLAMA]), affinity=False
    )


def test_alone_it_is_asked_by_name_and_its_answers_are_read() -> None:
    made = files(ALONE)
    chat = location(made["/etc/nginx/nginx.conf"], "/-/engine_0/v1/chat/completions")
    assert "js_body_filter metered.answer buffer_type=buffer;" in chat
    assert "proxy_set_body $asked_body;" in chat and "tokens.jsonl ingot_tokens;" in chat
    assert 'const engines = {"tiny": "engine_0"};' in made[site.MODEL_SCRIPT]
    assert "js_content by_model.choose;" in location(made["/etc/nginx/nginx.conf"], "/v1/chat/completions")
    assert "js_header_filter metered.head;" in chat and 'const gathered = ["engine_0"];' in made[site.MODEL_SCRIPT]
    assert "engine_0 @error_598;" in made["/etc/nginx/nginx.conf"]


def test_no_connection_is_kept_to_an_engine_that_closes_them_without_saying_so() -> None:
    for upstream, kept in ((LLAMA, False), (replace(LLAMA, engine="vllm", gathered=False), True)):
        assert ("keepalive 32;" in engines_conf(engines((upstream,)), affinity=False)) is kept


def test_an_engine_that_stops_by_itself_is_asked_as_its_callers_ask() -> None:
    made = files(replace(ALONE, upstreams=(replace(LLAMA, engine="sglang", gathered=False),)))
    assert "metered.head" not in made["/etc/nginx/nginx.conf"]
    assert "const gathered = [];" in made[site.MODEL_SCRIPT]


def test_routes_that_it_has_not_reach_it_by_no_name() -> None:
    text = files(BESIDE)["/etc/nginx/nginx.conf"]
    assert "return 596;" in location(text, "/-/engine_1/v1/responses")
    assert "proxy_pass" not in location(text, "/-/engine_1/v1/responses")
    assert "proxy_pass http://engine_0/v1/responses;" in location(text, "/-/engine_0/v1/responses")


def test_what_another_engine_is_asked_and_answers_is_left_alone() -> None:
    assert "metered" not in location(files(BESIDE)["/etc/nginx/nginx.conf"], "/-/engine_0/v1/chat/completions")
    assert not any("metered" in text or "ingot_tokens" in text for text in files(DEBIAN_13).values())
    assert site.METERED_SCRIPT not in files(DEBIAN_13)


HARNESS = """
import fs from 'fs';
import metered from './metered.mjs';
const { type, asked, gathered, pieces } = JSON.parse(fs.readFileSync(0));
const sent = [];
const request = {
    variables: { request_id: 'a', asked_usage: asked, gathered, prompt_tokens: 'null', completion_tokens: 'null' },
    headersOut: { 'Content-Type': type },
    sendBuffer: data => sent.push(Buffer.from(data)),
};
metered.head(request);
const began = process.hrtime.bigint();
pieces.forEach(piece => metered.answer(request, Buffer.from(piece, 'base64'), { last: false }));
const spent = Number(process.hrtime.bigint() - began);
if (process.argv[2] !== 'cut') {
    metered.answer(request, Buffer.alloc(0), { last: true });
}
const type_sent = request.headersOut['Content-Type'];
const text = Buffer.concat(sent).toString('base64');
console.log(JSON.stringify({ type: type_sent, text, spent, said: request.variables }));
"""
USAGE = {"prompt_tokens": 45, "completion_tokens": 3, "total_tokens": 48}


def event(**fields: object) -> str:
    return f"data: {json.dumps(fields, ensure_ascii=False)}\n\n"


def told(text: str) -> str:
    return event(choices=[{"index": 0, "delta": {"content": text}}])


WORDS = ["größe ", 'she said "usage": 7\n\n', "🙂"]
STREAM = [event(choices=[{"delta": {"role": "assistant"}}]), *map(told, WORDS), event(choices=[{"delta": {}}])]
LAST = event(choices=[], usage=USAGE)
DONE = "data: [DONE]\n\n"


def run(
    tmp_path: Path,
    data: bytes,
    cuts: list[int],
    asked: str = "",
    *,
    cut: bool = False,
    gathered: str = "",
    kind: str = "text/event-stream",
) -> dict[str, object]:
    (tmp_path / "metered.mjs").write_text(render.template("gateway/metered.js"))
    (tmp_path / "harness.mjs").write_text(HARNESS)
    bounds = [0, *sorted(cuts), len(data)]
    pieces = [base64.b64encode(data[a:b]).decode() for a, b in pairwise(bounds)]
    done = subprocess.run(
        [str(NODE), str(tmp_path / "harness.mjs"), *(["cut"] if cut else [])],
        input=json.dumps({"type": kind, "asked": asked, "gathered": gathered, "pieces": pieces}),
        capture_output=True, text=True, check=True, timeout=180,
    )  # fmt: skip
    found: dict[str, object] = json.loads(done.stdout)
    return {**found, "text": base64.b64decode(str(found["text"])).decode()}


@pytest.mark.skipif(NODE is None, reason="node is not installed")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("asked", ["", "1"])
def test_a_stream_comes_whole_however_it_is_cut(tmp_path: Path, seed: int, asked: str) -> None:
    data = "".join([*STREAM, LAST, DONE]).encode()
    chance = random.Random(seed)
    found = run(tmp_path, data, [chance.randrange(len(data)) for _ in range(12)], asked)
    assert found["text"] == "".join([*STREAM, *([LAST] if asked else []), DONE])
    said = found["said"]
    assert isinstance(said, dict) and (said["prompt_tokens"], said["completion_tokens"]) == ("45", "3")


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_of_a_stream_that_ends_early_the_pieces_are_counted(tmp_path: Path) -> None:
    found = run(tmp_path, "".join(STREAM[:3]).encode(), [], cut=True)
    said = found["said"]
    assert isinstance(said, dict) and (said["prompt_tokens"], said["completion_tokens"]) == ("null", "2")


CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "tiny"}


def chunk(delta: dict[str, object], **more: object) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": None, **more}
    return event(**CHUNK, choices=[choice])


def logprob(token: str) -> dict[str, object]:
    return {"logprobs": {"content": [{"token": token, "logprob": -0.5}]}}


CALL: dict[str, object] = {"index": 0, "id": "c1", "type": "function", "function": {"name": "report", "arguments": ""}}
TALK = [
    chunk({"role": "assistant", "content": None}),
    ": a sign of life\n\n",
    chunk({"reasoning_content": "hm"}),
    chunk({"reasoning_content": "m"}),
    chunk({"content": "grö"}, **logprob("grö")),
    chunk({"content": "ße"}, **logprob("ße")),
    chunk({}, finish_reason="stop"),
]
CALLS = [
    chunk({"role": "assistant", "content": None}),
    chunk({"tool_calls": [CALL]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"works":'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": "true}"}}]}),
    chunk({}, finish_reason="tool_calls"),
]
ENDED = event(**CHUNK, choices=[], usage=USAGE, timings={"predicted_n": 3}) + DONE


@pytest.mark.skipif(NODE is None, reason="node is not installed")
@pytest.mark.parametrize("seed", range(4))
def test_a_stream_becomes_the_answer_that_was_asked_for(tmp_path: Path, seed: int) -> None:
    data, chance = ("".join(TALK) + ENDED).encode(), random.Random(seed)
    found = run(tmp_path, data, [chance.randrange(len(data)) for _ in range(12)], gathered="1")
    assert found["type"] == "application/json; charset=utf-8"
    whole = json.loads(str(found["text"]))
    assert (whole["object"], whole["id"], whole["usage"]) == ("chat.completion", "chatcmpl-1", USAGE)
    (choice,) = whole["choices"]
    assert choice["message"] == {"role": "assistant", "content": "größe", "reasoning_content": "hmm"}
    assert [one["token"] for one in choice["logprobs"]["content"]] == ["grö", "ße"]
    assert choice["finish_reason"] == "stop"
    said = found["said"]
    assert isinstance(said, dict) and (said["prompt_tokens"], said["completion_tokens"]) == ("45", "3")


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_calls_of_tools_are_put_together(tmp_path: Path) -> None:
    found = run(tmp_path, ("".join(CALLS) + ENDED).encode(), [], gathered="1")
    (choice,) = json.loads(str(found["text"]))["choices"]
    function = {"name": "report", "arguments": '{"works":true}'}
    assert choice["message"] == {
        "role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function, "id": "c1"}]
    }  # fmt: skip


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_a_plain_completion_is_put_together(tmp_path: Path) -> None:
    pieces = [
        event(object="text_completion", choices=[{"text": text, "index": 0, "logprobs": None, "finish_reason": end}])
        for text, end in (("grö", None), ("ße", None), ("", "length"))
    ]
    found = run(tmp_path, "".join([*pieces, DONE]).encode(), [], gathered="1")
    assert json.loads(str(found["text"])) == {
        "object": "text_completion",
        "choices": [{"index": 0, "text": "größe", "logprobs": None, "finish_reason": "length"}],
    }


@pytest.mark.skipif(NODE is None, reason="node is not installed")
@pytest.mark.parametrize("end", ["", event(error={"code": 500, "message": "gone"}) + DONE, "data: {\n\n" + DONE])
def test_what_has_no_end_is_no_answer(tmp_path: Path, end: str) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run(tmp_path, ("".join(TALK) + end).encode(), [], gathered="1")


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_of_an_answer_that_nobody_waits_for_the_pieces_are_counted(tmp_path: Path) -> None:
    found = run(tmp_path, "".join(TALK[:5]).encode(), [], cut=True, gathered="1")
    said = found["said"]
    assert isinstance(said, dict) and (said["completion_tokens"], found["text"]) == ("3", "")


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_a_refusal_goes_on_as_it_is(tmp_path: Path) -> None:
    refusal = json.dumps({"error": {"code": 400, "message": "too long"}})
    found = run(tmp_path, refusal.encode(), [], gathered="1", kind="application/json")
    assert (found["text"], found["type"]) == (refusal, "application/json")
