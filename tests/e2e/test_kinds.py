"""A model of each kind and a LoRA adapter share one GPU, and OpenAI's client uses what each is for. In order."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import yaml

from ingot.catalog import load_models
from ingot.engines import reading
from ingot.engines.registry import registry
from ingot.sandbox import TestHost
from ingot.sandbox.membership import HOST_FILES
from tests.e2e import snippets
from tests.e2e.deploying import INGOT, ROOT, deploy, verify
from tests.e2e.test_deploy import client, containers

pytestmark = [pytest.mark.e2e, pytest.mark.models, pytest.mark.timeout(900)]

NAME = "e2e"
SERVE = [
    {
        "model": "tiny-qwen3",
        # Room for the prompts of agents; their answers would fill it, since this model seldom ends one.
        "context": 32768,
        "concurrency": 4,
        "replicas": 1,
        "share": True,
        "arguments": {
            "tool_call_parser": "hermes",
            "engine_args": {"override-generation-config": {"max_new_tokens": 200}},
        },
        "adapters": [{"name": "tiny-sales", "repository": "tiny-adapter", "rank": 4}],
    },
    {"model": "tiny-bert", "context": 512, "concurrency": 4, "replicas": 1, "share": True},
    {"model": "tiny-reranker", "context": 2048, "concurrency": 4, "replicas": 1, "share": True},
    {"model": "tiny-whisper", "context": 448, "concurrency": 2, "replicas": 1, "share": True},
    # Beside them, on the host's processor.
    {"model": "tiny-gguf", "context": 4096, "concurrency": 2, "engine": "llama.cpp"},
]
MODELS = {one["model"] for one in SERVE}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Ulm", "Bern"]}, "warm": {"type": "boolean"}},
            "required": ["city", "warm"],
            "additionalProperties": False,
        },
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": ["good", "bad"]}, "sure": {"type": "boolean"}},
    "required": ["verdict", "sure"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def mixed(host: TestHost, key: str) -> Iterator[TestHost]:
    """The session's host, whose file asks for three models of three kinds; its key is there before its deploy."""
    file = HOST_FILES / f"{NAME}.yaml"
    if not file.is_file():
        subprocess.run(
            [str(INGOT), "onboard", NAME, host.address, "--inventory", "inventories/sandbox.py"],
            cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=600,
        )  # fmt: skip
    before = file.read_text()
    file.write_text(yaml.safe_dump({**yaml.safe_load(before), "serve": SERVE}))
    yield host
    file.write_text(before)


@pytest.fixture
def caller(mixed: TestHost, key: str) -> openai.OpenAI:
    return client(mixed, key)


def test_every_kind_is_planned_on_one_gpu_and_proven(mixed: TestHost) -> None:
    run = deploy(NAME)
    assert run.status == 0, run.output[-6000:]
    for proof in ("gave a completion, a tool call", "gave an embedding", "gave an order of documents", "transcript"):
        assert proof in run.output
    plan = json.loads(mixed.succeeds("cat /var/lib/ingot/plan.json"))["plan"]["replicas"]
    assert {one["model"] for one in plan} == MODELS
    assert len({uuid for one in plan for uuid in one["gpu_uuids"]}) == 1


def test_a_second_deploy_changes_nothing(mixed: TestHost) -> None:
    before = containers(mixed)
    run = deploy(NAME)
    assert (run.status, run.changed(NAME)) == (0, []), run.output[-3000:]
    assert containers(mixed) == before


def test_the_client_sees_every_model(caller: openai.OpenAI) -> None:
    assert {one.id for one in caller.models.list()} == {*MODELS, "tiny-sales"}


def test_the_client_uses_tools(caller: openai.OpenAI) -> None:
    answer = caller.chat.completions.create(
        model="tiny-qwen3",
        messages=[{"role": "user", "content": "What is the weather like in Ulm?"}],
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        max_tokens=160,
    )
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Ulm", "Bern")
    # What every client sends; without a parser it was answered with 400.
    free = caller.chat.completions.create(
        model="tiny-qwen3", messages=[{"role": "user", "content": "Hello there"}], tools=[WEATHER], max_tokens=8
    )
    assert free.choices[0].message.content


@pytest.mark.clients
@pytest.mark.parametrize("agent", snippets.DEMANDING)
def test_an_agent_works_as_the_page_for_callers_says(agent: str, mixed: TestHost, key: str, tmp_path: Path) -> None:
    (snippet,) = (one for one in snippets.snippets() if one.heading == agent)
    snippets.runs(snippet, snippets.environment(mixed, key, "tiny-qwen3", tmp_path), tmp_path)


def test_the_client_gets_structured_output(caller: openai.OpenAI) -> None:
    answer = caller.chat.completions.create(
        model="tiny-qwen3",
        messages=[{"role": "user", "content": "Judge this sentence."}],
        response_format={"type": "json_schema", "json_schema": {"name": "judgement", "schema": SCHEMA, "strict": True}},
        max_tokens=64,
    )
    said = json.loads(answer.choices[0].message.content or "")
    assert said["verdict"] in ("good", "bad") and isinstance(said["sure"], bool)


def test_the_client_gets_embeddings(caller: openai.OpenAI) -> None:
    answer = caller.embeddings.create(model="tiny-bert", input=["It rains in the mountains.", "Copper fell again."])
    assert [len(one.embedding) for one in answer.data] == [64, 64]
    assert answer.data[0].embedding != answer.data[1].embedding


def test_the_client_has_documents_ranked(caller: openai.OpenAI) -> None:
    body = {"model": "tiny-reranker", "query": "rain", "documents": ["It rains in the mountains.", "Copper fell."]}
    answer = caller.post("/rerank", body=body, cast_to=object)
    assert sorted(one["index"] for one in answer["results"]) == [0, 1]
    scores = [one["relevance_score"] for one in answer["results"]]
    assert scores == sorted(scores, reverse=True)


def test_the_client_uses_an_adapter_by_its_own_name(caller: openai.OpenAI) -> None:
    likely = {}
    for name in ("tiny-qwen3", "tiny-sales"):
        answer = caller.completions.create(model=name, prompt="one two three", max_tokens=6, temperature=0, logprobs=1)
        assert answer.model == name
        assert answer.choices[0].logprobs
        likely[name] = answer.choices[0].logprobs.token_logprobs
    # The letters may be the same; what the adapter adds shows in how likely each was.
    assert likely["tiny-qwen3"] != likely["tiny-sales"]


@pytest.mark.engines
def test_the_client_uses_another_engine_through_the_same_gateway(mixed: TestHost, caller: openai.OpenAI) -> None:
    streamed = caller.chat.completions.create(
        model="tiny-gguf", messages=[{"role": "user", "content": "Hello there"}], max_tokens=8, stream=True
    )
    assert len("".join(one.choices[0].delta.content or "" for one in streamed)) == 8
    (line,) = mixed.succeeds("cat /var/log/ingot/gateway/tokens.jsonl").splitlines()[-1:]
    assert (json.loads(line)["model"], json.loads(line)["completion_tokens"]) == ("tiny-gguf", 8)
    # Routes that the others have, and it has not.
    with pytest.raises(openai.NotFoundError):
        caller.responses.create(model="tiny-gguf", input="Hello there")


def test_the_client_has_speech_written_down(caller: openai.OpenAI) -> None:
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(2 * 16000))
    written = caller.audio.transcriptions.create(
        model="tiny-whisper", file=("second.wav", sound.getvalue(), "audio/wav"), language="en"
    )
    assert written.text.strip()


def test_a_model_that_is_for_something_else_says_so(caller: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        caller.embeddings.create(model="tiny-qwen3", input="Hello there")
    assert refused.value.status_code in (400, 404)


def test_every_kind_is_verified(mixed: TestHost) -> None:
    done = verify(NAME)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_parser_is_refused_before_anything_starts(mixed: TestHost) -> None:
    before = containers(mixed)
    serve = [{**SERVE[0], "arguments": {"tool_call_parser": "hermess"}}, *SERVE[1:]]
    file = HOST_FILES / f"{NAME}.yaml"
    good = file.read_text()
    file.write_text(yaml.safe_dump({**yaml.safe_load(good), "serve": serve}))
    try:
        run = deploy(NAME)
    finally:
        file.write_text(good)
    assert run.status != 0
    assert "tool_call_parser 'hermess' is not one of vllm 0.32.0, nearest: hermes" in run.output
    assert run.changed(NAME) == [] and containers(mixed) == before


def test_the_engines_parsers_read_what_each_family_writes(mixed: TestHost) -> None:
    """Thoughts and calls, whole and in pieces: by the parser classes of the image that the host runs."""
    here = Path(__file__).parent
    cases = json.loads((here / "captures" / "outputs.json").read_text())
    mixed.put("/run/parsers.py", (here / "parsers_in_engine.py").read_text())
    mixed.put("/run/outputs.json", json.dumps(cases))
    said = mixed.succeeds(
        'docker exec -i ingot-engine-tiny-qwen3-0 python3.11 -c "$(cat /run/parsers.py)" </run/outputs.json',
        timeout_s=600,
    )
    answers = [json.loads(line) for line in said.splitlines() if line.startswith('{"whole"')]
    assert len(answers) == len(cases) > 20
    for case, answer in zip(cases, answers, strict=True):
        for way in ("whole", "in_pieces"):
            if case["kind"] == "tools":
                assert answer[way] == [["weather", {"city": "Ulm"}]], (case["parser"], way, answer)
                continue
            words = [part.strip() for part in answer[way]]
            assert words == ["Rain means an umbrella.", "Take one."], (case["parser"], way, answer)


def test_the_names_that_arguments_are_checked_by_are_those_of_the_image(mixed: TestHost) -> None:
    script = (
        "import json, pathlib, vllm; root = pathlib.Path(vllm.__file__).parents[1]; "
        f"print(json.dumps({{path: (root / path).read_text() for path in {list(reading.SOURCES)!r} "
        "if (root / path).is_file()}))"
    )
    said = mixed.succeeds(f"docker exec ingot-engine-tiny-qwen3-0 python3.11 -c {shlex.quote(script)} 2>/dev/null", 120)
    stored = registry("0.32.0")
    assert reading.read(json.loads(said.splitlines()[-1]), stored.source) == stored


def test_every_parser_of_the_catalog_is_among_them() -> None:
    cases = json.loads((Path(__file__).parent / "captures" / "outputs.json").read_text())
    read = {(case["kind"], case["parser"]) for case in cases}
    # None is a recording, and none may pass for one.
    assert {case["origin"] for case in cases} == {"written by hand"}
    models = load_models().values()
    named = {("tools", model.arguments.tool_call_parser) for model in models}
    named |= {("reasoning", model.arguments.reasoning_parser) for model in models}
    # gpt-oss is read by its own tokens (harmony), not by a text.
    assert {one for one in named if one[1]} - read == {("tools", "openai")}
