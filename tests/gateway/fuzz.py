"""Requests that nobody sends by accident, written byte by byte: HTTP/1 as text, HTTP/2 as frames."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from hypothesis import strategies as st

from ingot.gateway.routes import ALWAYS

ALLOWED = tuple(one.path for one in ALWAYS["vllm"])
#: What vLLM serves and callers must never reach.
FORBIDDEN = (
    *("/metrics", "/invocations", "/tokenize", "/detokenize", "/health", "/version", "/load", "/ping", "/pooling"),
    *("/score", "/rerank", "/classify", "/pause", "/resume", "/shutdown", "/docs", "/openapi.json", "/server_info"),
    *(
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/v1/responses/resp_1",
        "/v1/responses/resp_1/cancel",
        "/v1/embeddings",
    ),
    *("/v1/chat/completions/render", "/v1/completions/derender", "/inference/v1/generate", "/collective_rpc"),
    *("/v1/audio/transcriptions", "/v1/realtime", "/v1/messages/batches", "/-/engine_0/v1/models", "/-/error-400"),
)
#: What stands between, before or after parts of a path in attempts to be read in two ways.
JOINTS = (
    *(
        "/",
        "//",
        "/./",
        "/../",
        "/..%2f",
        "/%2e%2e/",
        "/%2e/",
        "%2f",
        "%2F",
        "%252f",
        "\\",
        "%5c",
        "/..;/",
        ";",
        ";x=1/",
    ),
    *(
        "%00",
        "%0a",
        "%0d%0a",
        "%20",
        "%09",
        "\t",
        ".",
        "..",
        "...",
        "%c0%af",
        "%e0%80%af",
        "/.%00/",
        "?",
        "?/",
        "#",
        "@",
    ),
)
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "PRI", "get", "PoSt", "G ET")
HEADERS = (
    ("X-Original-URL", "/metrics"),
    ("X-Rewrite-URL", "/metrics"),
    ("X-Accel-Redirect", "/-/engine_0/v1/models"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Forwarded-Prefix", "/metrics"),
    ("X-Data-Parallel-Rank", "1"),
    ("X-Ingot-Team", "root"),
    ("Upgrade", "websocket"),
    ("Upgrade", "h2c"),
    ("Expect", "100-continue"),
    ("Connection", "Authorization, keep-alive, Upgrade"),
    ("Transfer-Encoding", "chunked"),
    ("Transfer-Encoding", " chunked"),
    ("Transfer-Encoding", "xchunked"),
    ("Transfer-Encoding", "chunked, identity"),
    ("Content-Length", "4"),
    ("Content-Length", "+4"),
    ("Content-Length", "0"),
    ("Content-Length ", "3"),
    ("Host", "engine"),
    ("Host", "127.0.0.1"),
    ("Range", "bytes=0-"),
    ("A" * 300, "x"),
    ("X-Folded", "a\r\n b"),
    ("", "nameless"),
)
#: A second request where the first one's body should end, for servers that disagree on where that is.
SMUGGLED = "0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: engine\r\n\r\n"


@dataclass(frozen=True)
class Request:
    """One request; `version` "2" is sent as frames."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]
    body: str


_part = st.one_of(st.sampled_from([*ALLOWED, *FORBIDDEN]), st.sampled_from(JOINTS), st.text("v1/.%2fF;\\?", max_size=6))
_case = st.sampled_from([str, str, str, str.upper, str.title])
_target = st.builds(
    lambda origin, parts, case: origin + case("".join(parts)),
    st.sampled_from(["", "", "", "", "https://{host}", "http://127.0.0.1:8000", "//engine_0", "engine_0:8000", "*"]),
    st.one_of(
        st.lists(_part, min_size=1, max_size=4),
        # Most spellings of an open path, with one thing more.
        st.tuples(st.sampled_from(ALLOWED), st.sampled_from(JOINTS), st.sampled_from(["", *FORBIDDEN])),
        st.tuples(st.sampled_from(ALLOWED)),
    ),
    _case,
)
requests = st.builds(
    Request,
    st.sampled_from([*METHODS, "GET", "GET", "POST", "POST", "POST"]),
    _target,
    st.sampled_from(["1.1", "1.1", "1.0", "0.9", "2", "2", "2"]),
    st.lists(st.sampled_from(HEADERS), max_size=3).map(tuple),
    st.sampled_from(["", "{{}}", '{{"model": "qwen3-4b"}}', SMUGGLED, "x" * 4]),
)


def send(request: Request, address: str, host: str, key: str, trusting: ssl.SSLContext) -> None:
    """Send it, and read on until the server has said all or hangs up."""
    trusting.set_alpn_protocols(["h2"] if request.version == "2" else ["http/1.1"])
    try:
        with (
            socket.create_connection((address, 443), timeout=5) as plain,
            trusting.wrap_socket(plain, server_hostname=host) as secure,
        ):
            secure.sendall(frames(request, host, key) if request.version == "2" else text(request, host, key))
            secure.settimeout(0.2)
            while secure.recv(65536):
                pass
    except (OSError, TimeoutError):
        # Refused, reset or silent: what counts is what reached the engine.
        return


def text(request: Request, host: str, key: str) -> bytes:
    """As HTTP/1, with nothing corrected."""
    own = [("Host", host), ("Authorization", f"Bearer {key}"), ("Connection", "close")]
    lengths = [] if any("content-length" in name.lower() for name, _ in request.headers) else [len(request.body)]
    lines = [f"{name}: {value}" for name, value in (*own, *request.headers)]
    lines += [f"Content-Length: {length}" for length in lengths if length]
    head = f"{request.method} {request.target.format(host=host)} HTTP/{request.version}"
    return ("\r\n".join([head, *lines]) + "\r\n\r\n" + request.body.format()).encode()


def frames(request: Request, host: str, key: str) -> bytes:
    """As HTTP/2: preface, settings, one request on stream 1."""
    fields = [
        (":method", request.method),
        (":scheme", "https"),
        (":authority", host),
        (":path", request.target.format(host=host)),
        ("authorization", f"Bearer {key}"),
        *((name.lower(), value) for name, value in request.headers),
    ]
    block = b"".join(b"\0" + _string(name) + _string(value) for name, value in fields)
    body = request.body.format().encode()
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(4, 0, 0, b"")
        + _frame(1, 4 if body else 5, 1, block)
        + (_frame(0, 1, 1, body) if body else b"")
    )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _string(value: str) -> bytes:
    """A string of HPACK without Huffman's code (RFC 7541, 5.2)."""
    raw = value.encode()
    if len(raw) < 127:
        return bytes([len(raw)]) + raw
    rest, length = len(raw) - 127, b"\x7f"
    while rest >= 128:
        length, rest = length + bytes([rest % 128 + 128]), rest // 128
    return length + bytes([rest]) + raw
