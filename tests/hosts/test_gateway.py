"""What callers meet: TLS by the internal CA, keys, an allow-list, answers that stream."""

from __future__ import annotations

import secrets
import ssl
import time
import warnings
from dataclasses import replace
from itertools import pairwise

import pytest
from testinfra.host import Host

from tests.hosts.https import Caller
from tests.hosts.look import SECRET, Look
from tests.hosts.target import Target

#: Routes of the engine that no caller may reach, with the method the engine takes them by.
FORBIDDEN = (
    ("GET", "/metrics"),
    ("GET", "/health"),
    ("GET", "/version"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("POST", "/invocations"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("POST", "/pause"),
    ("POST", "/scale_elastic_ep"),
    ("POST", "/v1/load_lora_adapter"),
    ("GET", "/v1/responses/abc"),
)


@pytest.fixture
def model(target: Target, caller: Caller) -> str:
    served = caller.get("/v1/models")
    target.expect(served.status == 200, f"/v1/models answers {served.status}: {served.body}")
    return str(served.json["data"][0]["id"])


def question(model: str, text: str = "Hello", **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}


def test_nginx_runs_a_valid_configuration_and_starts_at_boot(target: Target, look: Look) -> None:
    target.expect(look.answers["nginx"].status == 0, f"nginx -t says {look.text('nginx')}")
    target.expect("nginx active enabled" in look.lines("units"), f"nginx: {look.lines('units')}")


def test_nginx_listens_on_443_only(target: Target, look: Look) -> None:
    listening = {line.split()[3] for line in look.lines("listeners") if '"nginx"' in line}
    others = {address for address in listening if not address.endswith(":443")}
    target.expect(listening and not others, f"nginx listens on {sorted(listening)}, expected port 443 alone")


@pytest.mark.parametrize("by", ["name", "address"])
def test_the_certificate_is_verified_against_the_internal_ca(target: Target, stranger: Caller, by: str) -> None:
    name = target.name if by == "name" else target.address
    try:
        version = stranger.handshake(name)
    except OSError as error:
        version = str(error)
    target.expect(version == "TLSv1.3", f"as {name}, expected TLSv1.3 trusting {stranger.ca}, got {version}")


def test_an_unknown_name_is_refused_before_anything_is_said(target: Target, stranger: Caller) -> None:
    with pytest.raises(ssl.SSLError):
        stranger.handshake("somebody-else.invalid")


def test_tls_1_1_is_refused(target: Target, stranger: Caller) -> None:
    old = ssl.create_default_context(cafile=str(target.ca))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        stranger.handshake(target.name, old)


def test_without_a_key_the_answer_is_401(target: Target, stranger: Caller) -> None:
    answer = stranger.get("/v1/models")
    target.expect(answer.status == 401, f"a caller without a key got {answer.status}: {answer.body}")
    target.expect('"invalid_api_key"' in answer.body, f"401 with another body than callers know: {answer.body}")


def test_with_a_wrong_key_the_answer_is_401(target: Target, stranger: Caller) -> None:
    guess = replace(stranger, key=f"sk-guess-{secrets.token_urlsafe(32)}")
    target.expect(guess.get("/v1/models").status == 401, "a made-up key is accepted")


def test_with_a_key_the_model_answers(target: Target, caller: Caller, model: str) -> None:
    answer = caller.post("/v1/chat/completions", question(model))
    target.expect(answer.status == 200, f"{answer.status}: {answer.body}")
    target.expect('"assistant"' in answer.body, f"an answer without an assistant's message: {answer.body}")


def test_a_streamed_answer_comes_in_pieces(target: Target, caller: Caller, model: str) -> None:
    # Short enough to fit a proxy's first buffer: were there one, the answer would come in one burst, always. A small
    # model on a busy machine may send bursts by itself, so that it is asked until it does not, for some seconds.
    body = question(model, stream=True, ignore_eos=True) | {"max_tokens": 12}
    seen: list[str] = []
    for _ in range(40):
        pieces = list(caller.stream("/v1/chat/completions", body))
        target.expect(pieces and pieces[-1][1] == "[DONE]", f"the stream has no end: {pieces[-1:]}")
        times = [when for when, _ in pieces]
        pauses = [later - earlier for earlier, later in pairwise(times) if later - earlier > 0.001]
        if len(pauses) > 1 and times[-1] - times[0] > 0.005:
            return
        seen.append(f"{len(pieces)} pieces between {times[0]:.3f} and {times[-1]:.3f} s")
        time.sleep(0.25)
    target.expect(False, f"streamed answers come in one burst: {', '.join(seen[-5:])}")


def test_other_routes_are_404_even_with_a_key(target: Target, caller: Caller) -> None:
    answers = {path: caller.ask(method, path, {} if method == "POST" else None).status for method, path in FORBIDDEN}
    open_ = {path: status for path, status in answers.items() if status != 404}
    target.expect(not open_, f"routes that callers must not reach answer {open_}, expected 404")


def test_prompts_and_keys_are_written_to_no_log(target: Target, host: Host, caller: Caller, model: str) -> None:
    marker = f"prompt-{secrets.token_hex(8)}"
    answer = caller.post("/v1/chat/completions", question(model, marker))
    target.expect(answer.status == 200, f"{answer.status}: {answer.body}")
    found = host.run(
        f"grep -rlE '{marker}|{SECRET}' /var/log/nginx /var/lib/docker/containers /run/ingot-request-bodies; "
        f"journalctl -b --since -2min -o cat | grep {marker}"
    ).stdout
    # The journal repeats the command that sudo was asked to run, which names the marker.
    leaks = [line for line in found.splitlines() if "COMMAND=" not in line]
    target.expect(not leaks, f"the prompt or a key is in {leaks}")
