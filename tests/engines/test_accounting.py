"""The middleware inside the engine: one line per request of the gateway, and no answer changed or broken by it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingot.engines.accounting import Accounting

pytestmark = pytest.mark.gateway

App = Callable[[Any, Any, Any], Awaitable[None]]
HEADERS = [(b"x-ingot-team", b"research"), (b"x-ingot-key", b"0a1b2c3d"), (b"x-request-id", b"r1")]
#: How vLLM 0.32 answers on routes that leave no request_metadata, shortened, with the tokens that it states.
STATED = {
    "embeddings": (
        b'{"id":"embd-1","object":"list","data":[{"index":0,"object":"embedding","embedding":[0.1]}],"usage":'
        b'{"prompt_tokens":7,"total_tokens":7,"completion_tokens":0,"prompt_tokens_details":null}}',
        (7, 0),
    ),
    "rerank": (
        b'{"id":"rerank-1","model":"r","usage":{"prompt_tokens":9,"total_tokens":9},"results":['
        + b"{}," * 900
        + b"{}]}",
        (9, 0),
    ),
    "responses": (
        b'data: {"type":"response.completed","response":{"output":[],"usage":{"input_tokens":31,"input_tokens_details":'
        b'{"cached_tokens":0},"output_tokens":8,"total_tokens":39},"user":null}}\n\n',
        (31, 8),
    ),
}


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INGOT_ACCOUNT", str(tmp_path / "small-0.jsonl"))
    monkeypatch.setenv("INGOT_MODEL", "small")
    return tmp_path / "small-0.jsonl"


def written(account: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in account.read_text().splitlines()] if account.exists() else []


def ask(
    app: App, *, headers: list[tuple[bytes, bytes]] = HEADERS, kind: str = "http", leaves: bool = False
) -> list[Any]:
    """One request through the middleware; returns what the caller was sent."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"} if leaves else {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": kind, "path": "/v1/chat/completions", "headers": headers}
    asyncio.run(Accounting(app)(scope, receive, send))
    return sent


def answering(*pieces: bytes, tokens: tuple[int, int] | None = None, end: bool = True, status: int = 200) -> App:
    """An engine that answers in pieces; with `tokens` it states its usage as vLLM's handlers do."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        metadata = SimpleNamespace(final_usage_info=None)
        if tokens:
            scope["state"]["request_metadata"] = metadata
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": []})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if tokens:
            metadata.final_usage_info = SimpleNamespace(prompt_tokens=tokens[0], completion_tokens=tokens[1])
        if end:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


def test_a_whole_answer_is_one_line(account: Path) -> None:
    ask(answering(b"{}", tokens=(12, 5)))
    [line] = written(account)
    assert (line.pop("time")[10], line.pop("first_byte_s") >= 0, line.pop("duration_s") >= 0) == ("T", True, True)
    assert line == {
        "request_id": "r1",
        "team": "research",
        "key": "0a1b2c3d",
        "model": "small",
        "path": "/v1/chat/completions",
        "status": 200,
        "prompt_tokens": 12,
        "completion_tokens": 5,
        "finished": True,
    }


def test_the_caller_is_sent_what_the_engine_says(account: Path) -> None:
    app = answering(b"data: a\n\n", b"data: [DONE]\n\n", tokens=(1, 2))
    bodies = [message.get("body") for message in ask(app)]
    assert bodies == [None, b"data: a\n\n", b"data: [DONE]\n\n", b""]


def test_neither_prompt_nor_answer_is_written(account: Path) -> None:
    ask(answering(b"CANARY", tokens=(1, 1)))
    assert "CANARY" not in account.read_text()


def test_an_answer_that_was_cut_off_is_not_finished(account: Path) -> None:
    ask(answering(b"data: a\n\n", end=False))
    [line] = written(account)
    assert (line["finished"], line["status"], line["prompt_tokens"]) == (False, 200, None)


def test_a_caller_who_left_before_the_answer_is_not_finished(account: Path) -> None:
    # vLLM then sends an empty answer to nobody.
    ask(answering(b"null"), leaves=True)
    assert written(account)[0]["finished"] is False


@pytest.mark.parametrize("route", STATED)
def test_tokens_that_only_the_answer_states_are_read_there(account: Path, route: str) -> None:
    answer, tokens = STATED[route]
    ask(answering(answer[:50], answer[50:]))
    [line] = written(account)
    assert (line["prompt_tokens"], line["completion_tokens"]) == tokens


def test_a_text_that_looks_like_usage_counts_nothing(account: Path) -> None:
    ask(answering(json.dumps({"text": '"usage":{"prompt_tokens":999}'}).encode()))
    assert written(account)[0]["prompt_tokens"] is None


def test_an_engine_that_fails_fails_as_before_and_is_written_down(account: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("engine died")

    with pytest.raises(RuntimeError, match="engine died"):
        ask(app)
    assert (written(account)[0]["status"], written(account)[0]["finished"]) == (None, False)


def test_a_log_that_cannot_be_written_breaks_no_answer(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGOT_ACCOUNT", str(account.parent / "missing" / "x.jsonl"))
    assert len(ask(answering(b"{}", tokens=(1, 1)))) == 3


@pytest.mark.parametrize(("headers", "kind"), [([], "http"), (HEADERS, "websocket"), ([], "lifespan")])
def test_what_does_not_come_through_the_gateway_is_left_alone(account: Path, headers: Any, kind: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert "state" not in scope

    ask(app, headers=headers, kind=kind)
    assert written(account) == []


def test_lines_of_two_answers_at_once_are_not_mixed(account: Path) -> None:
    async def both() -> None:
        async def nothing(message: Any = None) -> Any:
            return {"type": "http.request"}

        apps = [Accounting(answering(b"x" * 100, tokens=(n, n))) for n in range(50)]
        scopes = [{"type": "http", "path": "/v1/completions", "headers": HEADERS} for _ in apps]
        await asyncio.gather(*(app(scope, nothing, nothing) for app, scope in zip(apps, scopes, strict=True)))

    asyncio.run(both())
    assert sorted(line["prompt_tokens"] for line in written(account)) == list(range(50))
