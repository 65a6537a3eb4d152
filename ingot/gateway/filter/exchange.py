"""One request from its head to the end of its answer: refused, or passed on and its answer redacted and settled."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from ingot.gateway.filter import refusals, requests, wire
from ingot.gateway.filter.allowance import Allowance
from ingot.gateway.filter.answers import compact, redacted
from ingot.gateway.filter.ledger import Ledger
from ingot.gateway.filter.relay import Relay
from ingot.gateway.filter.requests import Prepared
from ingot.gateway.filter.settings import Policy, Settings
from ingot.gateway.filter.spent import Spent
from ingot.gateway.filter.stream import Stream

#: Headers that the engine gets from nginx, and the caller from the engine; the rest is made here or left out.
_ON = ("content-type", "accept", "x-request-id", "x-ingot-team", "x-ingot-key")
_BACK = ("content-type", "retry-after")
#: An answer in one piece that is larger than this is withheld, bytes.
LARGEST_ANSWER = 64 * 1024 * 1024
#: Requests from this size on are read beside the streams, one at a time, bytes.
LARGE = 256 * 1024

log = logging.getLogger("filter")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with what its team asked for."""

    head: wire.Head
    policy: Policy
    prepared: Prepared
    spent: Spent | None

    @property
    def path(self) -> str:
        return self.head.path


class Exchange:
    """Answers requests: one process's settings, its budgets and the engine's socket."""

    def __init__(self, settings: Settings, engine: str, ledger: Ledger | None = None) -> None:
        self.settings = settings
        self.ledger = ledger or Ledger(None)
        self.allowances = {
            team: Allowance(
                team,
                self.ledger,
                per_minute=policy.tokens_per_minute,
                per_day=policy.tokens_per_day,
                per_month=policy.tokens_per_month,
            )
            for team, policy in settings.teams.items()
            if policy.counts_tokens
        }
        self._engine = engine
        self._large = asyncio.Lock()

    async def answer(self, head: wire.Head, body: bytes, writer: asyncio.StreamWriter) -> None:
        """Answer one request. Raises: Refused before any of the answer was sent; OSError when the caller is gone."""
        if head.line[0] not in ("GET", "POST") or "transfer-encoding" in head.headers or "upgrade" in head.headers:
            raise refusals.bad_request("Requests of your team pass a filter, which cannot pass this one on.")
        asked = await self._asked(head, body)
        try:
            async with _connected(self._engine) as (answers, asks):
                asks.write(_request(head, asked.prepared.body))
                await asks.drain()
                await _pass_back(asked, answers, asks.transport, writer)
        except asyncio.CancelledError:
            if asked.spent:
                asked.spent.left = True
            raise
        finally:
            if asked.spent:
                asked.spent.settle(time.monotonic())

    async def _asked(self, head: wire.Head, body: bytes) -> Asked:
        team = head.headers.get("x-ingot-team", "")
        policy = self.settings.teams.get(team)
        if policy is None:
            raise refusals.unknown_team()
        kind = head.headers.get("content-type", "")
        asking = policy, head.path, kind, body, self.settings.default_max_tokens
        try:
            if len(body) < LARGE:
                prepared = requests.prepared(*asking)
            else:
                # It takes seconds, in which other requests' streams go on.
                async with self._large:
                    prepared = await _to_its_end(asyncio.to_thread(requests.prepared, *asking))
        except RecursionError:
            raise refusals.bad_request("The request body is nested too deeply.") from None
        allowance = self.allowances.get(team)
        if allowance is None or not prepared.tokens:
            return Asked(head, policy, prepared, None)
        charge = allowance.charge(prepared.tokens, time.monotonic())
        return Asked(head, policy, prepared, Spent(allowance, charge, prepared.prompt_tokens))


async def _to_its_end(work: Coroutine[Any, Any, Prepared]) -> Prepared:
    """Wait for a thread's work also when its caller hung up: no other thread may start beside it."""
    working = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.gather(working, return_exceptions=True)
        raise


@asynccontextmanager
async def _connected(path: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the engine, cut at once at the end, which ends what still runs there. Raises: Refused."""
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=wire.LARGEST_HEAD)
    except OSError:
        raise refusals.engine_down() from None
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def _request(head: wire.Head, body: bytes) -> bytes:
    method, path, _ = head.line
    headers = [("Host", "engine"), ("Connection", "close")]
    headers += [(name.title(), head.headers.get(name, "")) for name in _ON]
    if method == "POST":
        headers.append(("Content-Length", str(len(body))))
    return wire.head(f"{method} {path} HTTP/1.1", headers) + body


async def _pass_back(
    asked: Asked, answers: asyncio.StreamReader, engine: asyncio.WriteTransport, writer: asyncio.StreamWriter
) -> None:
    try:
        head = await wire.read_head(answers)
        status, body = head.status, wire.Body(head)
    except (wire.BadMessage, OSError):
        raise refusals.engine_down() from None
    if asked.spent:
        asked.spent.begun = status < 300
    kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
    if status in (502, 503, 504) and kind == "text/html":
        # nginx' own words: it reached no engine.
        raise refusals.engine_down()
    back = [
        *((name.title(), head.headers.get(name, "")) for name in _BACK),
        *_budget_left(asked),
        ("Connection", "close"),
    ]
    if kind == "text/event-stream":
        if asked.policy.redact and asked.path not in requests.STREAMED:
            raise refusals.withheld()
        writer.write(wire.head(wire.answer_line(status), [*back, ("Transfer-Encoding", "chunked")]))
        await _relay(asked, body, engine, writer).run(answers)
    else:
        content = await _whole(asked, body, answers)
        writer.write(wire.head(wire.answer_line(status), [*back, ("Content-Length", str(len(content)))]) + content)
    await writer.drain()


def _budget_left(asked: Asked) -> list[tuple[str, str]]:
    if asked.spent is None or not isinstance(asked.spent.budget, Allowance):
        return []
    told, minute = [], asked.spent.budget.minute
    if minute:
        left = max(minute.limit - minute.used(time.monotonic()), 0)
        told += [("X-RateLimit-Limit-Tokens", str(minute.limit)), ("X-RateLimit-Remaining-Tokens", str(left))]
    warnings = [str(share) for share in asked.spent.budget.shares() if share.warns]
    return [*told, *([("X-RateLimit-Warning", "; ".join(warnings))] if warnings else [])]


async def _whole(asked: Asked, body: wire.Body, answers: asyncio.StreamReader) -> bytes:
    """An answer in one piece, as its caller gets it. Raises: Refused."""
    try:
        content = await wire.whole(answers, body, LARGEST_ANSWER)
    except wire.BadMessage:
        raise refusals.engine_down() from None
    except wire.TooLarge:
        raise refusals.withheld() from None
    rules = asked.policy.redact
    if not content or (rules is None and asked.spent is None):
        return content
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        if rules is None:
            return content
        raise refusals.withheld() from None
    if asked.spent:
        asked.spent.see(parsed)
    if rules is None or (asked.path in requests.NUMBERS and "data" in parsed):
        return content
    return compact(redacted(parsed, rules, json_content=asked.prepared.json_content)).encode()


def _relay(asked: Asked, body: wire.Body, engine: asyncio.WriteTransport, writer: asyncio.StreamWriter) -> Relay:
    stream = Stream(
        asked.policy.redact,
        asked.spent,
        path=asked.path,
        json_content=asked.prepared.json_content,
        usage_asked=asked.prepared.usage_asked,
    )
    # It reads as well, whatever the type of a writer's says.
    return Relay(cast(asyncio.Transport, engine), body, stream, writer, asked.head.headers.get("x-request-id", ""))
