"""The gateway on a real machine: real nginx, real TLS, a stand-in engine that writes down what reached it."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ingot.facts.gateway import CONFIGURATION
from ingot.operations.gateway import log, site, teams
from ingot.secrets import keys
from tests.gateway.conftest import ANSWERED, ENGINE, SECOND_ENGINE, Deploy, GatewayHost

pytestmark = [pytest.mark.gateway, pytest.mark.e2e, pytest.mark.timeout(1800)]

CHAT = "/v1/chat/completions"
STREAM = {"model": "stand-in", "stream": True, "messages": [{"role": "user", "content": "Tell the CANARY-PROMPT."}]}
NO_CHANGE: list[str] = []


def raw(served: GatewayHost, head: str) -> int:
    """Send a request's head as it is over TLS and return the status of the answer."""
    context = ssl.create_default_context(cafile=str(served.caller.ca))
    with (
        socket.create_connection((served.host.address, 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=served.host.name) as secure,
    ):
        secure.sendall((head.format(key=served.key, host=served.host.name) + "Connection: close\r\n\r\n").encode())
        return int(secure.makefile("rb").readline().split()[1])


def test_a_dry_run_of_a_fresh_host_announces_and_writes_nothing(gateway_host: GatewayHost, dry: Deploy) -> None:
    assert dry.status == 0, dry.output
    assert "would make a CA" in dry.output and "would install nginx" in dry.output
    assert not (gateway_host.secrets / "ca.pem").exists()
    gateway_host.host.succeeds(f"test ! -e /etc/nginx -a ! -e {site.KEY}")


def test_the_first_deploy_serves_and_the_second_changes_nothing(gateway_host: GatewayHost, first: Deploy) -> None:
    assert first.status == 0, first.output
    second = gateway_host.deploy()
    assert (second.status, second.changed) == (0, NO_CHANGE), second.output
    # The first of them holds the host for the run.
    assert second.commands <= 7


def test_no_welcome_page_was_served_while_nginx_was_installed(served: GatewayHost) -> None:
    served.host.fails(f"test -e {ANSWERED}")


def test_nginx_is_valid_as_an_operator_checks_it(served: GatewayHost) -> None:
    said = served.host.succeeds("nginx -t 2>&1")
    assert "syntax is ok" in said and "warn" not in said


def test_a_key_opens_the_allowed_routes(served: GatewayHost) -> None:
    assert served.caller.get("/v1/models").status == 200
    for path in (CHAT, "/v1/completions"):
        assert served.caller.post(path, {"model": "stand-in"}).json["path"] == path


def test_anything_but_the_exact_key_is_401_in_openais_shape(served: GatewayHost) -> None:
    served.reached()
    for wrong in (None, served.key.upper(), served.key[:-1], f"{served.key} x", f"{served.key}x"):
        answer = replace(served.caller, key=wrong).get("/v1/models")
        assert (answer.status, answer.json["error"]["code"]) == (401, "invalid_api_key")
        assert answer.headers["X-Request-Id"] == answer.json["error"]["request_id"]
    assert served.reached() == []


def test_the_engine_sees_neither_key_nor_cookie_nor_the_callers_headers(served: GatewayHost) -> None:
    served.reached()
    raw(
        served,
        "GET /v1/models HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nCookie: a=b\r\n"
        "X-Data-Parallel-Rank: 1\r\nX-Request-Id: forged\r\nX-Ingot-Team: forged\r\n",
    )
    [seen] = served.reached()
    assert set(seen["headers"]) == {"Host", "X-Request-Id", "X-Ingot-Team", "X-Ingot-Key"}
    assert seen["headers"]["X-Request-Id"] != "forged"
    assert seen["headers"]["X-Ingot-Team"] == "research"
    assert seen["headers"]["X-Ingot-Key"] == keys.fingerprint(served.key)[:8]


#: Request targets and what they are answered.
PATHS = {
    "/metrics": 404,
    "/invocations": 404,
    "/tokenize": 404,
    "/v1/models/": 404,
    "/v1/models/../../metrics": 404,
    "/v1/%2e%2e/metrics": 404,
    "/v1/chat/completions%2f..%2f..%2f..%2fmetrics": 404,
    "/v1/chat/completions/..%2f..%2f..%2ftokenize": 404,
    "/V1/models": 404,
    "/v1/models.": 404,
    "/v1/models;x=1": 404,
    "/v1/models%00": 400,
    "/../metrics": 400,
    "https://elsewhere/metrics": 421,
    "/v1/models?api_key=x": 400,
    "/metrics?/v1/models": 404,
    "/-/error-400": 404,
}
_KEY = "Authorization: Bearer {key}\r\n"
#: Requests of odd shapes and what they are answered.
SHAPES = {
    f"GET /v1/models HTTP/1.1\r\nHost: {{host}}\r\n{_KEY}{_KEY}": 400,
    f"POST {CHAT} HTTP/1.1\r\nHost: {{host}}\r\n{_KEY}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n": 400,
    f"POST /v1/completions HTTP/1.1\r\nHost: {{host}}\r\n{_KEY}Content-Length: 4\r\nContent-Length: 5\r\n": 400,
    f"DELETE /v1/models HTTP/1.1\r\nHost: {{host}}\r\n{_KEY}": 405,
    f"TRACE /v1/models HTTP/1.1\r\nHost: {{host}}\r\n{_KEY}": 405,
    f"GET /v1/chat/completions HTTP/1.1\r\nHost: {{host}}\r\n{_KEY}": 405,
    f"GET /v1/models HTTP/1.1\r\nHost: elsewhere\r\n{_KEY}": 421,
    f"GET /v1/models HTTP/1.1\r\n{_KEY}": 400,
    f"GET /v1/models HTTP/1.0\r\nHost: {{host}}\r\n{_KEY}": 400,
    f"GET /v1/models HTTP/3.0\r\nHost: {{host}}\r\n{_KEY}": 400,
    f"GET /v1/models HTTP/1.1\r\nHost: {{host}}\r\nHost: {{host}}\r\n{_KEY}": 400,
    f"GET /v1/models HTTP/1.1\r\nHost: {{host}}\r\nX-Folded: a\r\n b\r\n{_KEY}": 400,
    f"POST {CHAT} HTTP/1.1\r\nHost: {{host}}\r\n{_KEY}Transfer-Encoding: xchunked\r\n": 400,
    f"POST {CHAT} HTTP/1.1\r\nHost: {{host}}\r\n{_KEY}Transfer-Encoding: chunked, chunked\r\n": 400,
    f"POST {CHAT} HTTP/1.1\r\nHost: {{host}}\r\n{_KEY}Content-Length: +4\r\n": 400,
    "GET /v1/models HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {key}\r\n": 401,
    "GET /v1/models HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer\r\n": 401,
    "GET /v1/models HTTP/1.1\r\nHost: {host}\r\nX-Api-Key: x{key}\r\n": 401,
    "GET /v1/models HTTP/1.1\r\nHost: {host}\r\nX-Api-Key: {key}\r\nX-Api-Key: {key}\r\n": 401,
    "GET /v1/models HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer x\r\nX-Api-Key: {key}\r\n": 401,
    f"POST {CHAT} HTTP/1.1\r\nHost: {{host}}\r\n{_KEY}Content-Encoding: gzip\r\nContent-Length: 0\r\n": 415,
}


def test_no_spelling_of_a_path_reaches_the_engine(served: GatewayHost) -> None:
    served.reached()
    request = f"GET {{}} HTTP/1.1\r\nHost: {{{{host}}}}\r\n{_KEY.replace('{', '{{').replace('}', '}}')}"
    assert {target: raw(served, request.format(target)) for target in PATHS} == PATHS
    assert served.reached() == []


def test_odd_requests_are_refused_before_the_engine(served: GatewayHost) -> None:
    served.reached()
    assert {shape: raw(served, shape) for shape in SHAPES} == SHAPES
    assert served.reached() == []


def test_a_stream_arrives_piece_by_piece(served: GatewayHost) -> None:
    with served.held():
        stream = served.caller.stream(CHAT, STREAM)
        first = next(stream)
        assert served.running() == 1, "the engine has not said all, and the caller has the first piece"
    assert len([first, *stream]) == 10


def test_a_caller_who_hangs_up_frees_the_engine(served: GatewayHost) -> None:
    with served.held():
        stream = served.caller.stream(CHAT, STREAM)
        next(stream)
        assert served.running() == 1
        stream.close()  # type: ignore[attr-defined]
        served.wait_until_running(0)


def test_a_large_prompt_passes_and_one_too_large_is_413(served: GatewayHost) -> None:
    # Above the buffer of 64 kB, so that it goes through the temporary file.
    assert served.caller.post(CHAT, {"prompt": "x" * 3_000_000}).json["bytes"] > 3_000_000
    answer = served.caller.post(CHAT, {"prompt": "x" * 34_000_000})
    assert (answer.status, answer.json["error"]["code"]) == (413, "request_too_large")


def test_logs_are_json_and_hold_team_but_neither_prompt_nor_key(served: GatewayHost) -> None:
    list(served.caller.stream(CHAT, STREAM))
    lines = [json.loads(line) for line in served.host.succeeds(f"cat {log.LOG}").splitlines()]
    assert {"team": "research", "path": CHAT, "status": 200}.items() <= lines[-1].items()
    # Ten pieces, a tenth of a second apart.
    assert lines[-1]["seconds"] - float(lines[-1]["first_byte_s"]) > 0.5
    served.host.fails(
        f"grep -rE 'CANARY-PROMPT|{served.key}' /var/log/nginx /var/log/ingot /var/lib/nginx /etc/nginx /etc/ingot"
    )


def test_unknown_names_and_plain_http_are_refused(served: GatewayHost) -> None:
    with pytest.raises(ssl.SSLError):
        served.caller.handshake("elsewhere")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((served.host.address, 80), timeout=5)


def test_the_certificate_is_good_for_name_and_address(served: GatewayHost) -> None:
    assert [served.caller.handshake(name) for name in (served.host.name, served.host.address)] == ["TLSv1.3"] * 2


def test_the_hosts_key_stays_on_the_host(served: GatewayHost) -> None:
    assert served.host.succeeds(f"stat -c '%U %a' {site.KEY}").strip() == "root 600"
    held = {path.name for path in served.secrets.iterdir() if not path.name.startswith(".")}
    assert held == {"ca.pem", "ca.crt", "keys.yaml", "verify.key", "history"}


def test_a_new_name_brings_a_new_certificate_and_keeps_the_key(served: GatewayHost) -> None:
    key = served.host.succeeds(f"sha256sum {site.KEY}")
    renewed = served.deploy(gateway_names=["llm.example"])
    assert renewed.changed == ["Gateway | Certificate, keys and nginx configuration"], renewed.output
    assert served.caller.handshake("llm.example") == "TLSv1.3"
    assert served.host.succeeds(f"sha256sum {site.KEY}") == key


def test_a_tls_key_that_others_could_read_is_replaced(served: GatewayHost) -> None:
    exposed = served.host.succeeds(f"chmod 644 {site.KEY}; sha256sum {site.KEY}")
    healed = served.deploy()
    assert healed.status == 0, healed.output
    assert served.host.succeeds(f"sha256sum {site.KEY}") != exposed
    assert served.host.succeeds(f"stat -c '%U %a' {site.KEY}").strip() == "root 600"
    assert served.caller.handshake(served.host.name) == "TLSv1.3"


def test_a_revoked_key_is_dead_after_one_deploy_and_no_stream_notices(served: GatewayHost) -> None:
    other = keys.create(served.secrets, "sales")
    assert served.deploy().status == 0
    sales = replace(served.caller, key=other)
    pieces: list[str] = []
    stream = threading.Thread(target=lambda: pieces.extend(data for _, data in sales.stream(CHAT, STREAM)))
    keys.revoke(served.secrets, "sales")
    with served.held():
        stream.start()
        served.wait_until_running(1)
        assert served.deploy().status == 0
        assert sales.get("/v1/models").status == 401
        assert served.caller.get("/v1/models").status == 200
        assert served.running() == 1
    stream.join(timeout=600)
    assert [json.loads(piece)["piece"] for piece in pieces] == list(range(10))


def test_a_run_that_died_before_the_reload_is_completed_by_the_next(served: GatewayHost) -> None:
    late = replace(served.caller, key=keys.create(served.secrets, "late"))
    drop_in = "/run/systemd/system/nginx.service.d/dead.conf"
    served.host.succeeds(f"mkdir -p {drop_in.rpartition('/')[0]}")
    served.host.put(drop_in, "[Service]\nExecReload=\nExecReload=/bin/true\n")
    served.host.succeeds("systemctl daemon-reload")
    assert "port 443 is not answered by nginx with" in served.deploy().output
    served.host.succeeds(f"rm {drop_in} && systemctl daemon-reload")
    assert late.get("/v1/models").status == 401
    completed = served.deploy()
    assert completed.changed == ["Gateway | Callers meet it on port 443"], completed.output
    assert late.get("/v1/models").status == 200


def test_what_was_edited_and_loaded_on_the_host_is_put_right(served: GatewayHost) -> None:
    served.host.succeeds(f"echo >{teams.KEY_MAP} && systemctl reload nginx")
    assert served.deploy().status == 0
    assert served.caller.get("/v1/models").status == 200


def test_what_nginx_refuses_is_not_installed(served: GatewayHost) -> None:
    before = served.host.succeeds(f"sha256sum {CONFIGURATION}")
    # A number of seconds by its looks, and more milliseconds than nginx can count.
    refused = served.deploy(gateway_read_timeout_s=10**18)
    assert refused.status != 0
    assert "invalid value" in refused.output and "nothing was changed" in refused.output, refused.output
    assert served.host.succeeds(f"sha256sum {CONFIGURATION}") == before
    assert served.caller.get("/v1/models").status == 200


def test_a_team_at_its_limit_gets_429_and_is_told_when_to_come_back(served: GatewayHost) -> None:
    assert served.deploy(gateway_concurrency=2).status == 0
    with ThreadPoolExecutor(4) as pool, served.held():
        tries = [pool.submit(served.caller.post, CHAT, STREAM) for _ in range(4)]
        served.wait_until_running(2)
        deadline = time.monotonic() + 60
        while sum(attempt.done() for attempt in tries) < 2:
            assert time.monotonic() < deadline, "two callers too many are not refused"
            time.sleep(0.05)
    answers = [attempt.result() for attempt in tries]
    assert sorted(answer.status for answer in answers) == [200, 200, 429, 429]
    [refused, _] = [answer for answer in answers if answer.status == 429]
    assert (
        2 <= int(refused.headers["Retry-After"]) <= 5 and refused.json["error"]["code"] == "concurrency_limit_exceeded"
    )


#: A replica that dies of every request: it reads one, and closes.
DYING = "172.31.213.77:8000"
DIES = """import socket
server = socket.create_server(("172.31.213.77", 8000))
while True:
    connection = server.accept()[0]
    connection.recv(65536)
    open("/run/dying", "a").write("x")
    connection.close()
"""


@pytest.mark.rollout
def test_a_request_whose_replica_dies_unheard_is_tried_once_on_another(served: GatewayHost) -> None:
    served.host.put("/root/dies.py", DIES)
    served.host.succeeds(
        "ip address replace 172.31.213.77/32 dev lo; systemd-run --quiet --unit dies python3 /root/dies.py"
    )
    try:
        upstreams = [{"model": "stand-in", "replicas": [ENGINE, DYING]}]
        served.host.put("/var/lib/ingot/upstreams.json", json.dumps(upstreams))
        assert served.deploy().status == 0
        assert [served.caller.post(CHAT, {}).status for _ in range(8)] == [200] * 8
        tried = len(served.host.succeeds("cat /run/dying"))
        assert tried > 0
        # Where every replica dies of it, it is not tried a third time.
        upstreams = [{"model": "stand-in", "replicas": [DYING]}]
        served.host.put("/var/lib/ingot/upstreams.json", json.dumps(upstreams))
        assert served.deploy().status == 0
        assert served.caller.post(CHAT, {}).status == 502
        assert len(served.host.succeeds("cat /run/dying")) - tried <= 2
    finally:
        served.host.succeeds("systemctl stop dies")
        served.tell_gateway({"stand-in": ENGINE})
        assert served.deploy().status == 0


def test_several_models_are_routed_by_the_model_that_a_request_names(served: GatewayHost) -> None:
    served.start_engine(SECOND_ENGINE)
    served.tell_gateway({"first": ENGINE, "org/second": SECOND_ENGINE})
    assert served.deploy().status == 0
    assert served.deploy().changed == NO_CHANGE
    listed = served.caller.get("/v1/models").json
    assert [model["id"] for model in listed["data"]] == ["first", "org/second"]
    for model, engine in (("first", ENGINE), ("org/second", SECOND_ENGINE)):
        # Larger than what nginx keeps in memory by default.
        answer = served.caller.post(CHAT, {"model": model, "prompt": "x" * 2_000_000}).json
        assert (answer["engine"], answer["path"]) == (engine.partition(":")[0], CHAT)
    assert len(list(served.caller.stream(CHAT, STREAM | {"model": "org/second"}))) == 10


def test_a_model_that_is_not_served_and_a_body_that_is_no_json_are_told_apart(served: GatewayHost) -> None:
    served.reached()
    answers = [served.caller.post(CHAT, body) for body in ({"model": "third"}, {"model": "toString"}, {})]
    assert {(answer.status, answer.json["error"]["code"]) for answer in answers} == {(404, "model_not_found")}
    # More than a script can look at without holding up the streams of others.
    for body in (None, [], "model", {"messages": [[]] * 200_000, "model": "first"}):
        broken = served.caller.post(CHAT, body)
        assert (broken.status, broken.json["error"]["code"]) == (400, "bad_request")
    assert replace(served.caller, key=None).post(CHAT, {"model": "first"}).status == 401
    assert raw(served, f"GET /-/engine_1{CHAT} HTTP/1.1\r\nHost: {{host}}\r\n{_KEY}") == 404
    assert served.reached() == []


def test_the_filter_finds_the_engine_of_the_model_that_a_request_names(served: GatewayHost) -> None:
    filtered = replace(served.caller, key=keys.create(served.secrets, "filtered"))
    image = {"engine_image_archive": "/none", "engine_image_id": f"sha256:{'0' * 64}"}
    asked = {"gateway_teams": {"filtered": {"redact": ["mobile"]}}, **image}
    refused = served.deploy(**asked)
    assert refused.status != 0 and "this host has no Docker" in refused.output
    # Its files are there; what a container would run is run as it is.
    served.host.succeeds(
        "digest=$(sed -n 's/.*ingot.digest: \"\\(.*\\)\"/\\1/p' /etc/ingot/filter/compose.yaml) && "
        "cd /run/ingot/filter && systemd-run --unit standin-filter --setenv PYTHONPATH=/etc/ingot/filter/code "
        "python3 -m ingot.gateway.filter /etc/ingot/filter/rules.json $PWD/filter.sock $PWD/engine.sock $digest"
    )
    served.host.wait_until_succeeds("test -S /run/ingot/filter/filter.sock")
    assert served.deploy(**asked).status == 0
    served.reached()
    for model, engine in (("first", ENGINE), ("org/second", SECOND_ENGINE)):
        answer = filtered.post(CHAT, {"model": model, "prompt": "x" * 2_000_000}).json
        assert (answer["engine"], answer["path"]) == (engine.partition(":")[0], CHAT)
        assert served.caller.post(CHAT, {"model": model}).json["engine"] == engine.partition(":")[0]
    assert [one["headers"]["X-Ingot-Team"] for one in served.reached()] == ["filtered", "research"] * 2
    served.host.succeeds("systemctl stop standin-filter")
    down = filtered.post(CHAT, {"model": "first"})
    assert (down.status, down.json["error"]["code"]) == (503, "filter_down")


def test_a_dead_engine_is_502_and_no_engine_is_503_both_with_retry_after(served: GatewayHost) -> None:
    served.tell_gateway({"stand-in": ENGINE})
    assert served.deploy().status == 0
    served.host.succeeds("systemctl stop standin-172.31.213.10")
    down = served.caller.get("/v1/models")
    served.tell_gateway({})
    assert served.deploy().status == 0
    none = served.caller.get("/v1/models")
    assert [(answer.status, answer.json["error"]["code"]) for answer in (down, none)] == [
        (502, "engine_down"),
        (503, "engine_not_ready"),
    ]
    assert all(answer.headers["Retry-After"] for answer in (down, none))
    assert served.caller.get("/healthz").status == 503


def test_another_server_on_443_is_found_although_the_reload_looked_fine(served: GatewayHost) -> None:
    served.host.put(CONFIGURATION, "events {}\n")
    served.host.succeeds(
        "systemctl reload nginx && systemd-run -p Restart=always --unit squatter python3 -m http.server 443"
    )
    served.host.wait_for_port(443)
    refused = served.deploy()
    served.host.succeeds("systemctl stop squatter")
    assert refused.status != 0
    [sentence] = [line for line in refused.output.splitlines() if "port 443 is not answered" in line]
    assert served.host.name in sentence and '"python3"' in sentence and "deploy again" in sentence
