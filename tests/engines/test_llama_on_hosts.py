"""A host without a GPU serves a GGUF file by llama.cpp, and keeps every promise of a host with one. In order."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import openai
import pytest

from ingot.engines.llama_cpp import WAITING
from ingot.sandbox import Sandbox, TestHost, mirror
from ingot.sandbox.tiny_models import gguf_embedder
from ingot.secrets.keys import create
from tests.e2e.deploying import INGOT, ROOT, deploy, verify
from tests.e2e.test_deploy import client
from tests.engines.members import member
from tests.engines.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.engines, pytest.mark.timeout(900)]

NAME, MODEL, TEAM, SLOTS = "llama", "tiny-gguf", "engines", 2
#: Its weights lie in two parts.
EMBEDDER = "tiny-gguf-embedder"
#: The same file by another name, which shares a third name with the first.
NEXT, SHARED = "tiny-gguf-next", "gpt-4o-mini"
SERVE = [
    {"model": MODEL, "context": 4096, "concurrency": SLOTS, "engine": "auto"},
    {"model": EMBEDDER, "context": 1024, "concurrency": 1, "engine": "llama.cpp"},
    {"model": NEXT, "context": 1024, "concurrency": 1, "engine": "auto"},
]
TOKENS = "/var/log/ingot/gateway/tokens.jsonl"
ON_AND_ON = {"ignore_eos": True}
TALK = [{"role": "user", "content": "Größe is a German word"}]


@pytest.fixture(scope="module")
def bare() -> Iterator[TestHost]:
    """A host without a GPU, whose file says what it serves."""
    known = mirror.model_values()["site_models"]
    models = {**known, NEXT: known[MODEL]}
    with member(NAME, "none", SERVE, {"site_models": models, "aliases": {SHARED: {MODEL: 3, NEXT: 1}}}) as host:
        yield host


@pytest.fixture(scope="module")
def key(bare: TestHost) -> str:
    return create(Sandbox().secrets_dir, TEAM)


@pytest.fixture
def caller(bare: TestHost, key: str) -> openai.OpenAI:
    """A client, once the first deploy has made the CA that it trusts."""
    return client(bare, key)


def accounts(host: TestHost) -> list[dict[str, object]]:
    return [json.loads(line) for line in host.succeeds(f"cat {TOKENS}").splitlines()]


def planned(host: TestHost, model: str = MODEL) -> dict[str, Any]:
    """The one replica of a model."""
    (found,) = (
        one
        for one in json.loads(host.succeeds("cat /var/lib/ingot/plan.json"))["plan"]["replicas"]
        if one["model"] == model
    )
    return dict(found)


def ingot(*words: str) -> subprocess.CompletedProcess[str]:
    command = [str(INGOT), *words, "--inventory", "inventories/sandbox.py"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


def address(host: TestHost) -> str:
    known = json.loads(host.succeeds("cat /var/lib/ingot/upstreams.json"))
    return str(next(one["replicas"][0] for one in known if one["model"] == MODEL))


def running(host: TestHost) -> bool:
    said = host.succeeds(f"curl -s http://{address(host)}/metrics | grep '^llamacpp:requests_'")
    return any(not line.endswith(" 0") for line in said.splitlines())


def test_it_is_deployed_without_anything_of_nvidia(bare: TestHost, key: str) -> None:
    run = deploy(NAME)
    assert run.status == 0, run.output[-6000:]
    assert "gave a completion" in run.output and "gave an embedding" in run.output
    assert bare.succeeds("dpkg-query -W -f '${Package}\\n' | grep -c nvidia || true").strip() == "0"
    replica = planned(bare)
    assert (replica["engine"], replica["gpu_uuids"], replica["max_num_seqs"]) == ("llama.cpp", [], SLOTS)


def test_a_plan_shows_how_fast_its_first_start_was(bare: TestHost) -> None:
    assert planned(bare)["estimate"]["basis"].startswith("estimate: from ")
    every = json.loads(bare.succeeds("cat /var/lib/ingot/measured.json"))["measured"]
    (measured,) = (one for one in every if one["key"]["max_num_seqs"] == SLOTS)
    assert measured["key"]["gpu"] == "processor" and measured["decode_tokens_per_s"] > 0
    done = ingot("plan", NAME)
    assert done.returncode == 0, done.stdout + done.stderr
    # Wrapped as wide as a terminal.
    assert f"tokens/s prefill; measured by its start at {measured['measured_at']}" in " ".join(done.stdout.split())


@pytest.mark.parametrize("model", [MODEL, EMBEDDER])
def test_its_cache_is_as_large_as_planned(model: str, bare: TestHost) -> None:
    log = f"docker logs ingot-engine-{model}-0 2>&1"
    said = bare.succeeds(f"{log} | grep -oE 'llama_kv_cache: size = +[0-9.]+ MiB'")
    memory = planned(bare, model)["memory"]
    assert float(said.split()[-2]) * 1024**2 == memory["kv_cache"]["bytes"]
    computed = bare.succeeds(f"{log} | grep -oE 'CPU compute buffer size = +[0-9.]+ MiB' | tail -n 1")
    assert float(computed.split()[-2]) * 1024**2 <= memory["activation"]["bytes"]


def test_a_text_becomes_numbers_and_its_tokens_are_counted(bare: TestHost, caller: openai.OpenAI) -> None:
    # As long as it may be: what is read at once holds it.
    found = caller.embeddings.create(model=EMBEDDER, input="word " * 200)
    assert len(found.data[0].embedding) == gguf_embedder.HIDDEN
    assert until(lambda: accounts(bare)[-1]["model"] == EMBEDDER)
    assert (accounts(bare)[-1]["prompt_tokens"], accounts(bare)[-1]["completion_tokens"]) == (
        found.usage.prompt_tokens,
        0,
    )


def test_the_gateway_counts_what_an_answer_took(bare: TestHost, caller: openai.OpenAI) -> None:
    answer = caller.chat.completions.create(model=MODEL, messages=TALK, max_tokens=8)
    assert answer.usage and answer.usage.completion_tokens == 8
    last = accounts(bare)[-1]
    assert (last["team"], last["model"], last["finished"]) == (TEAM, MODEL, True)
    assert (last["prompt_tokens"], last["completion_tokens"]) == (answer.usage.prompt_tokens, 8)


@pytest.mark.parametrize("asked", [None, False, True])
def test_a_stream_tells_its_usage_to_who_asked_and_to_the_accounts(
    bare: TestHost, caller: openai.OpenAI, asked: bool | None
) -> None:
    options = {} if asked is None else {"stream_options": {"include_usage": asked}}
    pieces = list(
        caller.chat.completions.create(model=MODEL, messages=TALK, max_tokens=12, stream=True, **options)  # type: ignore[call-overload]
    )
    assert len("".join(one.choices[0].delta.content or "" for one in pieces if one.choices)) == 12
    assert [one.usage.completion_tokens for one in pieces if one.usage] == ([12] if asked else [])
    assert until(lambda: accounts(bare)[-1]["completion_tokens"] == 12)
    assert accounts(bare)[-1]["prompt_tokens"]


def test_a_name_that_it_would_answer_for_is_refused(caller: openai.OpenAI) -> None:
    assert {one.id for one in caller.models.list()} == {MODEL, EMBEDDER, NEXT, SHARED}
    with pytest.raises(openai.NotFoundError):
        caller.chat.completions.create(model="gpt-4o", messages=TALK)


def test_models_that_share_a_name_get_their_shares(caller: openai.OpenAI) -> None:
    asked = [caller.completions.create(model=SHARED, prompt="on", max_tokens=1) for _ in range(40)]
    answered = Counter(one.model for one in asked)
    assert answered == {MODEL: 30, NEXT: 10}


@pytest.mark.parametrize("path", ["/v1/stream", "/props", "/slots", "/metrics", "/tokenize", "/completion"])
def test_no_other_route_reaches_it(caller: openai.OpenAI, path: str) -> None:
    answer = caller._client.get(str(caller.base_url.join(path)), headers={"Authorization": f"Bearer {caller.api_key}"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_url"


def test_a_caller_who_hangs_up_frees_it(bare: TestHost, caller: openai.OpenAI) -> None:
    # It would keep a conversation of a caller's id alive, and tell it to whoever knows the id.
    stream = caller.chat.completions.create(
        model=MODEL, messages=TALK, max_tokens=3900, stream=True, extra_headers={"X-Conversation-Id": "mine"}
    )
    next(iter(stream))
    stream.close()
    assert until(lambda: not running(bare))
    assert until(lambda: accounts(bare)[-1]["finished"] is False)


def decoded(host: TestHost) -> int:
    """Steps that its engine has made."""
    said = host.succeeds(f"curl -s http://{address(host)}/metrics | grep '^llamacpp:n_decode_total'")
    return int(float(said.split()[-1]))


@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_a_caller_of_one_piece_who_hangs_up_frees_it(bare: TestHost, caller: openai.OpenAI, kind: str) -> None:
    before, impatient = decoded(bare), caller.with_options(timeout=0.3, max_retries=0)
    with pytest.raises(openai.APITimeoutError):
        if kind == "chat":
            impatient.chat.completions.create(model=MODEL, messages=TALK, max_tokens=3900, extra_body=ON_AND_ON)
        else:
            impatient.completions.create(model=MODEL, prompt="on", max_tokens=3900, extra_body=ON_AND_ON)
    assert until(lambda: not running(bare))
    assert decoded(bare) - before < 3900, "it ran on to its end"
    assert until(lambda: accounts(bare)[-1]["finished"] is False)


WORKS = {"type": "object", "properties": {"works": {"type": "boolean"}}, "required": ["works"]}
TOOL = {"type": "function", "function": {"name": "report", "strict": True, "parameters": WORKS}}
ASKED: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": TALK, "max_tokens": 12, "logprobs": True, "top_logprobs": 2},
    "completions": {"prompt": "on", "max_tokens": 12, "logprobs": 2},
    "chat/completions?tool": {"messages": TALK, "max_tokens": 256, "tools": [TOOL], "tool_choice": "required"},
}


@pytest.mark.parametrize("path", ASKED)
def test_an_answer_in_one_piece_is_what_the_engine_says_in_one(
    bare: TestHost, caller: openai.OpenAI, path: str
) -> None:
    body, path = {"model": MODEL, "temperature": 0, "cache_prompt": False, **ASKED[path]}, path.partition("?")[0]
    sent = shlex.quote(json.dumps(body))
    own = json.loads(bare.succeeds(f"curl -s --json {sent} http://{address(bare)}/v1/{path}"))
    found = dict(caller.post(f"/{path}", body=body, cast_to=object))  # type: ignore[call-overload]
    for one in (own, found):
        for changing in ("id", "created", "timings"):
            one.pop(changing, None)
        for call in one["choices"][0].get("message", {}).get("tool_calls", ()):
            call.pop("id")
    assert found == own


def test_more_than_may_wait_are_told_to_come_again(bare: TestHost, caller: openai.OpenAI) -> None:
    refused = Event()

    def ask(number: int) -> int:
        try:
            # Those that wait hear nothing, and hang up after a while: nobody has to answer them all.
            stream = caller.with_options(timeout=8).chat.completions.create(
                model=MODEL, messages=TALK, max_tokens=3900, stream=True
            )
        except openai.RateLimitError as full:
            assert full.response.headers["Retry-After"]
            assert full.code == "engine_busy"
            refused.set()
            return 429
        except openai.APITimeoutError:
            return 0
        refused.wait(8)
        stream.close()
        return 200

    with ThreadPoolExecutor(SLOTS + WAITING + 14) as callers:
        first = list(callers.map(ask, range(SLOTS + WAITING + 14)))
    assert 429 in first and set(first) <= {0, 200, 429}
    assert until(lambda: not running(bare), 60)
    assert caller.chat.completions.create(model=MODEL, messages=TALK, max_tokens=1).choices


def test_its_log_holds_nothing_of_what_was_asked(bare: TestHost) -> None:
    assert bare.succeeds("docker logs ingot-engine-tiny-gguf-0 2>&1 | grep -c German || true").strip() == "0"


def test_usage_sums_what_the_gateway_counted() -> None:
    done = ingot("usage", NAME, "--json")
    assert done.returncode == 0 and f'"{TEAM}"' in done.stdout, done.stdout + done.stderr


def test_a_second_deploy_changes_nothing() -> None:
    run = deploy(NAME)
    assert (run.status, run.changed(NAME)) == (0, []), run.output[-3000:]


def test_every_check_of_a_host_holds() -> None:
    done = verify(NAME, "--inventory", "inventories/sandbox.py")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({"model": "tiny-qwen3"}, "no NVIDIA GPU on the PCI bus, expected at least one"),
        ({"model": MODEL, "engine": "ollama"}, "set `engine: llama.cpp`, which serves the same file there"),
    ],
)
def test_an_engine_that_needs_a_gpu_is_refused_there(item: dict[str, str], says: str, bare: TestHost) -> None:
    before = bare.succeeds("docker ps --all --format '{{.ID}}'")
    serve = json.dumps([{**item, "context": 2048, "concurrency": 2}])
    run = deploy(NAME, data=[f"serve={serve}"])
    assert run.status != 0
    assert says in run.output
    assert run.changed(NAME) == [] and bare.succeeds("docker ps --all --format '{{.ID}}'") == before
