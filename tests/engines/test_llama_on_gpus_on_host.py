"""llama.cpp on a host's GPUs, chosen by `auto`: its stand-in, since its kernels need a real GPU. In order."""

from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest

from ingot.sandbox import Sandbox, TestHost, mirror
from ingot.sandbox.simulated.engines import image
from ingot.secrets.keys import create
from tests.e2e.deploying import deploy, verify
from tests.e2e.test_deploy import client
from tests.engines.members import member
from tests.engines.test_llama_on_hosts import TALK, accounts
from tests.engines.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.engines, pytest.mark.timeout(900)]

NAME, MODEL, TEAM, SLOTS = "llama-gpu", "tiny-gguf", "engines-llama", 2
SERVE = [{"model": MODEL, "context": 2048, "concurrency": SLOTS, "engine": "auto"}]


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestHost]:
    """A host with one GPU, whose file says what serves on it."""
    values = {
        "site_models": {MODEL: mirror.model_values()["site_models"][MODEL]},
        "engine_images": image.write(tmp_path_factory.mktemp("engines")),
        "engine_hold_s": 1,
    }
    with member(NAME, "rtx4090x1", SERVE, values) as host:
        yield host


@pytest.fixture(scope="module")
def key(gpu: TestHost) -> str:
    return create(Sandbox().secrets_dir, TEAM)


@pytest.fixture
def caller(gpu: TestHost, key: str) -> openai.OpenAI:
    return client(gpu, key)


def test_auto_takes_the_gpu_for_a_gguf_file(gpu: TestHost, key: str) -> None:
    run = deploy(NAME)
    assert run.status == 0, run.output[-6000:]
    assert "gave a completion" in run.output
    (replica,) = json.loads(gpu.succeeds("cat /var/lib/ingot/plan.json"))["plan"]["replicas"]
    assert (replica["engine"], replica["gpu_indices"]) == ("llama.cpp-cuda", [0])
    (uuid,) = replica["gpu_uuids"]
    asked = gpu.succeeds("docker inspect --format '{{json .HostConfig.DeviceRequests}}' ingot-engine-tiny-gguf-0")
    assert uuid in asked


def test_the_gateway_counts_for_it(gpu: TestHost, caller: openai.OpenAI) -> None:
    answer = caller.chat.completions.create(model=MODEL, messages=TALK, max_tokens=6)
    assert answer.usage and answer.usage.completion_tokens == 6
    assert until(lambda: accounts(gpu)[-1]["completion_tokens"] == 6)


@pytest.mark.parametrize("path", ["/props", "/tokenize", "/metrics"])
def test_what_it_answers_besides_reaches_no_caller(path: str, caller: openai.OpenAI) -> None:
    bearer = {"Authorization": f"Bearer {caller.api_key}"}
    assert caller._client.get(str(caller.base_url).replace("/v1/", path), headers=bearer).status_code == 404


def test_a_caller_of_one_piece_who_hangs_up_frees_it(gpu: TestHost, caller: openai.OpenAI) -> None:
    (known,) = json.loads(gpu.succeeds("cat /var/lib/ingot/upstreams.json"))
    with pytest.raises(openai.APITimeoutError):
        caller.with_options(timeout=1, max_retries=0).chat.completions.create(
            model=MODEL, messages=TALK, max_tokens=4000
        )
    # 4,000 words take it 80 s.
    said = f"curl -s http://{known['replicas'][0]}/metrics | grep requests_processing"
    assert until(lambda: gpu.succeeds(said).strip().endswith(" 0"))


def test_a_second_deploy_changes_nothing() -> None:
    run = deploy(NAME)
    assert (run.status, run.changed(NAME)) == (0, []), run.output[-3000:]


def test_every_check_of_a_host_holds() -> None:
    done = verify(NAME, "--inventory", "inventories/sandbox.py")
    assert done.returncode == 0, done.stdout + done.stderr
