"""What callers meet at a host's gateway: every call is made up front, so that hosts are asked at the same time."""

from __future__ import annotations

import http.client
import io
import secrets
import socket
import ssl
import time
import warnings
import wave
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeVar

from gevent.pool import Pool

from ingot.engines import proof
from tests.hosts.https import CLOSED_S, Answer, Caller, CallError, Session

#: Calls of one host that are under way at once.
AT_ONCE = 8
#: The stream is asked for again until it comes in pieces, for some seconds.
STREAM_ATTEMPTS = 40

Result = TypeVar("Result")


@dataclass(frozen=True)
class Refused:
    """Why a call got no answer."""

    reason: str


@dataclass(frozen=True)
class Probe:
    """A request that must be answered with one of `statuses`; `key` says whose key comes with it, and how."""

    name: str
    request: str
    statuses: frozenset[int]
    key: str = "ours"
    host: str = ""

    def bytes_for(self, caller: Caller) -> bytes:
        """The request as it is sent."""
        method = self.request.partition(" ")[0]
        bearer = f"Authorization: Bearer {caller.key}"
        lines = {
            "none": [],
            "ours": [bearer],
            "made up": [f"Authorization: Bearer sk-guess-{secrets.token_urlsafe(32)}"],
            "other case": [bearer.swapcase().replace("aUTHORIZATION: bEARER", "Authorization: Bearer")],
            "twice": [bearer, bearer],
        }[self.key]
        body = ["Content-Type: application/json", "Content-Length: 2", "", "{}"] if method == "POST" else ["", ""]
        head = [f"{self.request} HTTP/1.1", f"Host: {self.host or caller.name}", "Connection: close", *lines]
        return "\r\n".join([*head, *body]).encode()


def _forbidden(request: str) -> Probe:
    return Probe(request, request, frozenset({404}))


#: Routes of the engine that no caller may reach, spellings of paths, and requests that are no good.
PROBES = (
    *map(
        _forbidden,
        (
            "GET /metrics",
            "GET /version",
            "GET /docs",
            "GET /openapi.json",
            "GET /load",
            "GET /server_info",
            "GET /v1/responses/abc",
            "GET /-/configuration",
            "POST /invocations",
            "POST /tokenize",
            "POST /detokenize",
            "POST /pause",
            "POST /sleep",
            "POST /scale_elastic_ep",
            "POST /collective_rpc",
            "POST /v1/load_lora_adapter",
            "POST /v1/unload_lora_adapter",
            "GET /V1/models",
            "GET /v1/models/",
            "GET /v1/models.",
            "GET /v1/models/../../metrics",
            "GET /v1/models/..%2f..%2fmetrics",
        ),
    ),
    # The gateway answers this one itself: 503 while no engine can be used.
    Probe("whether the gateway is well", "GET /health", frozenset({200, 503})),
    Probe("a path with a zero byte", "GET /v1%2fmodels%00", frozenset({400, 404})),
    Probe("/metrics without a key", "GET /metrics", frozenset({404}), key="none"),
    Probe("no key", "GET /v1/models", frozenset({401}), key="none"),
    Probe("no key for a completion", "POST /v1/completions", frozenset({401}), key="none"),
    Probe("a made-up key", "GET /v1/models", frozenset({401}), key="made up"),
    Probe("the key in another case", "GET /v1/models", frozenset({401}), key="other case"),
    Probe("the key twice", "GET /v1/models", frozenset({400, 401}), key="twice"),
    Probe("a query string", "GET /v1/models?api_key=x", frozenset({400})),
    Probe("another method", "DELETE /v1/models", frozenset({405})),
    Probe("a read of a completion", "GET /v1/chat/completions", frozenset({405})),
    Probe("another name in Host", "GET /v1/models", frozenset({421}), host="somebody-else.invalid"),
    Probe("an absolute address", "GET http://127.0.0.1/metrics", frozenset({400, 404, 421})),
)


@dataclass(frozen=True)
class Served:
    """A model as callers are given it: what it is for, and what is promised of it."""

    model: str
    kind: str = "generate"
    width: int | None = None
    calls_tools: bool = False
    reasons: bool = False
    adapters: tuple[str, ...] = ()


@dataclass
class Outside:
    """What each call came to; a `Refused` stands where there was no answer."""

    probes: dict[str, Answer | Refused] = field(default_factory=dict)
    sessions: dict[str, Session | Refused] = field(default_factory=dict)
    open_ports: dict[int, bool] = field(default_factory=dict)
    #: What a stranger is told at the ports of monitoring.
    monitoring: dict[int, Answer | Refused] = field(default_factory=dict)
    in_clear: Answer | Refused = Refused("not asked")
    port_80: Answer | Refused = Refused("not asked")
    healthz: Answer | Refused = Refused("not asked")
    models: Answer | Refused = Refused("not asked")
    completion: Answer | Refused = Refused("not asked")
    #: What each model was asked beyond that, and its answer.
    uses: list[tuple[Served, proof.Question, Answer | Refused]] = field(default_factory=list)
    streamed: str | None = "not asked"
    prompt: str = ""

    @property
    def trouble(self) -> str | None:
        """Why no call could be answered at all."""
        found = self.sessions.get("name")
        return f"nothing answers on port 443 ({found.reason})" if isinstance(found, Refused) else None

    #: What callers are given here; the first that writes text is talked to.
    served: tuple[Served, ...] = ()

    @property
    def model(self) -> str | None:
        return next((one.model for one in self.served if one.kind == "generate"), None)


def meet(
    caller: Caller, ports: Iterable[int], served: Sequence[Served] = (), monitoring: Mapping[int, tuple[str, str]] = {}
) -> Outside:
    """Make every call, several at once; with a caller that has no key those that need one are left out.

    `monitoring`: of each of its ports the host's name there, and a path.
    """
    found = Outside(prompt=f"prompt-{secrets.token_hex(8)}", served=tuple(served))
    pool = Pool(AT_ONCE)
    calls: list[Callable[[], None]] = []

    def keep(into: dict[Any, Any], key: object, call: Callable[[], object]) -> None:
        calls.append(lambda: into.__setitem__(key, _outcome(call)))

    for probe in PROBES:
        if caller.key or probe.key in ("none", "made up"):
            keep(found.probes, probe.name, lambda probe=probe: caller.raw(probe.bytes_for(caller)))  # type: ignore[misc]
    for name, context in _contexts(caller).items():
        server = {"address": caller.address, "stranger": "somebody-else.invalid"}.get(name, caller.name)
        keep(found.sessions, name, lambda server=server, context=context: caller.session(server, context))  # type: ignore[misc]
    for port in ports:
        keep(found.open_ports, port, lambda port=port: _is_open(caller.address, port))  # type: ignore[misc]
    for port, (name, path) in monitoring.items():
        ask = f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
        keep(found.monitoring, port, lambda port=port, name=name, ask=ask: caller.raw(ask, port, name))  # type: ignore[misc]
    clear = f"GET /v1/models HTTP/1.1\r\nHost: {caller.name}\r\nConnection: close\r\n\r\n".encode()
    keep(found.__dict__, "in_clear", lambda: caller.in_clear(clear, 443))
    keep(found.__dict__, "port_80", lambda: caller.in_clear(clear, 80))
    keep(found.__dict__, "healthz", lambda: replace(caller, key=None).get("/healthz"))
    if caller.key:
        calls.append(lambda: _with_key(found, caller))
    for greenlet in [pool.spawn(call) for call in calls]:
        greenlet.get()
    return found


def _with_key(found: Outside, caller: Caller) -> None:
    found.models = _outcome(lambda: caller.get("/v1/models"))
    for one in found.served:
        for question_ in proof.questions(one):
            # Thoughts before a call take minutes; a deploy waited for them.
            if one.reasons and "tools" in question_.body:
                continue
            found.uses.append((one, question_, _outcome(lambda one=question_: _used(caller, one))))
    if found.model is None:
        return
    body = question(found.model, found.prompt)
    found.completion = _outcome(lambda: caller.post("/v1/chat/completions", body))
    streamed = _outcome(lambda: _streamed(caller, found.model or ""))
    found.streamed = streamed.reason if isinstance(streamed, Refused) else streamed


def _used(caller: Caller, question: proof.Question) -> Answer:
    if question.speech:
        return caller.transcribe(question.path, {key: str(value) for key, value in question.body.items()}, silence())
    return caller.post(question.path, question.body)


def silence() -> bytes:
    """A second of it, as a WAV file."""
    made = io.BytesIO()
    with wave.open(made, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(bytes(32_000))
    return made.getvalue()


def question(model: str, text: str = "Hello", **more: object) -> Mapping[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}


def _streamed(caller: Caller, model: str) -> str | None:
    """What is wrong with a streamed answer; None when it comes in pieces."""
    # Short enough to fit a proxy's first buffer: were there one, the answer would come in one burst, always. A small
    # model on a busy machine may send bursts by itself, so that it is asked until it does not, for some seconds.
    body = {**question(model, stream=True, ignore_eos=True), "max_tokens": 12}
    seen: list[str] = []
    for _ in range(STREAM_ATTEMPTS):
        pieces = list(caller.stream("/v1/chat/completions", body))
        if not pieces or pieces[-1][1] != "[DONE]":
            return f"the stream has no end: {pieces[-1:]}"
        times = [when for when, _ in pieces]
        # What lies in one buffer is read in a few hundredths of a millisecond each; a small model takes a few tenths.
        pauses = [later - earlier for earlier, later in pairwise(times) if later - earlier > 0.0002]
        if len(pauses) > 3 and times[-1] - times[0] > 0.002:
            return None
        seen.append(f"{len(pieces)} pieces between {times[0]:.3f} and {times[-1]:.3f} s")
        time.sleep(0.25)
    return f"streamed answers come in one burst: {', '.join(seen[-5:])}"


def _contexts(caller: Caller) -> Mapping[str, ssl.SSLContext | None]:
    """Handshakes to try: as callers do, by an unknown name, and with one old version each."""
    limited = {}
    for name, version in (("1.1", ssl.TLSVersion.TLSv1_1), ("1.2", ssl.TLSVersion.TLSv1_2)):
        context = ssl.create_default_context(cafile=str(caller.ca) if caller.ca.is_file() else None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
        if name == "1.1":
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
        limited[name] = context
    return {"name": None, "address": None, "stranger": None, **limited}


def _is_open(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=CLOSED_S).close()
    except OSError:
        return False
    return True


def _outcome(call: Callable[[], Result]) -> Result | Refused:
    try:
        return call()
    except CallError as error:
        return Refused(str(error))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Refused(f"{type(error).__name__}: {error}")
