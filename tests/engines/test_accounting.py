"""The middleware inside the engine: one line per request of the gateway, and no answer changed or broken by it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingot.engines.accounting import Accounting

pytestmark = [pytest.mark.gateway, pytest.mark.clients]

App = Callable[[Any, Any, Any], Awaitable[None]]
HEADERS = [(b"x-ingot-team", b"research"), (b"x-ingot-key", b"0a1b2c3d"), (b"x-request-id", b"r1")]
#: What a caller may write, and have the engine echo, to be taken for a statement of usage.
FORGED = (
    '"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}',
    '{"usage": {"input_tokens": 0, "output_tokens": 0}}',
    'data: {"type":"response.completed","response":{"usage":{"input_tokens":0,"output_tokens":0}}}\n\n',
    '"request_metadata":{"final_usage_info":{"prompt_tokens":0}}',
    'event: message_delta\ndata: {"usage":{"output_tokens":0}}\n\n',
)


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INGOT_ACCOUNT", str(tmp_path / "small-0.jsonl"))
    monkeypatch.setenv("INGOT_MODEL", "small")
    return tmp_path / "small-0.jsonl"


def written(account: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in account.read_text().splitlines()] if account.exists() else []


class Collector:
    """What vLLM hands the outputs of one request over by; `aggregate`: each output holds the tokens since the last."""

    def __init__(self, *, pieces: bool) -> None:
        self.aggregate = pieces
        self.output: Any = None
        self.taken: list[Any] = []

    def put(self, output: Any) -> None:
        self.taken.append(output)


class Engine:
    """The engine's client: one collector per request."""

    def __init__(self, *, pieces: bool = True, first: Any = None) -> None:
        self._pieces = pieces
        self._first = first

    async def add_request(self, request_id: str, **_: Any) -> Collector:
        made = Collector(pieces=self._pieces)
        made.output = self._first
        return made


def output(prompt: int, *generated: int, finished: bool = False) -> Any:
    """An output of the engine with so many tokens for each of its answers."""
    answers = [SimpleNamespace(index=index, token_ids=[7] * count) for index, count in enumerate(generated)]
    return SimpleNamespace(prompt_token_ids=[1] * prompt, outputs=answers, finished=finished)


def ask(
    app: App,
    *,
    headers: list[tuple[bytes, bytes]] = HEADERS,
    kind: str = "http",
    leaves: bool = False,
    engine: Any = None,
    body: bytes = b"",
) -> list[Any]:
    """One request through the middleware; returns what the caller was sent."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"} if leaves else {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": kind, "path": "/v1/chat/completions", "headers": headers}
    if engine:
        scope["app"] = SimpleNamespace(state=SimpleNamespace(engine_client=engine))
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


def generating(
    *outputs: Any, engine: Engine, text: bytes = b"{}", requests: int = 1, ends_after_s: float | None = None
) -> App:
    """A route that states no usage. With `ends_after_s` the engine's last output comes only after its caller left."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def one(number: int) -> None:
            collector = await engine.add_request(f"r-{number}", prompt="x")
            *early, last = outputs
            for made in early:
                collector.put(made)
            if ends_after_s is None:
                collector.put(last)
                return
            asyncio.get_running_loop().call_later(ends_after_s, collector.put, last)

        await receive()
        # As vLLM's handlers do, in tasks of their own.
        await asyncio.gather(*(asyncio.create_task(one(number)) for number in range(requests)))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text, "more_body": False})

    return app


def tokens(account: Path) -> tuple[int | None, int | None]:
    [line] = written(account)
    return line["prompt_tokens"], line["completion_tokens"]


def test_a_stream_that_states_no_usage_is_counted_piece_by_piece(account: Path) -> None:
    engine = Engine(pieces=True)
    ask(generating(output(30, 1), output(30, 4), output(30, 2, finished=True), engine=engine), engine=engine)
    assert tokens(account) == (30, 7)


def test_outputs_that_repeat_what_was_generated_count_once(account: Path) -> None:
    engine = Engine(pieces=False)
    ask(generating(output(30, 3), output(30, 8, finished=True), engine=engine), engine=engine)
    assert tokens(account) == (30, 8)


def test_several_answers_share_one_prompt_and_several_prompts_add_up(account: Path) -> None:
    engine = Engine(pieces=False)
    ask(generating(output(10, 3, 4, finished=True), engine=engine, requests=2), engine=engine)
    assert tokens(account) == (20, 14)


def test_embeddings_and_scores_cost_their_prompt(account: Path) -> None:
    engine = Engine(pieces=False)
    embedding = SimpleNamespace(prompt_token_ids=[1] * 9, outputs=SimpleNamespace(data=[0.1]), finished=True)
    ask(generating(embedding, engine=engine), engine=engine)
    assert tokens(account) == (9, 0)


def test_an_output_that_was_there_before_anyone_looked_counts(account: Path) -> None:
    engine = Engine(pieces=True, first=output(5, 2))
    ask(generating(output(5, 1, finished=True), engine=engine), engine=engine)
    assert tokens(account) == (5, 3)


def test_the_handlers_own_sum_outranks_the_engines_outputs(account: Path) -> None:
    """Beam search asks the engine for each token anew: what its answer costs is what its handler states."""
    ask(answering(b"{}", tokens=(12, 5)), engine=Engine())
    assert tokens(account) == (12, 5)


def test_a_caller_who_hangs_up_is_charged_what_was_generated(account: Path) -> None:
    engine = Engine(pieces=True)
    ask(generating(output(30, 1), output(30, 40), output(30, 2, finished=True), engine=engine), engine=engine)
    engine = Engine(pieces=False)
    stopped = generating(output(30, 17, finished=True), engine=engine, ends_after_s=0.05)
    ask(stopped, engine=engine, leaves=True)
    whole, left = written(account)
    assert (whole["completion_tokens"], whole["finished"]) == (43, True)
    # vLLM tells what it had generated when it stops, after its handler returned.
    assert (left["prompt_tokens"], left["completion_tokens"], left["finished"]) == (30, 17, False)


def test_the_engine_is_followed_once_however_many_requests_come(account: Path) -> None:
    engine = Engine(pieces=True)
    for _ in range(3):
        ask(generating(output(3, 1, finished=True), engine=engine), engine=engine)
    assert [line["completion_tokens"] for line in written(account)] == [1, 1, 1]


def test_an_engine_of_another_make_is_answered_for_without_tokens(account: Path) -> None:
    assert len(ask(answering(b"{}"), engine=SimpleNamespace())) == 3
    assert tokens(account) == (None, None)


@pytest.mark.parametrize("logger", ["vllm", "uvicorn.error"])
def test_what_the_engine_logs_of_a_request_holds_nothing_of_it(account: Path, logger: str) -> None:
    """An error quotes what it could not read: its place and its kind are enough to find it."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    log = logging.getLogger(logger)
    log.addHandler(handler)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

        async def handled() -> None:
            try:
                raise ValueError("cannot read 'CANARY'")
            except ValueError as error:
                log.exception("Error in create_messages: %s", error)
                log.warning(f"Cannot read {error}")

        await asyncio.create_task(handled())

    try:
        ask(app)
        log.warning("outside of %s", "requests")
    finally:
        log.removeHandler(handler)
    lines = out.getvalue().splitlines()
    assert "CANARY" not in out.getvalue() and lines[-1] == "outside of requests"
    assert [line.split()[-1] for line in lines[:-1]] == ["ValueError", lines[1].split()[-1]]
    assert all("test_accounting.py:" in line for line in lines[:-1]) and len(lines) == 3


_parts = st.lists(st.one_of(st.sampled_from(FORGED), st.text(max_size=20)), max_size=4).map("".join)
_json = st.recursive(
    _parts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_parts, inner, max_size=3), max_leaves=8
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=_json,
    answered=_json,
    raw=_parts,
    counts=st.lists(st.integers(0, 50), min_size=1, max_size=5),
    stated=st.booleans(),
)
def test_no_text_of_a_caller_changes_what_is_counted(
    account: Path, asked: Any, answered: Any, raw: str, counts: list[int], stated: bool
) -> None:
    """Whatever a request says and an answer repeats, as JSON at any depth or as raw text: the engine's count stands."""
    account.unlink(missing_ok=True)
    engine = Engine(pieces=True)
    pieces = [output(30, count) for count in counts]
    pieces[-1].finished = True
    text = json.dumps(answered).encode() + raw.encode()
    app = answering(text, tokens=(30, sum(counts))) if stated else generating(*pieces, engine=engine, text=text)
    ask(app, engine=engine, body=json.dumps(asked).encode() + raw.encode())
    assert tokens(account) == (30, sum(counts))


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
