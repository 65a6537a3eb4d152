"""A stream between two connections: read no faster than it is taken, and ended in every way that an end can come."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from ingot.gateway.filter import wire
from ingot.gateway.filter.relay import MOST_UNSENT, Relay
from ingot.gateway.filter.stream import Stream

pytestmark = [pytest.mark.gateway, pytest.mark.timeout(300)]

WORD = json.dumps({"id": "x", "choices": [{"index": 0, "delta": {"content": "word"}}]})
EVENT = f"data: {WORD}\n\n".encode()
DONE = b"data: [DONE]\n\n"


class Engine:
    """The engine's connection: whether it is read, and by whom."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")

    def set_protocol(self, protocol: Any) -> None:
        self.told.append("set_protocol")


class Caller:
    """The caller's connection: takes what it is given only when it is told to."""

    def __init__(self) -> None:
        self.transport = self
        self.unsent, self.sent = 0, b""
        self.takes = asyncio.Event()
        self.waited_for = asyncio.Event()

    def write(self, data: bytes) -> None:
        self.sent += data
        self.unsent += len(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    async def drain(self) -> None:
        self.waited_for.set()
        await self.takes.wait()
        self.takes.clear()
        self.unsent = 0


def relay(
    engine: Engine, caller: Caller, head: str = "Transfer-Encoding: chunked", path: str = "/v1/chat/completions"
) -> Relay:
    name, _, value = head.partition(": ")
    body = wire.Body(wire.Head(("HTTP/1.1", "200", "OK"), {name.lower(): value}))
    return Relay(engine, body, Stream(None, path=path), caller, "r1")  # type: ignore[arg-type]


def content(sent: bytes) -> tuple[bytes, bool]:
    """What a caller reads of chunks, and whether their end was told."""
    out = b""
    while sent:
        size, _, sent = sent.partition(b"\r\n")
        if size == b"0":
            return out, True
        out, sent = out + sent[: int(size, 16)], sent[int(size, 16) + 2 :]
    return out, False


def error(sent: bytes) -> str:
    """The code of the error that ends a stream."""
    return json.loads(content(sent)[0].decode().strip().rpartition("data: ")[2])["error"]["code"]


async def begun(made: Relay, data: bytes = b"") -> asyncio.Task[None]:
    """Let it run, with what the engine has sent so far."""
    answers = asyncio.StreamReader()
    answers.feed_data(data)
    if not data:
        answers.feed_data(wire.chunk(EVENT))
    running = asyncio.ensure_future(made.run(answers))
    await asyncio.sleep(0)
    return running


def test_the_engine_is_left_unread_while_its_caller_is_behind() -> None:
    async def test() -> None:
        engine, caller = Engine(), Caller()
        made = relay(engine, caller)
        running = await begun(made)
        while caller.unsent <= MOST_UNSENT:
            assert "pause" not in engine.told, "a caller that keeps up costs no pause"
            made.data_received(wire.chunk(EVENT))
        assert engine.told[-1] == "pause"
        await caller.waited_for.wait()
        assert "resume" not in engine.told, "not before the caller has taken what it was sent"
        caller.takes.set()
        while engine.told[-1] != "resume":
            await asyncio.sleep(0)
        made.data_received(wire.chunk(EVENT) + wire.chunk(DONE) + wire.LAST_CHUNK)
        caller.takes.set()
        await running
        assert engine.told == ["set_protocol", "pause", "resume"]
        text, ended = content(caller.sent)
        assert ended and text.endswith(EVENT + DONE) and text.count(EVENT) * len(EVENT) + len(DONE) == len(text)

    asyncio.run(test())


def test_what_was_read_before_it_took_over_is_not_lost() -> None:
    async def test() -> None:
        engine, caller = Engine(), Caller()
        made = relay(engine, caller)
        caller.takes.set()
        await (await begun(made, wire.chunk(EVENT) + wire.chunk(DONE) + wire.LAST_CHUNK))
        assert content(caller.sent) == (EVENT + DONE, True)

    asyncio.run(test())


def test_a_connection_that_breaks_ends_the_stream_with_an_error_once() -> None:
    async def test() -> None:
        engine, caller = Engine(), Caller()
        made = relay(engine, caller)
        running = await begun(made)
        made.connection_lost(ConnectionResetError())
        sent = caller.sent
        made.connection_lost(None)
        made.data_received(wire.chunk(EVENT))
        made.eof_received()
        caller.takes.set()
        await running
        assert error(caller.sent) == "engine_down" and caller.sent == sent and content(sent)[1]

    asyncio.run(test())


@pytest.mark.parametrize(
    ("head", "data", "code"),
    [
        ("Transfer-Encoding: chunked", b"", "engine_down"),
        ("Content-Length: 100000", b"", "engine_down"),
        ("Transfer-Encoding: chunked", b"xyz\r\n", "engine_down"),
        (
            "Transfer-Encoding: chunked",
            wire.chunk(b"data: {broken\n\ndata: [DONE]\n\ndata: more\n\n"),
            "answer_withheld",
        ),
    ],
    ids=["ends between chunks", "ends before its length", "is not chunked", "goes on after its end"],
)
def test_a_stream_that_is_not_as_told_ends_with_an_error(head: str, data: bytes, code: str) -> None:
    async def test() -> None:
        engine, caller = Engine(), Caller()
        made = relay(engine, caller, head)
        running = await begun(made, wire.chunk(EVENT) if "chunked" in head else EVENT)
        made.data_received(data)
        caller.takes.set()
        await running
        assert error(caller.sent) == code and content(caller.sent)[1]

    asyncio.run(test())


@pytest.mark.clients
@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1/chat/completions", {"error": {"type": "server_error"}}),
        ("/v1/messages", {"type": "error", "error": {"type": "api_error"}, "request_id": "r1"}),
        (
            "/v1/responses",
            {
                "type": "error",
                "code": "engine_down",
                "param": None,
                "sequence_number": 1,
                "error": {"code": "engine_down"},
            },
        ),
    ],
)
def test_an_error_within_a_stream_has_the_shape_that_callers_of_its_route_know(path: str, told: dict[str, Any]) -> None:
    async def test() -> bytes:
        engine, caller = Engine(), Caller()
        made = relay(engine, caller, path=path)
        running = await begun(made)
        made.connection_lost(ConnectionResetError())
        caller.takes.set()
        await running
        return content(caller.sent)[0]

    name, _, data = asyncio.run(test()).removeprefix(EVENT).decode().rpartition("data: ")
    found = json.loads(data)
    assert name == ("event: error\n" if "type" in told else "")
    assert {key: found[key] for key in told if key != "error"} == {key: told[key] for key in told if key != "error"}
    assert (
        told["error"].items() <= found["error"].items() and found["error"]["message"] == "The model is not answering."
    )


def test_a_stream_without_a_length_ends_with_its_connection() -> None:
    async def test() -> None:
        engine, caller = Engine(), Caller()
        made = relay(engine, caller, "Content-Type: text/event-stream")
        running = await begun(made, EVENT + DONE)
        made.eof_received()
        caller.takes.set()
        await running
        assert content(caller.sent) == (EVENT + DONE, True)

    asyncio.run(test())


def test_an_end_that_came_before_it_took_over_is_seen() -> None:
    async def test(broken: bool) -> str:
        engine, caller = Engine(), Caller()
        answers = asyncio.StreamReader()
        answers.feed_data(wire.chunk(EVENT))
        if broken:
            answers.set_exception(ConnectionResetError())
        else:
            answers.feed_eof()
        caller.takes.set()
        await relay(engine, caller).run(answers)
        return error(caller.sent)

    assert [asyncio.run(test(broken)) for broken in (False, True)] == ["engine_down", "engine_down"]
