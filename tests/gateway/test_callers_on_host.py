"""The gateway as clients, proxies, browsers, monitors and careless callers meet it: real nginx, a stand-in engine."""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from ingot.facts.gateway import BODIES
from ingot.operations.gateway import log
from tests.gateway.conftest import ENGINE, SECOND_ENGINE, GatewayHost
from tests.hosts.https import Answer

pytestmark = [pytest.mark.gateway, pytest.mark.clients, pytest.mark.e2e, pytest.mark.timeout(1800)]

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
ORIGIN = "https://chat.example.org"
PROXY_PORT = 8442


def secure(served: GatewayHost, port: int = 443, before: bytes = b"") -> ssl.SSLSocket:
    """A connection to the gateway; `before` goes first, in clear."""
    context = ssl.create_default_context(cafile=str(served.caller.ca))
    plain = socket.create_connection((served.host.address, port), timeout=20)
    plain.sendall(before)
    return context.wrap_socket(plain, server_hostname=served.host.name)


def said(served: GatewayHost, head: str, body: bytes = b"", **connection: Any) -> tuple[int, dict[str, str], str]:
    """The answer to a request as it is written here: status, headers in small letters, body."""
    with secure(served, **connection) as sock:
        sock.sendall((head.format(key=served.key, host=served.host.name) + "\r\n").encode() + body)
        raw = b""
        while piece := sock.recv(65536):
            raw += piece
    top, _, content = raw.decode().partition("\r\n\r\n")
    first, *lines = top.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, content


def request(line: str, *headers: str, key: bool = True) -> str:
    own = ["Host: {host}", "Connection: close", *(["Authorization: Bearer {key}"] if key else []), *headers]
    return "\r\n".join([line, *own]) + "\r\n"


def logged(served: GatewayHost) -> dict[str, Any]:
    """The last line of the gateway's log."""
    line: dict[str, Any] = json.loads(served.host.succeeds(f"tail -n 1 {log.LOG}"))
    return line


#: Requests with a reason to refuse them: what they are told, by status, code and a word of the remedy.
REASONS = {
    "query string": (request(f"POST {CHAT}?api_key={{key}} HTTP/1.1"), 400, "query_not_taken", "Authorization"),
    "HTTP/1.0": (request("GET /v1/models HTTP/1.0"), 400, "http_1_0", "gateway_behind"),
    "gzip": (request(f"POST {CHAT} HTTP/1.1", "Content-Encoding: gzip"), 415, "content_encoding", "Content-Encoding"),
    "two keys": (request("GET /v1/models HTTP/1.1", "Authorization: Bearer x"), 400, "bad_request", "Authorization"),
    "no key": (request("GET /v1/models HTTP/1.1", key=False), 401, "invalid_api_key", "Authorization"),
    "no route": (request("GET /chat/completions HTTP/1.1"), 404, "unknown_url", "/v1"),
    "no model": (request("GET /v1/models/none HTTP/1.1"), 404, "model_not_found", "GET /v1/models"),
    "method": (request(f"GET {CHAT} HTTP/1.1"), 405, "method_not_allowed", "POST"),
    "name": (request("GET /v1/models HTTP/1.1").replace("{host}", "elsewhere"), 421, "unknown_host", "gateway_names"),
    "head": (request("GET /v1/models HTTP/1.1", f"X: {'x' * 60_000}"), 400, "head_too_large", "32 kB"),
    "trace": (request("TRACE /v1/models HTTP/1.1"), 405, "method_not_allowed", "GET"),
    "malformed elsewhere": (
        request("GET /v1/models HTTP/1.1", "Authorization: Bearer x").replace("{host}", "elsewhere"),
        400,
        "bad_request",
        "Authorization",
    ),
    "trace elsewhere": (request("TRACE / HTTP/1.1").replace("{host}", "elsewhere"), 405, "method_not_allowed", "GET"),
}


def test_every_refusal_names_its_reason_and_the_remedy(served: GatewayHost) -> None:
    for name, (head, status, code, remedy) in REASONS.items():
        answer = said(served, head)
        error = json.loads(answer[2])["error"]
        assert (answer[0], error["code"]) == (status, code), name
        assert remedy in error["message"] and "<html" not in answer[2], name


def test_plain_http_is_told_to_use_tls_whatever_host_it_names(served: GatewayHost) -> None:
    for name in (served.host.name, "elsewhere"):
        answer = served.caller.in_clear(f"GET /v1/models HTTP/1.1\r\nHost: {name}\r\n\r\n".encode(), 443)
        assert (answer.status, answer.json["error"]["code"]) == (400, "https_only"), answer.body


def test_anthropics_clients_are_refused_in_anthropics_shape(served: GatewayHost) -> None:
    answer = replace(served.caller, key="sk-wrong").post(f"{MESSAGES}?beta=true", {})
    assert (answer.status, answer.json["type"], answer.json["error"]["type"]) == (401, "error", "authentication_error")
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]


def test_what_sdks_put_behind_a_path_is_taken_and_not_handed_on(served: GatewayHost) -> None:
    served.reached()
    assert served.caller.post(f"{MESSAGES}?beta=true", {"model": "stand-in"}).status == 200
    assert served.caller.get("/v1/models?limit=20").status == 200
    assert [line["path"] for line in served.reached()] == [MESSAGES, "/v1/models"]
    for query in ("beta=sk-1", "beta", "limit=1&api_key=x", "limit=1;2", "beta=true&beta=x"):
        assert served.caller.post(f"{MESSAGES}?{query}", {}).status == 400, query


def test_the_key_may_come_as_anthropics_clients_send_it(served: GatewayHost) -> None:
    assert said(served, request("GET /v1/models HTTP/1.1", "x-api-key: {key}", key=False))[0] == 200


def test_one_model_is_told_by_its_name(served: GatewayHost) -> None:
    one = served.caller.get("/v1/models/stand-in")
    assert (one.status, one.json["id"], one.json["object"]) == (200, "stand-in", "model")
    assert replace(served.caller, key=None).get("/v1/models/stand-in").status == 401


@pytest.mark.parametrize("path", ["/health", "/healthz"])
def test_monitors_are_answered_without_a_key_and_in_http_1_0_too(served: GatewayHost, path: str) -> None:
    assert said(served, request(f"GET {path} HTTP/1.0", key=False))[0] == 200
    status, headers, body = said(served, request(f"HEAD {path} HTTP/1.1", key=False))
    assert (status, headers["content-type"], body) == (200, "application/json", "")


def test_anyone_may_read_the_ca_and_how_to_call_and_nothing_else(served: GatewayHost) -> None:
    stranger = replace(served.caller, key=None)
    assert stranger.get("/ca.crt").body == served.caller.ca.read_text()
    page = stranger.get("/")
    assert page.status == 200 and f"https://{served.host.name}/v1" in page.body
    for path in ("/callers.html", "/ca.crt/", "/../ingot/keys.map", "/keys.map", "/public/ca.crt", "/index.html"):
        assert stranger.get(path).status in (400, 404), path


def test_no_key_and_no_prompt_reaches_a_log_whatever_is_malformed(served: GatewayHost) -> None:
    chunked = "Transfer-Encoding: chunked"
    odd = (
        (request(f"POST {CHAT}?api_key={{key}} HTTP/1.1", chunked), b"CANARY-ODD\r\n"),
        (request(f"POST {CHAT} HTTP/1.1", chunked), b"CANARY-ODD\r\n"),
        (request(f"POST {CHAT}?api_key={{key}} HTTP/1.1", "Content-Length: 99999999"), b""),
        (request(f"POST {CHAT}?beta=true HTTP/1.1", "Content-Length: -1"), b""),
        (request("GET /v1/{key}/models HTTP/1.1"), b""),
        (request("GET /{key} HTTP/1.1", "Authorization: Bearer {key}"), b""),
        (request("GET /v1/models/{key} HTTP/1.1"), b""),
        (request("GET /v1/models HTTP/1.1", "X-Api-Key: {key}", "X-Api-Key: {key}"), b""),
        (request(f"POST {CHAT}?CANARY-ODD HTTP/3.0"), b""),
        (request(f"POST {CHAT} HTTP/1.1", "Content-Length: 5", "Content-Length: 6", "X-CANARY-ODD: a"), b""),
        ("GET /v1/models?key={key} HTTP/1.1\r\nHost: {host}\r\nBroken {key}\r\n", b""),
    )
    for head, body in odd:
        said(served, head, body)
    assert logged(served)["path"] != ""
    served.host.fails(
        f"grep -rE 'CANARY-ODD|{served.key}' /var/log/nginx /var/log/ingot /run/ingot-request-bodies /var/lib/nginx"
    )
    served.host.fails(f"journalctl -b -o cat -u nginx | grep -E 'CANARY-ODD|{served.key}'")
    # What an engine does wrong is still written down.
    assert "error_log /var/log/nginx/error.log error;" in served.host.succeeds("cat /etc/nginx/nginx.conf")


@contextmanager
def stalled(served: GatewayHost, size: int) -> Iterator[None]:
    """An upload that stops before its end."""
    with secure(served) as sock:
        head = request(f"POST {CHAT} HTTP/1.1", f"Content-Length: {size + 1}")
        sock.sendall((head.format(key=served.key, host=served.host.name) + "\r\n").encode() + b"x" * size)
        yield


def wait_for_answer(served: GatewayHost, size: int, status: int, timeout_s: float = 120) -> Answer:
    """Ask with a body of this size until it is answered so."""
    deadline = time.monotonic() + timeout_s
    while (answer := served.caller.post(CHAT, {"prompt": "x" * size})).status != status:
        assert time.monotonic() < deadline, f"answered {answer.status}, expected {status}: {answer.body}"
        time.sleep(0.2)
    return answer


def test_bodies_have_a_place_of_their_own_that_fills_nothing_else(served: GatewayHost) -> None:
    """Stalled uploads fill it: others are told to come again, small requests go on, and /run stays as it was."""
    assert served.deploy(gateway_body_room="40m").status == 0
    assert served.host.succeeds(f"findmnt -bno SIZE,FSTYPE --mountpoint {BODIES}").split() == [str(40 << 20), "tmpfs"]
    free = "df --output=avail -B1 /run | tail -n 1"
    before = int(served.host.succeeds(free))
    with stalled(served, 25_000_000), stalled(served, 10_000_000):
        served.host.wait_until_succeeds(f"test $(df --output=used -B1 {BODIES} | tail -n 1) -gt 34000000")
        full = wait_for_answer(served, 10_000_000, 503)
        assert full.json["error"]["code"] == "gateway_busy" and 5 <= int(full.headers["Retry-After"]) <= 10
        assert served.caller.post(CHAT, {"prompt": "small"}).status == 200
        assert before - int(served.host.succeeds(free)) < 5_000_000
    # Who hung up leaves nothing.
    wait_for_answer(served, 10_000_000, 200)
    changed = served.deploy(gateway_body_room="64m").changed
    assert served.host.succeeds(f"findmnt -bno SIZE --mountpoint {BODIES}").strip() == str(64 << 20), changed
    assert served.deploy(gateway_body_room="64m").changed == []
    served.host.succeeds(f"systemctl stop nginx && umount {BODIES} && systemctl start nginx")
    assert served.host.succeeds(f"findmnt -bno SIZE --mountpoint {BODIES}").strip() == str(64 << 20)


def test_a_body_that_trickles_ends_and_a_caller_who_waits_does_not(served: GatewayHost) -> None:
    """The timer's work, done by hand so that nobody waits for it; a byte comes between two looks."""
    served.host.succeeds("systemctl is-active ingot-slow-bodies.timer && systemctl stop ingot-slow-bodies.timer")
    look = "systemctl start ingot-slow-bodies.service"
    body = json.dumps({"model": "stand-in", "stream": True}).encode()
    waits = request(f"POST {CHAT} HTTP/1.1", f"Content-Length: {len(body)}").format(
        key=served.key, host=served.host.name
    )
    with secure(served) as slow, secure(served) as patient:
        head = request(f"POST {CHAT} HTTP/1.1", "Content-Length: 1000")
        slow.sendall((head.format(key=served.key, host=served.host.name) + "\r\n").encode())
        patient.sendall(waits.encode() + b"\r\n" + body[:-1])
        for _ in range(3):
            slow.sendall(b"x")
            served.host.succeeds(look)
        with pytest.raises(OSError):
            for _ in range(600):
                slow.sendall(b"x")
                time.sleep(0.1)
        patient.sendall(body[-1:])
        assert patient.recv(65536).startswith(b"HTTP/1.1 200")
    served.host.succeeds("systemctl start ingot-slow-bodies.timer")


def test_a_proxy_in_front_is_believed_from_its_network_alone(served: GatewayHost) -> None:
    mine = str(ipaddress.ip_network(f"{served.host.address}/24", strict=False))
    forwarded = request("GET /v1/models HTTP/1.0", "X-Forwarded-For: 198.51.100.7, 203.0.113.9")
    assert served.deploy(gateway_behind=["192.0.2.0/24"]).status == 0
    assert said(served, forwarded)[0] == 400 and logged(served)["remote"] != "203.0.113.9"
    assert served.deploy(gateway_behind=[mine]).status == 0
    assert said(served, forwarded)[0] == 200
    assert logged(served)["remote"] == "203.0.113.9"
    # A proxy that hands on what its caller claims opens nothing that is the host's own.
    lying = request("GET /-/configuration HTTP/1.1", "X-Forwarded-For: 127.0.0.1")
    assert said(served, lying)[0] == 404
    status, _, body = said(
        served,
        request(f"POST {CHAT} HTTP/1.0", "Content-Type: application/json", "Content-Length: 16"),
        b'{"stream": true}',
    )
    assert status == 200 and body.count("data: ") == 10


def test_a_proxy_in_front_may_speak_the_proxy_protocol_on_a_port_of_its_own(served: GatewayHost) -> None:
    mine = str(ipaddress.ip_network(f"{served.host.address}/24", strict=False))
    assert served.deploy(gateway_behind=[mine], gateway_proxy_port=PROXY_PORT).status == 0
    line = f"PROXY TCP4 203.0.113.11 {served.host.address} 40000 443\r\n".encode()
    assert said(served, request("GET /v1/models HTTP/1.1"), port=PROXY_PORT, before=line)[0] == 200
    assert logged(served)["remote"] == "203.0.113.11"
    assert served.caller.get("/v1/models").status == 200
    assert served.deploy(gateway_behind=[mine], gateway_proxy_port=PROXY_PORT).changed == []


def test_pages_of_the_origins_that_are_named_may_call_and_no_others(served: GatewayHost) -> None:
    assert served.deploy(gateway_cors_origins=[ORIGIN]).status == 0
    asks = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization, content-type")
    status, headers, _ = said(served, request(f"OPTIONS {CHAT} HTTP/1.1", f"Origin: {ORIGIN}", *asks, key=False))
    assert (status, headers["access-control-allow-origin"]) == (204, ORIGIN)
    assert headers["access-control-allow-headers"] == "authorization, content-type"
    assert "POST" in headers["access-control-allow-methods"]
    for key in (True, False):
        answer = said(served, request("GET /v1/models HTTP/1.1", f"Origin: {ORIGIN}", key=key))
        assert (
            answer[1]["access-control-allow-origin"] == ORIGIN
            and "Retry-After" in answer[1]["access-control-expose-headers"]
        )
    for other in ("https://evil.example", f"{ORIGIN}.evil.example", "null"):
        status, headers, _ = said(served, request(f"OPTIONS {CHAT} HTTP/1.1", f"Origin: {other}", *asks, key=False))
        assert status in (401, 405) and "access-control-allow-origin" not in headers


def test_deep_json_passes_with_one_model_and_with_several(served: GatewayHost) -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(60):
        schema = {"type": "object", "properties": {"inner": schema}}
    deep = {"tools": [{"type": "function", "function": {"name": "x", "parameters": schema}}], "messages": []}
    assert served.caller.post(CHAT, {**deep, "model": "stand-in"}).status == 200
    served.start_engine(SECOND_ENGINE)
    served.tell_gateway({"stand-in": ENGINE, "org/second": SECOND_ENGINE})
    assert served.deploy().status == 0
    for model, engine in (("stand-in", ENGINE), ("org/second", SECOND_ENGINE)):
        # The name before and behind what is deep, small and larger than nginx' buffer.
        for body in ({"model": model, **deep}, {**deep, "pad": "y" * 200_000, "model": model}):
            answer = served.caller.post(CHAT, body)
            assert (answer.status, answer.json["engine"]) == (200, engine.partition(":")[0])
    assert [served.caller.get(f"/v1/models/{name}").status for name in ("stand-in", "org/second", "third")] == [
        200,
        200,
        404,
    ]
    # Nothing of a body stays.
    assert served.host.succeeds(f"find {BODIES} -type f") == ""


def test_the_whole_path_works_over_ipv6(served: GatewayHost) -> None:
    address = "fd00:1:2::99"
    served.host.succeeds(f"ip -6 address replace {address}/128 dev lo")
    assert served.deploy(gateway_names=["FD00:1:2:0::99"]).status == 0
    served.host.put("/run/ca.crt", served.caller.ca.read_text())
    served.host.put("/run/asked", f"Authorization: Bearer {served.key}\n", mode="0600")
    curl = f"curl -sS --fail --noproxy '*' --cacert /run/ca.crt --header @/run/asked https://[{address}]"
    assert json.loads(served.host.succeeds(f"{curl}/v1/models/stand-in"))["id"] == "stand-in"
    assert "data: " in served.host.succeeds(f"""{curl}{CHAT} --data '{{"model": "stand-in", "stream": true}}'""")
    assert logged(served)["remote"] == address
    assert served.deploy(gateway_names=["FD00:1:2:0::99"]).changed == []
