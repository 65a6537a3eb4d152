"""Five engines on one host with GPUs, behind one gateway: their stand-ins, since no GPU is real here.

What is proven is all that is Ingot's: plan, image, container, health, proof, routes, accounts, queue, end, verify. In
order.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator

import openai
import pytest

from ingot.engines import ENGINES
from ingot.engines.container import WAITING
from ingot.sandbox import Sandbox, TestHost, mirror
from ingot.sandbox.simulated.engines import image
from ingot.secrets.keys import create
from tests.e2e.deploying import INGOT, ROOT, deploy, verify
from tests.e2e.test_deploy import client
from tests.engines.members import member
from tests.engines.test_llama_on_hosts import TALK, accounts
from tests.engines.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.engines, pytest.mark.timeout(900)]

NAME, TEAM, SLOTS = "engines", "engines-gpu", 2
#: Model -> engine. Each is the same tiny one by another name, for Ollama as a GGUF file.
MODELS = {"tiny-sglang": "sglang", "tiny-trt": "tensorrt-llm", "tiny-tgi": "tgi", "tiny-ollama": "ollama"}
#: The host has four GPUs: it takes one of another's in the end.
LAST = {"tiny-lmstudio": "lmstudio"}
ALIASES = {"gpt-4o": "tiny-sglang", "llama3.2:1b": "tiny-ollama"}
SERVE = [{"model": model, "context": 2048, "concurrency": SLOTS, "engine": engine} for model, engine in MODELS.items()]


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestHost]:
    """A host with four GPUs, whose file says what serves on them."""
    known = mirror.model_values()["site_models"]
    values = {
        "site_models": {
            model: known["tiny-gguf" if ENGINES[engine].reads_gguf else "tiny-qwen3"]
            for model, engine in (MODELS | LAST).items()
        },
        "engine_images": image.write(tmp_path_factory.mktemp("engines")),
        "engine_hold_s": 1,
        "aliases": ALIASES,
    }
    with member(NAME, "a10gx4", SERVE, values) as host:
        yield host


@pytest.fixture(scope="module")
def key(gpus: TestHost) -> str:
    return create(Sandbox().secrets_dir, TEAM)


@pytest.fixture
def caller(gpus: TestHost, key: str) -> openai.OpenAI:
    return client(gpus, key)


def address(host: TestHost, model: str) -> str:
    known = json.loads(host.succeeds("cat /var/lib/ingot/upstreams.json"))
    return str(next(one["replicas"][0] for one in known if one["model"] == model))


def test_they_are_planned_on_gpus_of_their_own_and_proven(gpus: TestHost, key: str) -> None:
    run = deploy(NAME)
    assert run.status == 0, run.output[-6000:]
    assert run.output.count("gave a completion") == len(MODELS)
    assert "Text Generation Inference is archived" in run.output
    assert "Ollama cuts a prompt that is longer than its context" in run.output
    plan = json.loads(gpus.succeeds("cat /var/lib/ingot/plan.json"))["plan"]["replicas"]
    assert {one["model"]: one["engine"] for one in plan} == MODELS
    assert len({uuid for one in plan for uuid in one["gpu_uuids"]}) == len(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_the_gateway_counts_for_them(model: str, gpus: TestHost, caller: openai.OpenAI) -> None:
    answer = caller.chat.completions.create(model=model, messages=TALK, max_tokens=6)
    assert answer.usage and answer.usage.completion_tokens == 6
    pieces = list(caller.chat.completions.create(model=model, messages=TALK, max_tokens=5, stream=True))
    assert not any(one.usage for one in pieces), "the caller did not ask for it"
    assert until(lambda: [one["completion_tokens"] for one in accounts(gpus)[-2:]] == [6, 5])
    assert {(one["team"], one["model"]) for one in accounts(gpus)[-2:]} == {(TEAM, model)}


@pytest.mark.parametrize("model", MODELS)
def test_what_they_answer_besides_reaches_no_caller(model: str, gpus: TestHost, caller: openai.OpenAI) -> None:
    shut = {
        "tiny-sglang": "/server_info",
        "tiny-trt": "/kv_cache_events",
        "tiny-tgi": "/info",
        "tiny-ollama": "/api/tags",
    }[model]
    assert gpus.succeeds(f"curl -s -o /dev/null -w '%{{http_code}}' http://{address(gpus, model)}{shut}") == "200"
    bearer = {"Authorization": f"Bearer {caller.api_key}"}
    answer = caller._client.get(str(caller.base_url).replace("/v1/", shut), headers=bearer)
    assert answer.status_code == 404


def test_an_alias_is_answered_and_a_name_of_nobody_refused(gpus: TestHost, caller: openai.OpenAI) -> None:
    assert {one.id for one in caller.models.list()} == {*MODELS, *ALIASES}
    assert caller.chat.completions.create(model="gpt-4o", messages=TALK, max_tokens=3).choices
    assert until(lambda: accounts(gpus)[-1]["completion_tokens"] == 3)
    with pytest.raises(openai.NotFoundError):
        caller.chat.completions.create(model="gpt-5", messages=TALK)


def test_ollama_finds_the_verified_file_by_its_digest(gpus: TestHost, caller: openai.OpenAI) -> None:
    """Out of a store that holds no second copy of it; the stand-in loads no blob that is not what its name says."""
    (store,) = gpus.succeeds("ls -d /var/lib/ingot/engine/store/tiny-ollama-0-*").split()
    blobs = gpus.succeeds(f"find {store}/blobs -type l -printf '%f %l\\n'").split()
    (file,) = gpus.succeeds("find /var/lib/ingot /srv -path '*/tiny-ollama/*' -name '*.gguf' 2>/dev/null").split()
    digest = gpus.succeeds(f"sha256sum {file}").split()[0]
    assert blobs == [f"sha256-{digest}", f"/model/{file.rpartition('/')[2]}"]
    # By its other name it is the same one: no model is loaded anew.
    assert caller.chat.completions.create(model="llama3.2:1b", messages=TALK, max_tokens=2).choices
    assert gpus.succeeds("docker logs ingot-engine-tiny-ollama-0 2>&1 | grep -c 'starting llama-server'").strip() == "1"


@pytest.mark.parametrize("route", ["pull", "create", "delete", "generate", "ps"])
def test_no_management_of_ollamas_reaches_a_caller(route: str, caller: openai.OpenAI) -> None:
    bearer = {"Authorization": f"Bearer {caller.api_key}"}
    url = str(caller.base_url).replace("/v1/", f"/api/{route}")
    assert caller._client.post(url, headers=bearer, json={"model": "tiny-ollama"}).status_code == 404


def test_ollama_loads_its_model_again_before_anybody_asks(gpus: TestHost) -> None:
    gpus.succeeds("docker restart ingot-engine-tiny-ollama-0")
    loaded = f"curl -s http://{address(gpus, 'tiny-ollama')}/api/ps | grep -c sha256 || true"
    assert until(lambda: gpus.succeeds(loaded).strip() == "1")
    # A look of the watch that met it while it loaded has taken it out, and the next one lets it in again: here that is
    # the second, since the first may be under way.
    gpus.succeeds("systemctl start ingot-replica-watch.service && systemctl start ingot-replica-watch.service")
    holds = gpus.succeeds("cat /var/lib/ingot/replica-holds.json 2>/dev/null || true")
    assert address(gpus, "tiny-ollama") not in holds


@pytest.mark.parametrize("streamed", [True, False])
def test_a_caller_who_hangs_up_frees_sglang(streamed: bool, gpus: TestHost, caller: openai.OpenAI) -> None:
    said = f"curl -s http://{address(gpus, 'tiny-sglang')}/metrics | grep num_running_reqs"
    if streamed:
        stream = caller.chat.completions.create(model="tiny-sglang", messages=TALK, max_tokens=4000, stream=True)
        next(iter(stream))
        assert not gpus.succeeds(said).strip().endswith(" 0.0")
        stream.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            caller.with_options(timeout=1, max_retries=0).chat.completions.create(
                model="tiny-sglang", messages=TALK, max_tokens=4000
            )
    assert until(lambda: gpus.succeeds(said).strip().endswith(" 0.0"))


def test_status_tells_what_each_can_tell(gpus: TestHost, caller: openai.OpenAI) -> None:
    done = subprocess.run(
        [str(INGOT), "status", NAME, "--inventory", "inventories/sandbox.py", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    found = json.dumps(json.loads(done.stdout))
    replicas = {one["model"]: one for one in _replicas(json.loads(done.stdout))}
    assert replicas.keys() == MODELS.keys(), found
    assert (replicas["tiny-sglang"]["running"], replicas["tiny-sglang"]["waiting"]) == (0, 0)
    assert (replicas["tiny-tgi"]["running"], replicas["tiny-tgi"]["kv_used"]) == (0, None)
    # Its metrics are JSON and empty themselves: nobody asks them.
    assert replicas["tiny-trt"]["running"] is None
    # It has none.
    assert (replicas["tiny-ollama"]["running"], replicas["tiny-ollama"]["serving"]) == (None, 1)


def _replicas(value: object) -> Iterator[dict[str, object]]:
    if isinstance(value, dict):
        if "kv_used" in value:
            yield value
        for one in value.values():
            yield from _replicas(one)
    elif isinstance(value, list):
        for one in value:
            yield from _replicas(one)


def test_a_second_deploy_changes_nothing() -> None:
    run = deploy(NAME)
    assert (run.status, run.changed(NAME)) == (0, []), run.output[-3000:]


def test_every_check_of_a_host_holds() -> None:
    done = verify(NAME, "--inventory", "inventories/sandbox.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_queue_has_an_end(gpus: TestHost) -> None:
    known = json.loads(gpus.succeeds("cat /var/lib/ingot/upstreams.json"))
    assert {one["model"]: one["most"] for one in known} == dict.fromkeys([*MODELS, *ALIASES], SLOTS + WAITING)


def test_a_replacement_waits_for_running_answers(gpus: TestHost, caller: openai.OpenAI) -> None:
    """TensorRT-LLM cuts its answers off when it is told to stop, so that the gateway has to wait for them."""
    heard: list[str] = []

    def ask() -> None:
        answer = caller.chat.completions.create(model="tiny-trt", messages=TALK, max_tokens=700, stream=True)
        heard.extend(one.choices[0].delta.content or "" for one in answer if one.choices)

    asking = threading.Thread(target=ask)
    asking.start()
    assert until(lambda: heard)
    serve = [{**one, "context": 1024} if one["model"] == "tiny-trt" else one for one in SERVE]
    run = deploy(NAME, data=[f"serve={json.dumps(serve)}"])
    asking.join(60)
    assert run.status == 0, run.output[-6000:]
    assert len(heard) == 700


def test_lm_studio_takes_the_place_of_another(gpus: TestHost, caller: openai.OpenAI) -> None:
    """Its installation is copied out of its image at each start, its model is the verified file."""
    (model,) = LAST
    item = {"model": model, "context": 2048, "concurrency": SLOTS, "engine": LAST[model]}
    run = deploy(NAME, data=[f"serve={json.dumps([*(one for one in SERVE if one['model'] != 'tiny-tgi'), item])}"])
    assert run.status == 0, run.output[-6000:]
    assert "LM Studio is closed, and says nothing of its memory" in run.output
    answer = caller.chat.completions.create(model=model, messages=TALK, max_tokens=6)
    assert answer.usage and answer.usage.completion_tokens == 6
    assert until(lambda: accounts(gpus)[-1]["model"] == model)
    for route in ("/api/v0/models", "/api/v1/models/load", "/v1/responses"):
        url = str(caller.base_url).replace("/v1/", route)
        bearer = {"Authorization": f"Bearer {caller.api_key}"}
        assert caller._client.post(url, headers=bearer, json={"model": model}).status_code == 404
