"""A request through the filter, header by header: what the engine gets, what its caller gets, and the process's end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from ingot.gateway import personal_data
from ingot.gateway.filter import server
from ingot.gateway.filter.exchange import Exchange, _to_its_end
from ingot.gateway.filter.ledger import today
from ingot.gateway.filter.rules import Rules
from ingot.gateway.filter.settings import Policy, Settings
from tests.gateway.filter_process import Call, ask, engine, until

pytestmark = [pytest.mark.gateway, pytest.mark.timeout(300)]

RULES = Rules.from_dicts(personal_data.rules({}, {}))
TEAMS = {
    "metered": Policy(tokens_per_minute=1000),
    "monthly": Policy(tokens_per_day=100, tokens_per_month=110),
    "redacted": Policy(redact=RULES),
}
ANSWER = {"id": "x", "choices": [{"index": 0, "message": {"content": "13800138000"}}], "usage": {"total_tokens": 9}}


def made(at: Path) -> server.Server:
    return server.Server(Exchange(Settings(TEAMS, 10), str(at / "engine")), at / "filter", "abc123")


async def raw(at: Path, request: bytes) -> tuple[str, dict[str, str], bytes]:
    """A request as bytes. Returns: the answer's first line, its headers, its body."""
    reader, writer = await asyncio.open_unix_connection(at / "filter")
    writer.write(request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    writer.close()
    return first, dict(line.split(": ", 1) for line in lines), body


async def by_engine(call: Call) -> None:
    """An engine that says more than a caller may know."""
    content = json.dumps(ANSWER).encode()
    head = (
        "HTTP/1.1 200 OK\r\nServer: uvicorn\r\nX-Secret: s\r\nSet-Cookie: c\r\nContent-Type: application/json\r\n"
        f"Retry-After: 3\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    call.writer.write(head.encode() + content)
    await call.writer.drain()


def test_the_engine_gets_what_it_needs_and_the_caller_nothing_that_it_must_not_know(tmp_path: Path) -> None:
    body = b'{"model": "m",  "max_tokens": 5}'
    request = (
        b"POST /v1/completions?a=b HTTP/1.1\r\nHost: llm\r\nAuthorization: Bearer k\r\nCookie: c\r\n"
        b"X-Request-Id: r7\r\nContent-Type: application/json\r\nAccept: text/plain\r\n"
        b"Accept-Encoding: gzip\r\nX-Ingot-Team: metered\r\n"
        b"X-Ingot-Key: 0a\r\nX-Forwarded-For: 1.2.3.4\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )

    async def test() -> None:
        running = await asyncio.start_unix_server(made(tmp_path)._connected, tmp_path / "filter")
        async with engine(tmp_path / "engine", by_engine) as calls:
            first, headers, content = await raw(tmp_path, request)
        running.close()
        assert calls[0].line == "POST /v1/completions?a=b HTTP/1.1"
        assert calls[0].headers == {
            "host": "engine", "connection": "close", "content-type": "application/json", "accept": "text/plain",
            "x-request-id": "r7", "x-ingot-team": "metered", "x-ingot-key": "0a", "content-length": "28",
        }  # fmt: skip
        assert calls[0].body == b'{"model":"m","max_tokens":5}', "written anew, as it was read"
        assert first == "HTTP/1.1 200 OK" and json.loads(content) == ANSWER
        left = headers.pop("X-RateLimit-Remaining-Tokens")
        assert headers == {
            "Content-Type": "application/json", "Retry-After": "3", "X-RateLimit-Limit-Tokens": "1000",
            "Connection": "close", "Content-Length": str(len(content)),
        }  # fmt: skip
        assert 900 < int(left) < 1000

    asyncio.run(test())


def test_a_query_changes_nothing_of_what_a_route_is_checked_and_charged_for(tmp_path: Path) -> None:
    """Also a stream's usage is asked for, its answer redacted, and the limit that the engine takes is charged."""

    async def streams(call: Call) -> None:
        call.begin_stream()
        await call.event({"id": "x", "choices": [{"index": 0, "delta": {"content": "13800138000"}}]})
        await call.end_stream()

    async def test() -> None:
        running = await asyncio.start_unix_server(made(tmp_path)._connected, tmp_path / "filter")
        async with engine(tmp_path / "engine", streams) as calls:
            body = {"model": "m", "stream": True, "messages": []}
            path = "/v1/chat/completions?api-version=1"
            events = await (await ask(tmp_path / "filter", body, of="redacted", path=path)).events()
            texts = [event["choices"][0]["delta"].get("content") or "" for event in events]
            assert "".join(texts) == "[redacted:mobile]"
            await (await ask(tmp_path / "filter", body, of="metered", path=path)).rest()
            assert json.loads(calls[1].body)["stream_options"] == {"include_usage": True}
            large = {"model": "m", "messages": [], "max_completion_tokens": 900, "max_tokens": 1}
            answer = await ask(tmp_path / "filter", large, of="metered", path=path)
            assert int(answer.headers["x-ratelimit-remaining-tokens"]) < 100
            await answer.rest()
        running.close()

    asyncio.run(test())


def test_a_team_is_told_what_it_has_left_and_warned_before_nothing_is(tmp_path: Path) -> None:
    async def asked(of: str) -> dict[str, str]:
        answer = await ask(tmp_path / "filter", {"model": "m", "max_tokens": 5}, of=of)
        await answer.rest()
        return {name: told for name, told in answer.headers.items() if name.startswith("x-ratelimit")}

    async def test() -> None:
        filter = made(tmp_path)
        running = await asyncio.start_unix_server(filter._connected, tmp_path / "filter")
        async with engine(tmp_path / "engine", by_engine):
            assert await asked("metered") == {"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "995"}
            assert await asked("metered") == {"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "986"}
            assert await asked("monthly") == {}
            filter._exchange.ledger.add("monthly", 80, today())
            warning = "89 % of 100 tokens per day are used; 80 % of 110 tokens per month are used"
            assert await asked("monthly") == {"x-ratelimit-warning": warning}
        running.close()

    asyncio.run(test())


def test_a_get_has_no_body_and_passes(tmp_path: Path) -> None:
    async def test() -> None:
        running = await asyncio.start_unix_server(made(tmp_path)._connected, tmp_path / "filter")
        async with engine(tmp_path / "engine", by_engine) as calls:
            first, _, content = await raw(tmp_path, b"GET /v1/models HTTP/1.1\r\nX-Ingot-Team: redacted\r\n\r\n")
        running.close()
        assert (calls[0].line, calls[0].body) == ("GET /v1/models HTTP/1.1", b"")
        assert calls[0].headers == {"host": "engine", "connection": "close", "x-ingot-team": "redacted"}
        assert first == "HTTP/1.1 200 OK"
        assert json.loads(content)["choices"][0]["message"]["content"] == "[redacted:mobile]"

    asyncio.run(test())


@pytest.mark.parametrize(
    "head",
    [
        b"PUT /v1/x HTTP/1.1\r\n",
        b"POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
        b"GET /v1/x HTTP/1.1\r\nUpgrade: websocket\r\n",
    ],
)
def test_what_the_filter_cannot_pass_on_is_refused(tmp_path: Path, head: bytes) -> None:
    async def test() -> None:
        running = await asyncio.start_unix_server(made(tmp_path)._connected, tmp_path / "filter")
        async with engine(tmp_path / "engine", by_engine) as calls:
            request = head + b"X-Ingot-Team: redacted\r\nX-Request-Id: r9\r\n\r\n"
            first, headers, content = await raw(tmp_path, request)
        running.close()
        assert calls == [] and first == "HTTP/1.1 400 Bad Request"
        assert headers == {
            "Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close",
        }  # fmt: skip
        error = json.loads(content)["error"]
        assert error["message"] == "Requests of your team pass a filter, which cannot pass this one on."
        assert error["request_id"] == "r9"

    asyncio.run(test())


def test_a_head_that_is_none_ends_the_connection_without_an_answer(tmp_path: Path) -> None:
    async def test() -> None:
        serving = made(tmp_path)
        running = await asyncio.start_unix_server(serving._connected, tmp_path / "filter")
        for request in (b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "filter")
            writer.write(request)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        await until(lambda: not serving._running)
        running.close()

    asyncio.run(test())


@pytest.mark.parametrize(
    ("status", "kind", "body", "passed"),
    [
        (502, "text/html", b"<html>", False),
        (503, "TEXT/HTML; charset=utf-8", b"<html>", False),
        (504, "text/html", b"<html>", False),
        (500, "text/html", b"<html>", True),
        (503, "application/json", b'{"error": {"message": "13800138000"}}', True),
    ],
)
def test_nginx_own_words_about_an_engine_are_not_the_engines(
    tmp_path: Path, status: int, kind: str, body: bytes, passed: bool
) -> None:
    async def says(call: Call) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        call.writer.write(head.encode() + body)
        await call.writer.drain()

    async def test() -> None:
        running = await asyncio.start_unix_server(made(tmp_path)._connected, tmp_path / "filter")
        async with engine(tmp_path / "engine", says):
            metered = await ask(tmp_path / "filter", {"model": "m"}, of="metered")
            assert metered.status == (status if passed else 502)
            if passed:
                assert await metered.rest() == body
            else:
                assert (await metered.json())["error"]["code"] == "engine_down"
                assert 10 <= int(metered.headers["retry-after"]) <= 20, "not all who were refused come at once"
            redacted = await ask(tmp_path / "filter", {"model": "m"}, of="redacted")
            if passed and kind == "application/json":
                assert await redacted.json() == {"error": {"message": "[redacted:mobile]"}}
            else:
                assert redacted.status == 502, "what cannot be read is withheld"
        running.close()

    asyncio.run(test())


@pytest.mark.parametrize(
    ("path", "answer", "passed"),
    [
        ("/v1/embeddings", {"data": [{"index": 0, "embedding": [13800138000.0]}]}, True),
        ("/v1/embeddings", {"error": {"message": "13800138000"}}, False),
        ("/v1/chat/completions", {"data": "13800138000", "choices": []}, False),
    ],
)
def test_vectors_alone_are_passed_on_unread(tmp_path: Path, path: str, answer: Any, passed: bool) -> None:
    async def test() -> None:
        running = await asyncio.start_unix_server(made(tmp_path)._connected, tmp_path / "filter")
        async with engine(tmp_path / "engine", lambda call: call.whole(answer)):
            got = await (await ask(tmp_path / "filter", {"model": "m", "input": "x"}, of="redacted", path=path)).json()
        running.close()
        assert (got == answer) == passed and ("13800138000" in json.dumps(got)) == passed

    asyncio.run(test())


def test_a_body_whose_type_nobody_told_is_read_as_json(tmp_path: Path) -> None:
    request = (
        b"POST /v1/completions HTTP/1.1\r\nX-Ingot-Team: metered\r\nContent-Length: 14\r\n\r\n" + b'{"model": "m"}'
    )

    async def test() -> None:
        running = await asyncio.start_unix_server(made(tmp_path)._connected, tmp_path / "filter")
        async with engine(tmp_path / "engine", by_engine):
            assert (await raw(tmp_path, request))[0] == "HTTP/1.1 200 OK"
        running.close()

    asyncio.run(test())


def test_a_caller_who_hangs_up_while_a_large_body_is_read_ends_after_it_and_quietly() -> None:
    async def test() -> None:
        go_on = asyncio.Event()

        async def reads() -> Any:
            await go_on.wait()
            raise ValueError("what was read")

        waiting = asyncio.ensure_future(_to_its_end(reads()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(test())


def test_a_fault_of_its_own_tells_nobody_what_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(*_: Any) -> None:
        raise KeyError("13800138000")

    async def test() -> None:
        serving = made(tmp_path)
        monkeypatch.setattr(serving._exchange, "answer", breaks)
        running = await asyncio.start_unix_server(serving._connected, tmp_path / "filter")
        answer = await ask(tmp_path / "filter", {"model": "m"}, of="redacted")
        assert (answer.status, (await answer.json())["error"]["request_id"]) == (502, "r1")
        running.close()

    caplog.set_level(logging.INFO, "filter")
    asyncio.run(test())
    assert caplog.messages == ["withheld r1: KeyError"]


def test_it_takes_the_sockets_name_over_and_ends_after_its_last_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As SIGTERM has it: nobody who asks meets a missing socket, and who was answered is answered to the end."""
    (tmp_path / "filter").write_text("the one before")
    go_on = asyncio.Event()

    async def slow(call: Call) -> None:
        await go_on.wait()
        await call.whole(ANSWER)

    async def test() -> None:
        serving = made(tmp_path)
        running = asyncio.ensure_future(serving.run())
        await until(lambda: stat.S_ISSOCK((tmp_path / "filter").stat().st_mode))
        assert stat.S_IMODE((tmp_path / "filter").stat().st_mode) == 0o666
        assert sorted(path.name for path in tmp_path.iterdir()) == ["filter"]
        async with engine(tmp_path / "engine", slow) as calls:
            asking = asyncio.ensure_future(ask(tmp_path / "filter", {"model": "m"}, of="metered"))
            await until(lambda: len(calls) == 1)
            first, _, content = await raw(tmp_path, b"GET /-/health HTTP/1.1\r\n\r\n")
            health = json.loads(content)
            assert first == "HTTP/1.1 200 OK" and health["digest"] == "abc123" and health["running"] == 2
            assert set(health["redactions"]) == {"redacted"} and health["tokens"]["metered"] > 0
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: "stopping, 1 answers go on" in caplog.messages)
            assert not running.done(), "an answer is under way"
            with pytest.raises(OSError):
                await asyncio.open_unix_connection(tmp_path / "filter")
            go_on.set()
            assert (await asking).status == 200
        await asyncio.wait_for(running, 30)

    caplog.set_level(logging.INFO, "filter")
    asyncio.run(test())
    assert caplog.messages[0] == "serving with abc123"
