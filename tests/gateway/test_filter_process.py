"""The filter as a process between two unix sockets: what goes through, what is held back, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingot.gateway import personal_data
from ingot.gateway.filter import exchange, requests, server
from ingot.gateway.filter.exchange import Exchange
from ingot.gateway.filter.rules import Rules
from ingot.gateway.filter.settings import Policy, Settings
from tests.gateway.filter_process import Call, Filter, ask, engine, piece, team, until

pytestmark = [pytest.mark.gateway, pytest.mark.timeout(300)]

#: For what a process alone has: signals of its own, limits of its own.
a_process = pytest.mark.skipif("MUTANT_UNDER_TEST" in os.environ, reason="mutants are seen in the tests' process alone")

STREAM = {"model": "m", "stream": True, "messages": []}
WHOLE = {"model": "m", "messages": []}
ANSWER = {"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": "手机13800138000。"}}]}
USAGE = {"id": "x", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filter]:
    """A filter for a team of each kind."""
    made = Filter(tmp_path_factory.mktemp("filter"))
    process = made.start(
        team("sales", redact=("all",)),
        team("checked", check_requests="refuse"),
        team("metered", tokens_per_minute=200),
        team("metered-streams", tokens_per_minute=200),
    )
    yield made
    process.kill()
    process.wait()


def text_of(events: list[Any]) -> str:
    return "".join(event["choices"][0]["delta"].get("content", "") for event in events if event.get("choices"))


def test_an_answer_in_one_piece_is_redacted(running: Filter) -> None:
    async def test() -> None:
        async with engine(running.engine, lambda call: call.whole(ANSWER)) as calls:
            answer = await ask(running.socket, WHOLE)
            body = await answer.rest()
        assert answer.status == 200 and int(answer.headers["content-length"]) == len(body)
        assert json.loads(body)["choices"][0]["message"]["content"] == "手机[redacted:mobile]。"
        headers = calls[0].headers
        assert (headers["x-request-id"], headers["x-ingot-team"], headers["x-ingot-key"]) == ("r1", "sales", "01234567")
        assert "accept-encoding" not in headers and json.loads(calls[0].body) == WHOLE

    asyncio.run(test())


def test_a_stream_comes_piece_by_piece_and_redacted(running: Filter) -> None:
    seen = asyncio.Event()

    async def answering(call: Call) -> None:
        call.begin_stream()
        await call.event(piece("手机1380"))
        await seen.wait()
        await call.event(piece("0138000。"))
        await call.end_stream()

    async def test() -> None:
        async with engine(running.engine, answering):
            answer = await ask(running.socket, STREAM)
            first = await answer.reader.readuntil(b"\n\n\r\n")
            assert "手机" in first.decode() and b"1380" not in first
            seen.set()
            assert text_of(await answer.events()) == "[redacted:mobile]。"

    asyncio.run(test())


def test_a_caller_who_hangs_up_ends_the_engines_work(running: Filter) -> None:
    async def endless(call: Call) -> None:
        call.begin_stream()
        while True:
            await call.event(piece("word "))
            await asyncio.sleep(0.01)

    async def silent(call: Call) -> None:
        await call.reader.read()

    async def test() -> None:
        for answering in (endless, silent):
            async with engine(running.engine, answering) as calls:
                asking = asyncio.ensure_future(ask(running.socket, STREAM))
                await until(lambda calls=calls: bool(calls))
                if answering is endless:
                    (await asking).writer.transport.abort()
                else:
                    asking.cancel()
                    await asyncio.gather(asking, return_exceptions=True)
                await until(calls[0].reader.at_eof)

    asyncio.run(test())


def test_a_slow_reader_slows_the_engine_down_and_gets_all_of_it(running: Filter) -> None:
    """The engine wants to send much more than what the kernel and the filter hold on the way; its own buffer tells when
    nobody takes it. A filter that reads on holds all of it, and the engine ends before its reader has begun."""
    most, word = 32 * 1024 * 1024, "word " * 2000
    sent, stuck, ended = 0, asyncio.Event(), False

    async def answering(call: Call) -> None:
        nonlocal sent, ended
        call.begin_stream()
        while sent < most and not stuck.is_set():
            sending = asyncio.ensure_future(call.event(piece(word)))
            sent += len(word)
            # It waits for as long as it must: a busy machine is slow, and none is this slow.
            await asyncio.wait({sending}, timeout=5)
            if not sending.done():
                stuck.set()
            await sending
        stuck.set()
        ended = True
        await call.end_stream()

    async def test() -> None:
        async with engine(running.engine, answering):
            answer = await ask(running.socket, STREAM)
            await stuck.wait()
            assert not ended and sent < most, "the engine could send all of it to a filter that nobody reads from"
            assert text_of(await answer.events()) == "word " * (sent // 5)

    asyncio.run(test())


EVENT = f"data: {json.dumps(piece('手机13800138000。'), ensure_ascii=False)}\n\ndata: [DONE]\n\n".encode()


@pytest.mark.parametrize(
    "rest",
    [
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(EVENT), EVENT),
        b"Content-Length: %d\r\n\r\n%b" % (len(EVENT), EVENT),
        b"\r\n" + EVENT,
    ],
    ids=["chunks", "length", "until the end"],
)
def test_a_stream_that_comes_at_once_with_its_end_is_passed_on(running: Filter, rest: bytes) -> None:
    async def answering(call: Call) -> None:
        call.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + rest)

    async def test() -> None:
        async with engine(running.engine, answering):
            body = await (await ask(running.socket, STREAM)).rest()
        assert "手机[redacted:mobile]。" in body.decode() and body.endswith(b"data: [DONE]\n\n")

    asyncio.run(test())


def test_an_engine_that_breaks_off_is_an_error_and_what_was_held_is_not_sent(running: Filter) -> None:
    async def answering(call: Call) -> None:
        call.begin_stream()
        await call.event(piece("手机1380013"))
        call.writer.close()

    async def test() -> None:
        async with engine(running.engine, answering):
            *events, last = await (await ask(running.socket, STREAM)).events()
        assert text_of(events) == "手机"
        assert last["error"]["code"] == "engine_down" and last["error"]["request_id"] == "r1"

    asyncio.run(test())


def test_an_event_that_cannot_be_read_ends_the_stream(running: Filter) -> None:
    async def answering(call: Call) -> None:
        call.begin_stream()
        await call.event(piece("a"))
        await call.event("13800138000")
        await call.event(piece("b"))
        await call.end_stream()

    async def test() -> None:
        async with engine(running.engine, answering):
            *events, last = await (await ask(running.socket, STREAM)).events()
        assert last["error"]["code"] == "answer_withheld" and text_of(events) in ("", "a")

    asyncio.run(test())


@pytest.mark.parametrize("raw", [b"not json", b'{"a": 13800138000', b"[" * 100_000])
def test_an_answer_that_cannot_be_read_is_withheld(running: Filter, raw: bytes) -> None:
    async def answering(call: Call) -> None:
        call.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + raw)

    async def test() -> None:
        async with engine(running.engine, answering):
            answer = await ask(running.socket, WHOLE)
            assert (answer.status, (await answer.json())["error"]["code"]) == (502, "answer_withheld")

    asyncio.run(test())


def test_an_engine_that_nginx_cannot_reach_is_down(running: Filter) -> None:
    async def answering(call: Call) -> None:
        call.writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>")

    async def test() -> None:
        async with engine(running.engine, answering):
            answer = await ask(running.socket, WHOLE)
            assert (answer.status, (await answer.json())["error"]["code"]) == (502, "engine_down")

    asyncio.run(test())


def test_errors_are_shaped_and_name_the_request(running: Filter) -> None:
    async def test() -> None:
        for body, of, status, code in (
            (WHOLE, "nobody", 503, "filter_not_ready"),
            (WHOLE, "sales", 502, "engine_down"),
            (b"{", "sales", 400, "bad_request"),
            ({"prompt": "13800138000"}, "checked", 400, "request_refused_personal_data"),
        ):
            answer = await ask(running.socket, body, of=of)
            error = (await answer.json())["error"]
            assert (answer.status, error["code"], error["request_id"]) == (status, code, "r1")

    asyncio.run(test())


def test_a_budget_is_charged_before_and_settled_by_the_usage(running: Filter) -> None:
    told = {**ANSWER, "usage": {"total_tokens": 150}}
    ask_100 = {**WHOLE, "max_tokens": 100}

    async def test() -> None:
        async with engine(running.engine, lambda call: call.whole(told)):
            first = await ask(running.socket, ask_100, of="metered")
            assert (first.status, first.headers["x-ratelimit-limit-tokens"]) == (200, "200")
            assert await first.json() == told
            second = await ask(running.socket, ask_100, of="metered")
            error = (await second.json())["error"]
        assert (second.status, error["code"]) == (429, "tokens_per_minute_exceeded")
        assert 1 <= int(second.headers["retry-after"]) <= 120

    asyncio.run(test())


@a_process
def test_a_days_tokens_are_counted_on_by_the_next_process(tmp_path: Path) -> None:
    made, counts = Filter(tmp_path), tmp_path / "counts"
    counts.mkdir()
    asks = {**WHOLE, "max_tokens": 10}

    async def answered(total: int) -> tuple[int, str, str | None]:
        told = {**ANSWER, "usage": {"total_tokens": total}}
        async with engine(made.engine, lambda call: call.whole(told)):
            answer = await ask(made.socket, asks, of="daily")
            code = (await answer.json()).get("error", {}).get("code", "")
            return answer.status, code, answer.headers.get("x-ratelimit-warning")

    def serving(digest: str) -> subprocess.Popen[str]:
        return made.start(team("daily", tokens_per_day=200), digest=digest, counts=counts)

    first = serving("first")
    assert asyncio.run(answered(150)) == (200, "", None)
    first.send_signal(signal.SIGTERM)
    assert first.wait(10) == 0
    second = serving("second")
    assert asyncio.run(answered(30)) == (200, "", None)
    assert asyncio.run(answered(30)) == (200, "", "90 % of 200 tokens per day are used")
    second.send_signal(signal.SIGTERM)
    assert second.wait(10) == 0
    third = serving("third")
    assert asyncio.run(answered(1))[:2] == (429, "tokens_per_day_exceeded")
    third.kill()
    third.wait()


def test_a_metered_stream_tells_its_usage_to_the_budget_alone(running: Filter) -> None:
    async def answering(call: Call) -> None:
        call.begin_stream()
        await call.event(piece("13800138000"))
        await call.event(USAGE)
        await call.end_stream()

    async def test() -> None:
        async with engine(running.engine, answering) as calls:
            answer = await ask(running.socket, {**STREAM, "max_tokens": 100}, of="metered-streams")
            assert await answer.events() == [piece("13800138000")]
            assert json.loads(calls[0].body)["stream_options"] == {"include_usage": True}
            reader, writer = await asyncio.open_unix_connection(running.socket)
            writer.write(b"GET /-/health HTTP/1.1\r\n\r\n")
            health = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
        assert health["digest"] == "first" and health["tokens"]["metered-streams"] == 30

    asyncio.run(test())


def test_requests_that_would_fill_its_memory_are_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HELD_PER_TEAM", 1000)
    monkeypatch.setattr(server, "HELD", 2500)
    teams = dict.fromkeys(("a", "b", "c"), Policy(tokens_per_minute=10**9))
    made = server.Server(Exchange(Settings(teams, 1), str(tmp_path / "engine")), tmp_path / "filter", "first")
    large = {"messages": [{"role": "user", "content": "x" * 900}]}
    at_once = {"messages": [{"role": "user", "content": "x" * 2000}]}
    ended = asyncio.Event()

    async def answering(call: Call) -> None:
        await ended.wait()
        await call.whole(ANSWER)

    async def code(of: str, body: Any) -> str:
        answer = await ask(tmp_path / "filter", body, of=of)
        told = await answer.json()
        return told["error"]["code"] if "error" in told else "answered"

    async def test() -> None:
        running = await asyncio.start_unix_server(made._connected, tmp_path / "filter")
        async with engine(tmp_path / "engine", answering) as calls:
            first = [asyncio.ensure_future(code("a", large)), asyncio.ensure_future(code("b", large))]
            await until(lambda: len(calls) == 2)
            assert await code("a", large) == "filter_busy"
            assert await code("c", large) == "filter_busy"
            ended.set()
            assert await asyncio.gather(*first) == ["answered", "answered"]
            # Whatever its size, a request has its turn when nothing else is held.
            assert await code("a", at_once) == "answered"
        running.close()

    asyncio.run(test())


def test_one_team_cannot_hold_what_the_others_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends too much at once is told so while there is room for the others: by a limit of its own."""
    assert 0 < server.HELD_PER_TEAM < server.HELD
    monkeypatch.setattr(server, "HELD_PER_TEAM", 1000)
    monkeypatch.setattr(server, "HELD", 1_000_000)
    teams = dict.fromkeys(("a", "b"), Policy(tokens_per_minute=10**9))
    made = server.Server(Exchange(Settings(teams, 1), str(tmp_path / "engine")), tmp_path / "filter", "first")
    ended = asyncio.Event()

    async def answering(call: Call) -> None:
        await ended.wait()
        await call.whole(ANSWER)

    def body(size: int) -> bytes:
        return b'{"model": "m"}'.ljust(size)

    async def test() -> None:
        running = await asyncio.start_unix_server(made._connected, tmp_path / "filter")
        async with engine(tmp_path / "engine", answering) as calls:
            begun = [asyncio.ensure_future(ask(tmp_path / "filter", body(size), of="a")) for size in (400, 600)]
            await until(lambda: len(calls) == 2)
            # One byte more than its limit; to the byte it was taken.
            refused = await ask(tmp_path / "filter", body(20), of="a")
            assert (refused.status, (await refused.json())["error"]["code"]) == (503, "filter_busy")
            begun.append(asyncio.ensure_future(ask(tmp_path / "filter", body(900), of="b")))
            await until(lambda: len(calls) == 3)
            ended.set()
            assert [(await one).status for one in begun] == [200, 200, 200]
            # What was answered is held no longer.
            assert (await ask(tmp_path / "filter", body(1000), of="a")).status == 200
        running.close()

    asyncio.run(test())


def test_a_large_request_is_read_beside_the_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, int]] = []
    prepared = requests.prepared

    def noting(*asking: Any) -> requests.Prepared:
        beside = threading.current_thread() is not threading.main_thread()
        seen.append((beside, len(asking[3])))
        return prepared(*asking)

    monkeypatch.setattr(requests, "prepared", noting)
    monkeypatch.setattr(exchange, "LARGE", 10_000)
    rules = Rules.from_dicts(personal_data.rules({}, {}))
    made = Exchange(Settings({"a": Policy(check=rules, check_redacts=True)}, 1), str(tmp_path / "engine"))
    # Where the text is cut for the search.
    asked = [{"messages": [{"role": "user", "content": "x " * times + "13800138000"}]} for times in (1, 8190)]

    async def test() -> None:
        running = await asyncio.start_unix_server(server.Server(made, tmp_path, "x")._connected, tmp_path / "filter")
        async with engine(tmp_path / "engine", lambda call: call.whole(ANSWER)) as calls:
            for body in asked:
                assert (await ask(tmp_path / "filter", body, of="a")).status == 200
            for call in calls:
                assert json.loads(call.body)["messages"][0]["content"].endswith("x [redacted:mobile]")
        running.close()

    asyncio.run(test())
    assert [beside for beside, _ in seen] == [False, True] and seen[1][1] > 16 * 1024


def test_who_hangs_up_while_a_large_request_is_read_starts_no_second_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, reading, most = threading.Event(), 0, 0

    def slow(*asking: Any) -> requests.Prepared:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        go_on.wait(30)
        reading -= 1
        return requests.Prepared(b"{}")

    monkeypatch.setattr(requests, "prepared", slow)
    monkeypatch.setattr(exchange, "LARGE", 1)
    made = server.Server(Exchange(Settings({"a": Policy(tokens_per_minute=1)}, 1), "/none"), tmp_path, "x")

    async def test() -> None:
        running = await asyncio.start_unix_server(made._connected, tmp_path / "filter")
        hung_up = [asyncio.ensure_future(ask(tmp_path / "filter", WHOLE, of="a")) for _ in range(3)]
        await until(lambda: reading == 1 and len(made._running) == 3)
        for one in hung_up:
            one.cancel()
        await asyncio.gather(*hung_up, return_exceptions=True)
        # Those that waited for their turn are gone, the one that is being read stays to its end.
        await until(lambda: len(made._running) == 1)
        last = asyncio.ensure_future(ask(tmp_path / "filter", WHOLE, of="a"))
        await until(lambda: len(made._running) == 2)
        go_on.set()
        assert (await last).status == 502
        running.close()

    asyncio.run(test())
    assert most == 1


@a_process
def test_it_takes_as_many_open_files_as_it_may(tmp_path: Path) -> None:
    made, (soft, hard) = Filter(tmp_path), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        process = made.start(team("sales", redact=("all",)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    process.kill()
    process.wait()


@a_process
def test_a_new_process_takes_over_and_the_old_one_ends_its_streams(tmp_path: Path) -> None:
    made = Filter(tmp_path)
    old = made.start(team("sales", redact=("all",)))
    replaced = asyncio.Event()

    async def answering(call: Call) -> None:
        call.begin_stream()
        await call.event(piece("甲"))
        await replaced.wait()
        await call.event(piece("乙"))
        await call.end_stream()

    async def test() -> None:
        async with engine(made.engine, answering):
            answer = await ask(made.socket, STREAM)
            await answer.reader.readuntil(b"\n\n\r\n")
            new = made.start(team("sales", redact=("all",)), digest="second")
            old.send_signal(signal.SIGTERM)
            later = await ask(made.socket, STREAM)
            replaced.set()
            assert text_of(await answer.events()) == "乙"
            assert text_of(await later.events()) == "甲乙"
            assert await asyncio.to_thread(old.wait, 10) == 0
            new.kill()
            new.wait()

    asyncio.run(test())
